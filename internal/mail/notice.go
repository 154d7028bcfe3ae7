package mail

import (
	"fmt"
	"strings"
)

// Notify says which outcomes of a recipient its sender wants to hear of (RFC 3461
// §4.1). The zero value is that the sender did not say: then it hears of failures.
type Notify uint8

// What can be asked for. Never stands alone; the others may be combined.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

var notifyWords = [...]struct {
	on   Notify
	word string
}{{NotifyNever, "NEVER"}, {NotifySuccess, "SUCCESS"}, {NotifyFailure, "FAILURE"}, {NotifyDelay, "DELAY"}}

// ParseNotify reads the value of NOTIFY: NEVER, or some of SUCCESS, FAILURE and DELAY,
// comma separated, in any case. Empty is the zero value.
func ParseNotify(s string) (Notify, error) {
	var n Notify
	if s == "" {
		return n, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		on := Notify(0)
		for _, w := range notifyWords {
			if strings.EqualFold(w.word, word) {
				on = w.on
			}
		}
		if on == 0 || n&on != 0 {
			return 0, fmt.Errorf("%q is not NEVER or a list of SUCCESS, FAILURE, DELAY", s)
		}
		n |= on
	}
	if n&NotifyNever != 0 && n != NotifyNever {
		return 0, fmt.Errorf("%q: NEVER stands alone", s)
	}
	return n, nil
}

// Wants reports whether the sender wants to hear of an outcome.
func (n Notify) Wants(on Notify) bool {
	if n == 0 {
		n = NotifyFailure
	}
	return n&on != 0
}

// String is the value as it stands in NOTIFY, "" for the zero value.
func (n Notify) String() string {
	var words []string
	for _, w := range notifyWords {
		if n&w.on != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// MarshalText is that of String.
func (n Notify) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText is that of ParseNotify.
func (n *Notify) UnmarshalText(b []byte) (err error) {
	*n, err = ParseNotify(string(b))
	return err
}

// Return is how much of a message a report of its failure brings back (RFC 3461 §4.3).
type Return string

// The values of RET; not said is the header.
const (
	ReturnHeader Return = "HDRS"
	ReturnFull   Return = "FULL"
)

// Notice is what a sender wants to hear of a message as a whole (RFC 3461 §4.3, §4.4).
type Notice struct {
	Return     Return `json:"return,omitempty"`      // RET
	EnvelopeID string `json:"envelope_id,omitempty"` // ENVID, its xtext decoded
}

// RecipientNotice is what a sender wants to hear of one recipient (RFC 3461 §4.1, §4.2).
type RecipientNotice struct {
	Notify   Notify `json:"notify,omitzero"`    // NOTIFY
	Original string `json:"original,omitempty"` // ORCPT: type;address, its xtext decoded
}

// Xtext writes printable ASCII as an ESMTP parameter may hold it (RFC 3461 §4).
func Xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
