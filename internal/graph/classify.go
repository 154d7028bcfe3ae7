package graph

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// maxWait bounds what Retry-After may ask for: a limit of Exchange's looks back on a day.
const maxWait = 24 * time.Hour

// refusal classifies an answer that is none of those wanted, by its status and by
// Graph's error code.
func refusal(k call, resp *http.Response, body []byte) error {
	var told struct {
		Error struct{ Code, Message string }
	}
	_ = json.Unmarshal(body, &told) // without one the status alone is told
	reply := k.told(resp, told.Error.Message)
	reply.Enhanced = oneLine(told.Error.Code)
	kind, ok := kindOfCode(told.Error.Code)
	if !ok {
		kind = kindOfStatus(resp.StatusCode)
	}
	f := &fault.Error{Kind: kind, Op: k.op(), Reply: &reply, Ambiguous: k.acts && unsure(resp.StatusCode)}
	if told.Error.Code == "ErrorSendAsDenied" {
		f.Hint, f.RetryAfter = mail.SendAsHint, mail.SendAsAgain
	}
	if kind == fault.Throttled || kind == fault.Temporary || kind == fault.Quota {
		f.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return f
}

// told is what Graph answered, with words of its own or those of the status.
func (k call) told(resp *http.Response, message string) fault.Reply {
	if message == "" {
		message = http.StatusText(resp.StatusCode)
	}
	return fault.Reply{Protocol: "graph", Stage: k.stage, Code: strconv.Itoa(resp.StatusCode), Text: oneLine(message)}
}

// kindOfCode knows the codes that say more than the status they come with.
func kindOfCode(code string) (kind fault.Kind, ok bool) {
	switch code {
	case "ErrorAccessDenied", "Authorization_RequestDenied", "MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI",
		"ErrorInvalidUser", "Request_ResourceNotFound", "ErrorNonExistentMailbox", "ErrorAccountSuspend", "ErrorAccountDisabled",
		"ErrorQuotaExceeded": // the mailbox is full: that of messages is the next line's
		return fault.NeedsAdmin, true
	case "ErrorExceededMessageLimit", "ErrorSubmissionQuotaExceeded", "ErrorMessageSubmissionBlocked":
		return fault.Quota, true
	case "ErrorSendAsDenied", "ErrorMessageSizeExceeded", "RequestEntityTooLarge", "ErrorInvalidRecipients", "ErrorItemNotFound",
		"ErrorMimeContentInvalidBase64String", "ErrorMimeContentInvalid":
		return fault.Permanent, true
	case "ApplicationThrottled", "TooManyRequests", "ErrorServerBusy", "ErrorTooManyObjectsOpened", "ErrorConcurrentRequestsLimitExceeded":
		return fault.Throttled, true
	case "ErrorMailboxStoreUnavailable", "ErrorMailboxMoveInProgress", "ErrorTimeoutExpired", "ErrorIrresolvableConflict":
		return fault.Temporary, true
	}
	return fault.Unknown, false
}

func kindOfStatus(status int) fault.Kind {
	switch status {
	case http.StatusUnauthorized:
		return fault.NeedsSignIn
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusInsufficientStorage, http.StatusProxyAuthRequired:
		return fault.NeedsAdmin
	case http.StatusTooManyRequests:
		return fault.Throttled
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusPreconditionFailed, http.StatusLocked, http.StatusTooEarly:
		return fault.Temporary
	}
	if status/100 == 4 {
		return fault.Permanent
	}
	return fault.Temporary // of a 200, too: only 202 says that a message was taken
}

// unsure reports whether behind this status the work may have been done. 503 and 429
// are given before any is begun; 200 was seen where messages were lost, and where
// nobody knows it is better to look.
func unsure(status int) bool {
	switch status {
	case http.StatusServiceUnavailable, http.StatusNotImplemented, http.StatusInsufficientStorage:
		return false
	}
	return status/100 == 2 || status/100 == 5
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); 0 when there is neither.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if n, err := strconv.ParseInt(value, 10, 32); err == nil {
		return max(0, min(time.Duration(n)*time.Second, maxWait))
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(at.Sub(now), maxWait))
	}
	return 0
}

// oneLine makes a peer's words fit for a log and a page.
func oneLine(s string) string {
	const most = 500
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), " ")
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return s
}
