package entra

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// answer is the body of a refusal (RFC 6749 section 5.2, with Entra's additions).
type answer struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Codes       []int  `json:"error_codes"`
	Sub         string `json:"suberror"`
	Trace       string `json:"trace_id"`
	Correlation string `json:"correlation_id"`
}

// refusal classifies an HTTP answer that is no success. sent are the secrets of
// the request, which must not come back in the provider's words.
func refusal(op, stage string, resp *http.Response, now time.Time, sent ...secret.Text) error {
	var a answer
	if json.NewDecoder(resp.Body).Decode(&a) != nil {
		a = answer{} // a proxy's page, or nothing: the status alone decides
	}
	if !errorValue.MatchString(a.Error) {
		a.Error, a.Description = strconv.Itoa(resp.StatusCode), http.StatusText(resp.StatusCode)
	}
	if a.Trace == "" {
		a.Trace = resp.Header.Get("x-ms-request-id")
	}
	skew := skewOf(resp, now)
	e := &fault.Error{
		Kind: kindOf(resp.StatusCode, a.Error), Op: op, Reply: a.reply(stage, sent),
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), now.Add(skew)),
	}
	if e.Kind != fault.NeedsSignIn { // a grant that is gone is so by any clock
		e.Hint = clockHint(skew)
	}
	return e
}

// What to do about an authorize request that was refused.
const (
	compareApp = "compare the app registration with what Postern shows: client id, redirect URI, permissions"
	inAMinute  = "begin again in a minute"
)

// Refused classifies the error an authorize request came back with (RFC 6749
// section 4.1.2.1), nil when the query has none.
func Refused(q url.Values) error {
	e := refusedAt("sign in", "authorize", q)
	switch {
	case e == nil:
		return nil
	case e.Kind == fault.Denied:
		return e.WithHint("begin again and accept what the page asks for; when it says an administrator must approve, ask one")
	case e.Kind == fault.NeedsAdmin:
		return e.WithHint(compareApp)
	}
	return e.WithHint(inAMinute)
}

// refusedAt is the error a browser came back with, nil when there is none.
func refusedAt(op, stage string, q url.Values) *fault.Error {
	if !q.Has("error") {
		return nil
	}
	a := answer{Error: q.Get("error"), Description: q.Get("error_description")}
	kind := kindOf(http.StatusBadRequest, a.Error)
	if kind == fault.NeedsSignIn {
		kind = fault.Denied // somebody was signing in; it is this attempt that failed
	}
	return &fault.Error{Kind: kind, Op: op, Reply: a.reply(stage, nil)}
}

// kindOf decides by status and OAuth error value alone; Microsoft says its
// numbers and texts change (reference section 3).
func kindOf(status int, value string) fault.Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return fault.Throttled
	case status >= http.StatusInternalServerError:
		return fault.Temporary
	}
	switch value {
	case "invalid_grant", "interaction_required", "consent_required", "login_required":
		return fault.NeedsSignIn
	case "invalid_client", "unauthorized_client", "invalid_scope", "invalid_resource", "invalid_request",
		"unsupported_grant_type", "unsupported_response_type", "invalid_tenant":
		return fault.NeedsAdmin
	case "access_denied", "authorization_declined":
		return fault.Denied
	case "expired_token", "bad_verification_code": // of the device grant
		return fault.NotFound
	}
	return fault.Temporary
}

var (
	errorValue = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	aadsts     = regexp.MustCompile(`^AADSTS([0-9]{1,12})\b`)
)

// maxText is how much of a description is kept, in octets.
const maxText = 600

func (a answer) reply(stage string, sent []secret.Text) *fault.Reply {
	r := &fault.Reply{Protocol: "oauth", Stage: stage, Text: oneLine(secret.Scrub(a.Description, sent...))}
	if errorValue.MatchString(a.Error) {
		r.Code = secret.Scrub(a.Error, sent...)
	}
	if len(a.Codes) > 0 && a.Codes[0] > 0 {
		r.Enhanced = strconv.Itoa(a.Codes[0])
	} else if m := aadsts.FindStringSubmatch(a.Description); m != nil {
		r.Enhanced = m[1]
	}
	r.Text = strings.TrimSpace(r.Text + secret.Scrub(a.traces(r.Text), sent...))
	return r
}

// traces are what support asks for, as far as the text does not hold it already: a
// long description is cut, and newer ones leave it out.
func (a answer) traces(text string) string {
	var b strings.Builder
	for _, t := range []struct{ name, value string }{{"suberror", a.Sub}, {"Trace ID:", a.Trace}, {"Correlation ID:", a.Correlation}} {
		if errorValue.MatchString(t.value) && !strings.Contains(text, t.value) {
			b.WriteString(" " + t.name + " " + t.value)
		}
	}
	return b.String()
}

// oneLine folds blanks and drops control characters.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + " …"
	}
	return strings.ToValidUTF8(s, "")
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3); 0 when there is none.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && n > 0 && n <= 86400 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return min(at.Sub(now), 24*time.Hour)
	}
	return 0
}
