package bridge

import (
	"errors"
	"fmt"
	"time"

	"postern/internal/fault"
)

// What clients read. Remote peers get no inner reasons; the log has them.
const (
	tooMany    = "Too many connections, try again later"
	endedToken = "The sign-in to the mailbox has ended, connect again" //nolint:gosec // words for people
	endedIdle  = "Nothing was said for too long"
	endedGone  = "The server of the mailbox closed the connection, connect again"
)

var (
	errQuiet = errors.New("the server asked to be left alone for a while")
	errFull  = fault.New(fault.Throttled, "open the mailbox", "too many sessions")
)

// farewell is said where no command is being answered.
func (p Protocol) farewell(text string) string {
	if p == POP3 {
		return "-ERR [SYS/TEMP] " + text + "\r\n"
	}
	return "* BYE [UNAVAILABLE] " + text + "\r\n"
}

// refusal is why a login does not succeed: a code as clients know them (RFC 5530, RFC
// 3206), so that they keep a password that is right, and words for people.
func (p Protocol) refusal(err error) string {
	code, pop, text := "UNAVAILABLE", "SYS/TEMP", "The mailbox cannot be reached now, try again later"
	switch fault.KindOf(err) {
	case fault.Denied:
		code, pop, text = "AUTHENTICATIONFAILED", "AUTH", "The name or the password is wrong"
		if hint := fault.HintOf(err); hint != "" {
			text = hint
		}
	case fault.Throttled:
		code, pop, text = "LIMIT", "SYS/TEMP", "Too many connections or attempts, try again later"
		if e := fault.As(err); e != nil && e.RetryAfter > 0 {
			text = fmt.Sprintf("The server of the mailbox asks for patience, try again in %.0f seconds", max(e.RetryAfter, time.Second).Seconds())
		}
	case fault.NeedsSignIn:
		code, pop, text = "CONTACTADMIN", "SYS/PERM", "The mailbox must be signed in again: ask who runs Postern"
	case fault.NeedsAdmin, fault.Invalid, fault.NotFound:
		code, pop, text = "CONTACTADMIN", "SYS/PERM", "The mailbox cannot be opened: ask who runs Postern"
	}
	if p == POP3 {
		return "-ERR [" + pop + "] " + text + "\r\n"
	}
	return "NO [" + code + "] " + text + "\r\n"
}
