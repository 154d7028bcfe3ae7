package entra

import (
	"context"
	"net/url"
	"strings"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Password exchanges a user's own password for tokens (reference section 2.2,
// grant password). It is for High Volume Email users only: no second factor, no
// personal accounts. Tokens.Identity is verified when the provider gives an id token.
func (c *Client) Password(ctx context.Context, r Registration, user string, password secret.Text, scopes []string) (Tokens, error) {
	const op = "exchange the password"
	if noOrganisation(r.Tenant) {
		return Tokens{}, fault.New(fault.Invalid, op, "tenant %q takes no passwords", r.Tenant).
			WithHint("give the app the GUID or a domain of the user's own tenant")
	}
	if user == "" || password.Empty() {
		return Tokens{}, fault.New(fault.Invalid, op, "user name and password are both needed")
	}
	if clear := password.Reveal(); clear != strings.TrimSpace(clear) {
		return Tokens{}, fault.New(fault.Invalid, op, "the password begins or ends with a blank, which Microsoft does not take here").
			WithHint("enter it again; when the blank belongs to it, give the user a password without one")
	}
	m, hc, err := c.discover(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	g, err := c.ask(ctx, hc, m, r, op, url.Values{
		"grant_type": {"password"}, "username": {user}, "password": {password.Reveal()},
		"scope": {strings.Join(appendOnce(scopes, identityScopes()...), " ")},
	})
	if err != nil || g.id.Empty() {
		return g.Tokens, err
	}
	g.Identity, _, err = c.verify(ctx, m, r.ClientID, g)
	if err != nil {
		return Tokens{}, err
	}
	return g.Tokens, nil
}
