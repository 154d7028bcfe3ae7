// Package mail has the words of a message: addresses, envelopes and identities.
// It does not parse message bodies and knows no protocol.
package mail

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Count is a number with its thing: 1 message, 2 messages.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Address is a mailbox as SMTP knows it (RFC 5321 §4.1.2, RFC 6531 §3.3),
// without display name. The zero value is the null sender <>.
type Address struct{ Local, Domain string }

// String is local@domain, or "" for the null sender.
func (a Address) String() string {
	if a.Null() {
		return ""
	}
	return a.Local + "@" + a.Domain
}

// Null reports whether a is the null reverse-path.
func (a Address) Null() bool { return a.Local == "" && a.Domain == "" }

// Same reports whether both name one mailbox. Exchange compares both halves
// without case, so Postern does too.
func (a Address) Same(b Address) bool {
	return strings.EqualFold(a.Local, b.Local) && strings.EqualFold(a.Domain, b.Domain)
}

// NeedsUTF8 reports whether the address cannot travel without SMTPUTF8.
func (a Address) NeedsUTF8() bool {
	for _, s := range []string{a.Local, a.Domain} {
		for i := range len(s) {
			if s[i] >= utf8.RuneSelf {
				return true
			}
		}
	}
	return false
}

// MarshalText writes the address as local@domain.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads local@domain; empty text is the null sender.
func (a *Address) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*a = Address{}
		return nil
	}
	parsed, err := ParseAddress(string(b))
	*a = parsed
	return err
}

// The lengths RFC 5321 §4.5.3.1 allows.
const (
	maxLocal  = 64
	maxDomain = 255
)

// ParseAddress reads an address without angle brackets and display name.
// Quoted local parts keep their quotes. Control characters, blanks outside
// quotes, brackets and commas are refused, so that what is parsed can stand in
// an SMTP command or a header without further escaping.
func ParseAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return Address{}, fmt.Errorf("address %q has no @", s)
	}
	a := Address{Local: s[:at], Domain: s[at+1:]}
	if err := checkLocal(a.Local); err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	if err := checkDomain(a.Domain); err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	return a, nil
}

func checkLocal(l string) error {
	switch {
	case l == "":
		return errors.New("nothing before the @")
	case len(l) > maxLocal:
		return fmt.Errorf("more than %d octets before the @", maxLocal)
	case !utf8.ValidString(l):
		return errors.New("not valid UTF-8")
	case l[0] == '"':
		return checkQuoted(l)
	case l[0] == '.' || l[len(l)-1] == '.' || strings.Contains(l, ".."):
		return errors.New("misplaced dot before the @")
	}
	if i := strings.IndexFunc(l, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`()<>[]:;@\,"`, r) }); i >= 0 {
		return fmt.Errorf("%q is not allowed before the @", l[i:i+1])
	}
	return nil
}

func checkQuoted(l string) error {
	if len(l) < 2 || l[len(l)-1] != '"' {
		return errors.New("quote is not closed")
	}
	in := l[1 : len(l)-1]
	for i := 0; i < len(in); i++ {
		switch c := in[i]; {
		case c < ' ' || c == 0x7f:
			return errors.New("control character in quotes")
		case c == '"':
			return errors.New("bare quote in quotes")
		case c == '\\':
			i++
			if i >= len(in) || in[i] < ' ' || in[i] == 0x7f {
				return errors.New("dangling backslash")
			}
		}
	}
	return nil
}

func checkDomain(d string) error {
	switch {
	case d == "":
		return errors.New("nothing after the @")
	case len(d) > maxDomain:
		return fmt.Errorf("more than %d octets after the @", maxDomain)
	case !utf8.ValidString(d):
		return errors.New("not valid UTF-8")
	case d[0] == '[':
		return checkLiteral(d)
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || len(label) > 63 {
			return fmt.Errorf("bad domain label %q", label)
		}
		for _, r := range label {
			if r < utf8.RuneSelf && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
				return fmt.Errorf("%q is not allowed in a domain", string(r))
			}
		}
	}
	return nil
}

func checkLiteral(d string) error {
	if d[len(d)-1] != ']' || len(d) < 3 {
		return errors.New("address literal is not closed")
	}
	if i := strings.IndexFunc(d[1:len(d)-1], func(r rune) bool {
		return r != '.' && r != ':' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}); i >= 0 {
		return errors.New("bad address literal")
	}
	return nil
}

// Envelope is who a message is from and to on the wire, whatever its headers say.
type Envelope struct {
	ID       string    `json:"id,omitempty"` // what the queue calls the message; it is not on the wire
	From     Address   `json:"from"`
	To       []Address `json:"to"`
	EightBit bool      `json:"eight_bit,omitempty"` // the body has octets above 127 (RFC 6152)
	UTF8     bool      `json:"utf8,omitempty"`      // addresses or headers need SMTPUTF8 (RFC 6531)

	InDoubt bool `json:"-"` // its recipients may have got it by Graph

	Notice  Notice            `json:"notice,omitzero"`
	Notices []RecipientNotice `json:"notices,omitempty"` // parallel to To; nil: nothing was said
}

var idAlphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID returns a 26-character identity that sorts by creation time:
// 48 bits of milliseconds, 80 bits of randomness.
func NewID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16) //nolint:gosec // times before 1970 do not happen here
	_, _ = rand.Read(b[6:])                                        // never fails since Go 1.24
	return idAlphabet.EncodeToString(b[:])
}

// FirstID is lower than every identity made from now on, and than none made before.
func FirstID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16) //nolint:gosec // times before 1970 do not happen here
	return idAlphabet.EncodeToString(b[:])
}

// MadeAt is when an identity was made; false for what is none.
func MadeAt(id string) (at time.Time, ok bool) {
	b, err := idAlphabet.DecodeString(id)
	if err != nil || len(b) != 16 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b) >> 16)), true //nolint:gosec // 48 bits
}

// NewMessageID returns a Message-ID with angle brackets (RFC 5322 §3.6.4).
func NewMessageID(now time.Time, domain string) string {
	return "<" + NewID(now) + "@" + domain + ">"
}

// Qualified reads an address that may lack its domain, as names of local users do.
func Qualified(s, domain string) (Address, error) {
	if s != "" && !strings.Contains(s, "@") {
		s += "@" + domain
	}
	return ParseAddress(s)
}
