package entra

import (
	"context"
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

	PersonOnly bool // who it is, and no token to keep
}

// Redemption turns the code of a finished sign-in into tokens.
type Redemption struct {
	Code     string
	Verifier string
	Redirect string
	Nonce    string
	Scopes   []string // of one resource

	PersonOnly bool // as in AuthRequest
}

// Tokens is what a token request gave.
type Tokens struct {
	Access   secret.Text
	Refresh  secret.Text // empty when the provider gave no new one
	Expires  time.Time   // of Access
	Scopes   []string    // as granted
	Identity Identity    // of a sign-in: Redeem, PollDevice, Password
}

// AuthorizeURL is where to send a browser (reference section 2.1).
func (c *Client) AuthorizeURL(ctx context.Context, r Registration, a AuthRequest) (string, error) {
	m, _, err := c.discover(ctx, r)
	if err != nil {
		return "", err
	}
	conf := oauth2.Config{
		ClientID: r.ClientID, RedirectURL: a.Redirect, Endpoint: oauth2.Endpoint{AuthURL: m.Authorize},
		Scopes: wanted(a.Scopes, a.PersonOnly),
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
	g, err := c.ask(ctx, hc, m, r, op, url.Values{
		"grant_type": {"authorization_code"}, "code": {d.Code}, "code_verifier": {d.Verifier}, "redirect_uri": {d.Redirect},
		"scope": {strings.Join(wanted(d.Scopes, d.PersonOnly), " ")},
	})
	if err != nil {
		return Tokens{}, err
	}
	var nonce string
	if g.Identity, nonce, err = c.verify(ctx, m, r.ClientID, g); err != nil {
		return Tokens{}, err
	}
	if err := sameNonce(d.Nonce, nonce); err != nil {
		return Tokens{}, err
	}
	return g.Tokens, nil
}

// Refresh asks for an access token of one resource. When Tokens.Refresh is not
// empty it replaces the old one and must be committed before Access is used.
func (c *Client) Refresh(ctx context.Context, r Registration, refresh secret.Text, scopes []string) (Tokens, error) {
	const op = "refresh the token"
	m, hc, err := c.discover(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	g, err := c.ask(ctx, hc, m, r, op, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()},
		"scope": {strings.Join(appendOnce(scopes, identityScopes()...), " ")},
	})
	return g.Tokens, err
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
	g, err := c.ask(ctx, hc, m, r, op, url.Values{
		"grant_type": {"client_credentials"}, "scope": {strings.TrimRight(resource, "/") + "/.default"},
	})
	return g.Tokens, err
}
