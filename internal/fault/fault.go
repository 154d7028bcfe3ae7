// Package fault says what kind of failure an error is, so that callers decide
// by kind and never by text.
//
// The edge that knows (an SMTP reply, an OAuth error value, a full disk)
// classifies once, with [Error]; everybody above wraps with %w and asks
// [KindOf] or errors.Is(err, fault.Throttled). What an answer of Microsoft's
// means to a person is the catalogue's business, not this package's.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is the behaviour an error asks for. A Kind is itself an error, so
// errors.Is(err, fault.NeedsSignIn) works on any chain that carries it.
type Kind uint8

// The kinds, from "wait" to "never".
const (
	Unknown     Kind = iota // not classified; treat like Temporary
	Temporary               // may pass by itself: back off and retry
	Throttled               // the peer asks for patience; see Error.RetryAfter
	Quota                   // a daily or hourly allowance is used up: hold for hours
	NeedsSignIn             // the grant is gone: the account pauses until somebody signs in
	NeedsAdmin              // a switch, permission or credential is wrong: the account pauses
	Permanent               // this item will never succeed
	Invalid                 // the caller's input is wrong
	NotFound                // no such thing
	Conflict                // it exists already, or somebody else was faster
	Denied                  // the caller may not do this
)

var kindNames = [...]string{
	"unknown", "temporary", "throttled", "quota", "needs_sign_in", "needs_admin",
	"permanent", "invalid", "not_found", "conflict", "denied",
}

// String returns the snake_case name that logs, JSON and the database use.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Error makes a Kind usable as the target of errors.Is.
func (k Kind) Error() string { return strings.ReplaceAll(k.String(), "_", " ") }

// Reply is what a peer answered, in its own words. It never holds a secret:
// whoever fills it in redacts first.
type Reply struct {
	Protocol string `json:"protocol"`           // smtp, imap, pop3, oauth, graph
	Stage    string `json:"stage,omitempty"`    // AUTH, RCPT TO, token, SELECT …
	Code     string `json:"code,omitempty"`     // 535, NO, -ERR, or the OAuth error value
	Enhanced string `json:"enhanced,omitempty"` // 5.7.3, or the AADSTS number
	Text     string `json:"text,omitempty"`     // the words, one line
}

// String is the reply as it stood on the wire, as near as one line allows.
func (r Reply) String() string {
	enhanced := r.Enhanced
	if strings.Contains(r.Text, enhanced) { // Entra's texts begin with their own number
		enhanced = ""
	}
	parts := make([]string, 0, 3)
	for _, p := range []string{r.Code, enhanced, r.Text} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, " ")
}

// Error is a classified failure.
type Error struct {
	Kind       Kind
	Op         string        // what was being done, lower case: "refresh token"
	Err        error         // the cause, may be nil
	Hint       string        // the operator's next step: a command or a page
	RetryAfter time.Duration // a wait the peer named; 0 when it named none
	Reply      *Reply        // the peer's own words, when there was a peer
	Ambiguous  bool          // the peer may have done the work: its answer was cut off
}

// Error reads "op: cause" or "op: the peer's words".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	add := func(s string) {
		if s == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(s)
	}
	if e.Reply != nil {
		add(e.Reply.String())
	}
	if e.Err != nil {
		add(e.Err.Error())
	}
	if e.Reply == nil && e.Err == nil {
		add(e.Kind.Error())
	}
	return b.String()
}

// Unwrap gives errors.Is both the cause and the kind.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// New classifies a failure that has no cause beyond its own words.
func New(kind Kind, op, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, Err: fmt.Errorf(format, args...)}
}

// Wrap classifies err. A nil err stays nil.
func Wrap(kind Kind, op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Op: op, Err: err}
}

// WithHint returns e with the operator's next step set.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// KindOf returns the outermost kind in err's chain, Unknown when there is none.
func KindOf(err error) Kind {
	if e := As(err); e != nil {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Unknown
}

// As returns the outermost classified error in err's chain, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// HintOf returns the first hint in err's chain, "" when nobody gave one.
func HintOf(err error) string {
	for e := As(err); e != nil; e = As(e.Err) {
		if e.Hint != "" {
			return e.Hint
		}
	}
	return ""
}

// ReplyOf returns the first peer's reply in err's chain, or nil.
func ReplyOf(err error) *Reply {
	for e := As(err); e != nil; e = As(e.Err) {
		if e.Reply != nil {
			return e.Reply
		}
	}
	return nil
}
