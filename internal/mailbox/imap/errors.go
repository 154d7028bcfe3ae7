package imap

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"postern/internal/fault"
)

const protocol = "imap"

var errNoCapabilities = errors.New("the server did not say what it can do")

// failed classifies what an operation ended with, by status and response code
// (RFC 9051 §7.1, RFC 5530).
func (c *Client) failed(ctx context.Context, stage string, err error) error {
	if ctx.Err() != nil { // the error is only the echo of our closing the connection
		return &fault.Error{Kind: fault.Temporary, Op: protocol + " " + stage, Err: context.Cause(ctx)}
	}
	status := new(imap.Error)
	if !errors.As(err, &status) {
		if bye := c.tap.bye(); bye != "" {
			return refused(stage, fault.Temporary, bye)
		}
		return &fault.Error{Kind: fault.Temporary, Op: protocol + " " + stage, Err: err}
	}
	return c.explain(stage, status, reply(stage, c.kind(stage, status), string(status.Type), string(status.Code), status.Text))
}

// ErrNotConnected is what Exchange calls "User is authenticated but not connected": the
// sign-in was right, the mailbox behind it did not open.
var ErrNotConnected = errors.New("signed in, but not to this mailbox")

// explain recognises a mailbox that did not open: a correct first command is answered
// with BAD, without a code.
func (c *Client) explain(stage string, e *imap.Error, err *fault.Error) error {
	if e.Type == imap.StatusResponseTypeBad && e.Code == "" && err.Kind == fault.NeedsAdmin && stage != "AUTHENTICATE" && !c.opened {
		err.Err = ErrNotConnected
		return err.WithHint("check that IMAP is on for this mailbox, that it has a licence, and that whoever signed in may open it; then run the check")
	}
	return err
}

func (c *Client) kind(stage string, e *imap.Error) fault.Kind {
	if k, ok := codeKinds(e.Code); ok {
		return k
	}
	switch {
	case e.Type == imap.StatusResponseTypeBye:
		return fault.Temporary
	case stage == "AUTHENTICATE", stage == "LOGIN":
		return fault.NeedsSignIn
	case e.Type == imap.StatusResponseTypeNo:
		return fault.Temporary
	case !c.opened:
		// BAD to a correct first command: signed in, but not to a mailbox.
		return fault.NeedsAdmin
	}
	return fault.Permanent
}

// codeKinds gives the response codes of RFC 5530 and RFC 9051 their kind.
func codeKinds(code imap.ResponseCode) (fault.Kind, bool) {
	switch code {
	case imap.ResponseCodeUnavailable, imap.ResponseCodeInUse, imap.ResponseCodeServerBug:
		return fault.Temporary, true
	case imap.ResponseCodeLimit:
		return fault.Throttled, true
	case imap.ResponseCodeOverQuota:
		return fault.Quota, true
	case imap.ResponseCodeAuthenticationFailed, imap.ResponseCodeExpired:
		return fault.NeedsSignIn, true
	case imap.ResponseCodeAuthorizationFailed, imap.ResponseCodeNoPerm, imap.ResponseCodeContactAdmin, imap.ResponseCodePrivacyRequired:
		return fault.NeedsAdmin, true
	case imap.ResponseCodeNonExistent, imap.ResponseCodeTryCreate:
		return fault.NotFound, true
	case imap.ResponseCodeCannot, imap.ResponseCodeCorruption, imap.ResponseCodeTooBig, imap.ResponseCodeClientBug, imap.ResponseCodeParse, imap.ResponseCodeUnknownCTE:
		return fault.Permanent, true
	}
	return fault.Unknown, false
}

// refused classifies a raw status line, its tag already removed: "* BYE text", "NO text".
func refused(stage string, kind fault.Kind, line string) error {
	code, text, _ := strings.Cut(strings.TrimPrefix(line, "* "), " ")
	return reply(stage, kind, code, "", text)
}

func reply(stage string, kind fault.Kind, status, code, text string) *fault.Error {
	wait := Backoff(text)
	if wait > 0 {
		kind = fault.Throttled
	}
	return &fault.Error{
		Kind:       kind,
		Op:         protocol + " " + stage,
		RetryAfter: wait,
		Reply:      &fault.Reply{Protocol: protocol, Stage: stage, Code: status, Enhanced: code, Text: text},
	}
}

// maxBackoff bounds what a server can talk us into; Exchange asks for minutes.
const maxBackoff = time.Hour

// Backoff reads the one number that stands nowhere but in words: Exchange's
// "Request is throttled. Suggested Backoff Time: 92415 milliseconds".
func Backoff(text string) time.Duration {
	m := regexp.MustCompile(`(?i)Suggested Backoff Time: (\d{1,10}) milliseconds`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	ms, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return min(time.Duration(ms)*time.Millisecond, maxBackoff)
}
