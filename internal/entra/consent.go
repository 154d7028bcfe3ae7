package entra

import (
	"context"
	"net/url"

	"postern/internal/fault"
)

// ConsentRequest is an administrator's consent about to be asked for.
type ConsentRequest struct {
	Redirect string
	State    string
	Scopes   []string // of one resource; application permissions are "<resource>/.default"
}

// ConsentURL is where an administrator agrees for the whole tenant (reference
// section 2.7). "common" and "consumers" have no administrator: fault.Invalid.
func (c *Client) ConsentURL(ctx context.Context, r Registration, a ConsentRequest) (string, error) {
	return "", fault.New(fault.Unknown, "ask for admin consent", "not built yet: %v %v %v", ctx, r.Tenant, a)
}

// Consented reads what an administrator's browser came back with: nil when consent
// was given. The error is looked at first: refusals carry admin_consent=True too.
func Consented(q url.Values) error {
	return fault.New(fault.Unknown, "take the admin consent", "not built yet: %d", len(q))
}
