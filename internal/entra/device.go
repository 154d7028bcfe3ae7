package entra

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// DeviceCode is a sign-in that goes on in another browser (RFC 8628 section 3.2).
type DeviceCode struct {
	Code     secret.Text   // device_code, for polling
	UserCode string        // what the person types
	Page     string        // verification_uri, where
	Message  string        // the provider's own instruction
	Interval time.Duration // between two polls
	Expires  time.Time
}

// What a poll comes back with while the person is not done.
var (
	ErrPending  = errors.New("the sign-in is not finished yet")
	ErrSlowDown = errors.New("polled too fast: add five seconds to the interval")
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// What a provider may ask of whoever polls.
const (
	usualInterval   = 5 * time.Second // RFC 8628 section 3.2: when none is given
	longestInterval = 2 * time.Minute
	longestCode     = 24 * time.Hour
)

// BeginDevice asks for a device code; the scopes may be of one resource only.
func (c *Client) BeginDevice(ctx context.Context, r Registration, scopes []string) (DeviceCode, error) {
	const op = "ask for a device code"
	m, hc, err := c.discover(ctx, r)
	if err != nil {
		return DeviceCode{}, err
	}
	if m.Device == "" {
		m.Device = r.at("/oauth2/v2.0/devicecode")
	}
	if m.Device == "" {
		return DeviceCode{}, fault.New(fault.NeedsAdmin, op, "the provider has no device codes").WithHint("sign in with a browser")
	}
	form := url.Values{"scope": {strings.Join(appendOnce(scopes, identityScopes()...), " ")}}
	if err := c.prove(form, r, m.Token); err != nil { // RFC 8628 section 3.1: as at the token endpoint
		return DeviceCode{}, err
	}
	began := c.now()
	resp, err := c.post(ctx, hc, m.Device, op, form)
	if err != nil {
		return DeviceCode{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	if resp.StatusCode != http.StatusOK {
		return DeviceCode{}, refusal(op, "devicecode", resp, c.now(), sentIn(form)...)
	}
	return readDevice(resp.Body, op, began)
}

// readDevice takes the code out of a 200. The page is shown to people as a link, so
// that nothing but https will do.
func readDevice(body io.Reader, op string, began time.Time) (DeviceCode, error) {
	var s struct {
		Code     secret.Text `json:"device_code"`
		UserCode string      `json:"user_code"`
		Page     string      `json:"verification_uri"`
		Message  string      `json:"message"`
		Expires  json.Number `json:"expires_in"`
		Interval json.Number `json:"interval"`
	}
	err := json.NewDecoder(body).Decode(&s)
	life, interval := seconds(s.Expires), min(seconds(s.Interval), longestInterval)
	if err != nil || s.Code.Empty() || oneLine(s.UserCode) == "" || checkHTTPS("page", s.Page) != nil || life <= 0 || life > longestCode {
		err := errors.New("the answer is no device code")
		return DeviceCode{}, &fault.Error{Kind: fault.Temporary, Op: op, Err: err, Hint: "is a proxy in between?"}
	}
	if interval <= 0 {
		interval = usualInterval
	}
	d := DeviceCode{Code: s.Code, UserCode: oneLine(s.UserCode), Page: s.Page, Message: oneLine(s.Message), Interval: interval, Expires: began.Add(life)}
	if d.Message == "" {
		d.Message = "To sign in, open " + d.Page + " and enter the code " + d.UserCode + "."
	}
	return d, nil
}

// PollDevice asks once whether the person is done: [ErrPending] and [ErrSlowDown]
// mean not yet. The id token is verified, without a nonce, which this grant has not.
// Declined is fault.Denied; a code that has ended or was never good is fault.NotFound.
func (c *Client) PollDevice(ctx context.Context, r Registration, d DeviceCode) (Tokens, error) {
	const op = "poll for the sign-in"
	m, hc, err := c.discover(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	g, err := c.ask(ctx, hc, m, r, op, url.Values{"grant_type": {deviceGrant}, "device_code": {d.Code.Reveal()}})
	if err != nil {
		return Tokens{}, polled(err)
	}
	if g.Identity, _, err = c.verify(ctx, m, r.ClientID, g); err != nil {
		return Tokens{}, err
	}
	return g.Tokens, nil
}

// polled tells "not yet" from a failure (RFC 8628 section 3.5), and adds what to do.
func polled(err error) error {
	e := fault.As(err)
	if e == nil || e.Reply == nil {
		return err
	}
	switch {
	case e.Kind == fault.Temporary && e.Reply.Code == "authorization_pending":
		return ErrPending
	case e.Kind == fault.Temporary && e.Reply.Code == "slow_down":
		return ErrSlowDown
	case e.Hint != "":
		return err
	case e.Kind == fault.Denied:
		return e.WithHint("begin again and accept what the page asks for")
	case e.Kind == fault.NotFound:
		return e.WithHint("the code is used up or too old: begin again for a new one")
	}
	return err
}
