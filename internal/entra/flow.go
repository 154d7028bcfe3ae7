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

	"golang.org/x/oauth2"

	"postern/internal/fault"
	"postern/internal/secret"
)

// AuthRequest is one sign-in about to begin. State, Nonce and Verifier are the
// caller's to make and to keep.
type AuthRequest struct {
	Redirect  string
	State     string
	Nonce     string
	Verifier  string   // PKCE, 43 to 128 characters
	Scopes    []string // may span resources: one consent for all
	LoginHint string
}

// Redemption turns the code of a finished sign-in into tokens.
type Redemption struct {
	Code     string
	Verifier string
	Redirect string
	Nonce    string
	Scopes   []string // of one resource
}

// Tokens is what a token request gave.
type Tokens struct {
	Access   secret.Text
	Refresh  secret.Text // empty when the provider gave no new one
	Expires  time.Time   // of Access
	Scopes   []string    // as granted
	Identity Identity    // of Redeem only
}

// AuthorizeURL is where to send a browser (reference section 2.1).
func (c *Client) AuthorizeURL(ctx context.Context, r Registration, a AuthRequest) (string, error) {
	m, _, err := c.discover(ctx, r)
	if err != nil {
		return "", err
	}
	conf := oauth2.Config{
		ClientID: r.ClientID, RedirectURL: a.Redirect, Endpoint: oauth2.Endpoint{AuthURL: m.Authorize},
		Scopes: appendOnce(a.Scopes, identityScopes()...),
	}
	opts := []oauth2.AuthCodeOption{
		oauth2.S256ChallengeOption(a.Verifier),
		oauth2.SetAuthURLParam("response_mode", "query"),
		oauth2.SetAuthURLParam("nonce", a.Nonce),
	}
	if a.LoginHint != "" {
		opts = append(opts, oauth2.SetAuthURLParam("login_hint", a.LoginHint))
	} else { // Microsoft: the two cannot be combined
		opts = append(opts, oauth2.SetAuthURLParam("prompt", "select_account"))
	}
	return conf.AuthCodeURL(a.State, opts...), nil
}

// Redeem exchanges a code and verifies the id token that comes with it.
func (c *Client) Redeem(ctx context.Context, r Registration, d Redemption) (Tokens, error) {
	const op = "redeem the sign-in code"
	m, hc, err := c.discover(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	t, idToken, err := c.post(ctx, hc, m, r, op, url.Values{
		"grant_type": {"authorization_code"}, "code": {d.Code}, "code_verifier": {d.Verifier}, "redirect_uri": {d.Redirect},
		"scope": {strings.Join(appendOnce(d.Scopes, identityScopes()...), " ")},
	})
	if err != nil {
		return Tokens{}, err
	}
	if t.Identity, err = c.verify(ctx, m, r.ClientID, idToken, d.Nonce); err != nil {
		return Tokens{}, err
	}
	return t, nil
}

// Refresh asks for an access token of one resource. When Tokens.Refresh is not
// empty it replaces the old one and must be committed before Access is used.
func (c *Client) Refresh(ctx context.Context, r Registration, refresh secret.Text, scopes []string) (Tokens, error) {
	const op = "refresh the token"
	m, hc, err := c.discover(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	t, _, err := c.post(ctx, hc, m, r, op, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()},
		"scope": {strings.Join(appendOnce(scopes, identityScopes()...), " ")},
	})
	return t, err
}

// ClientCredentials asks for a token by the app's own permission for one resource.
func (c *Client) ClientCredentials(ctx context.Context, r Registration, resource string) (Tokens, error) {
	const op = "ask for a token by app permission"
	if !r.Specific() {
		return Tokens{}, fault.New(fault.Invalid, op, "tenant %q stands for many organisations", r.Tenant).
			WithHint("give the app the GUID or a domain of the one tenant it is to act in")
	}
	m, hc, err := c.discover(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	t, _, err := c.post(ctx, hc, m, r, op, url.Values{
		"grant_type": {"client_credentials"}, "scope": {strings.TrimRight(resource, "/") + "/.default"},
	})
	return t, err
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

// post makes one token request. It is not left to x/oauth2, whose errors carry
// the answer's body and whose answers drop Retry-After.
func (c *Client) post(ctx context.Context, hc *http.Client, m metadata, r Registration, op string, form url.Values) (Tokens, secret.Text, error) {
	form.Set("client_id", r.ClientID)
	if !r.Secret.Empty() {
		form.Set("client_secret", r.Secret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return Tokens{}, secret.Text{}, fault.Wrap(fault.Invalid, op, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	began := c.now()
	resp, err := hc.Do(req)
	if err != nil {
		return Tokens{}, secret.Text{}, unreachable(op, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	if resp.StatusCode != http.StatusOK {
		return Tokens{}, secret.Text{}, refusal(op, "token", resp, began, sentIn(form)...)
	}
	return read(resp.Body, op, began)
}

// sentIn lists what of a form must never be echoed.
func sentIn(form url.Values) []secret.Text {
	var s []secret.Text
	for _, k := range []string{"client_secret", "refresh_token", "code", "code_verifier"} {
		s = append(s, secret.New(form.Get(k)))
	}
	return s
}

// read takes the tokens out of a 200. What does not parse is an outage: a captive
// portal's page must never look like a bad grant, and is never quoted.
func read(body io.Reader, op string, began time.Time) (Tokens, secret.Text, error) {
	var s success
	err := json.NewDecoder(body).Decode(&s)
	seconds, nerr := s.Expires.Float64()
	if err != nil || nerr != nil || s.Access.Empty() || seconds <= 0 || seconds > 10*365*86400 || !strings.EqualFold(s.Type, "Bearer") {
		err := errors.New("the answer is no token")
		return Tokens{}, secret.Text{}, &fault.Error{Kind: fault.Temporary, Op: op, Err: err, Hint: "is a proxy in between?"}
	}
	return Tokens{
		Access: s.Access, Refresh: s.Refresh, Scopes: strings.Fields(s.Scope),
		Expires: began.Add(time.Duration(seconds * float64(time.Second))),
	}, s.ID, nil
}
