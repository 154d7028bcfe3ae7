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

// granted is what a token request gave, with what it takes to verify it.
type granted struct {
	Tokens
	id   secret.Text
	skew time.Duration // how far the provider's clock is ahead of ours
}

// success is the body of a token answer (RFC 6749 section 5.1).
type success struct {
	Type    string      `json:"token_type"`
	Access  secret.Text `json:"access_token"`
	Refresh secret.Text `json:"refresh_token"`
	ID      secret.Text `json:"id_token"`
	Expires json.Number `json:"expires_in"`
	Scope   string      `json:"scope"`
}

// longestLife is more than any token has.
const longestLife = 10 * 365 * 24 * time.Hour

// ask makes one token request. It is not left to x/oauth2, whose errors carry
// the answer's body and whose answers drop Retry-After.
func (c *Client) ask(ctx context.Context, hc *http.Client, m metadata, r Registration, op string, form url.Values) (granted, error) {
	if err := c.prove(form, r, m.Token); err != nil {
		return granted{}, err
	}
	began := c.now()
	resp, err := c.post(ctx, hc, m.Token, op, form)
	if err != nil {
		return granted{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	answered := c.now()
	if resp.StatusCode != http.StatusOK {
		return granted{}, refusal(op, "token", resp, answered, sentIn(form)...)
	}
	g, err := read(resp.Body, op, began)
	g.skew = skewOf(resp, answered)
	return g, err
}

// post sends a form. The caller closes the answer's body.
func (c *Client) post(ctx context.Context, hc *http.Client, endpoint, op string, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := hc.Do(req)
	if err != nil {
		return nil, c.network.Unreachable(op, err)
	}
	return resp, nil
}

// sentIn lists what of a form must never be echoed.
func sentIn(form url.Values) []secret.Text {
	var s []secret.Text
	for _, k := range []string{"client_secret", "client_assertion", "refresh_token", "code", "code_verifier", "device_code", "password"} {
		s = append(s, secret.New(form.Get(k)))
	}
	return s
}

// read takes the tokens out of a 200. What does not parse is an outage: a captive
// portal's page must never look like a bad grant, and is never quoted.
func read(body io.Reader, op string, began time.Time) (granted, error) {
	var s success
	err := json.NewDecoder(body).Decode(&s)
	life := seconds(s.Expires)
	if err != nil || s.Access.Empty() || life <= 0 || life > longestLife || !strings.EqualFold(s.Type, "Bearer") {
		err := errors.New("the answer is no token")
		return granted{}, &fault.Error{Kind: fault.Temporary, Op: op, Err: err, Hint: "is a proxy in between?"}
	}
	t := Tokens{Access: s.Access, Refresh: s.Refresh, Scopes: strings.Fields(s.Scope), Expires: began.Add(life)}
	return granted{Tokens: t, id: s.ID}, nil
}

// seconds is a number of them as a duration; 0 for what is none or beyond all use.
func seconds(n json.Number) time.Duration {
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1e9 {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}
