package entra

import (
	"context"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Password exchanges a user's own password for tokens (reference section 2.2,
// grant password). It is for High Volume Email users only: no second factor, no
// personal accounts. Tokens.Identity is verified when the provider gives an id token.
func (c *Client) Password(ctx context.Context, r Registration, user string, password secret.Text, scopes []string) (Tokens, error) {
	return Tokens{}, fault.New(fault.Unknown, "exchange the password", "not built yet: %v %v %v %v %v", ctx, r.Tenant, user, password, scopes)
}
