package entra

import (
	"context"
	"net/url"
	"strings"

	"postern/internal/fault"
)

// ConsentRequest is an administrator's consent about to be asked for.
type ConsentRequest struct {
	Redirect string
	State    string
	Scopes   []string // of one resource; application permissions are "<resource>/.default"
}

// ConsentURL is where an administrator agrees for the whole tenant (reference
// section 2.7). "common" and "consumers" have no administrator: fault.Invalid. The
// provider's metadata is read first, so that a wrong tenant is told here and not on a
// page of Microsoft's that never comes back.
func (c *Client) ConsentURL(ctx context.Context, r Registration, a ConsentRequest) (string, error) {
	const op = "ask for admin consent"
	if noOrganisation(r.Tenant) {
		return "", fault.New(fault.Invalid, op, "tenant %q has no administrator", r.Tenant).
			WithHint("give the app the GUID or a domain of the tenant, or organizations")
	}
	if len(a.Scopes) == 0 {
		return "", fault.New(fault.Invalid, op, "no scope is asked for").WithHint("give the account a purpose first")
	}
	if _, _, err := c.discover(ctx, r); err != nil {
		return "", err
	}
	page := r.at("/v2.0/adminconsent")
	if page == "" {
		return "", fault.New(fault.Invalid, op, "a provider that is not Entra has no admin consent")
	}
	q := url.Values{"client_id": {r.ClientID}, "redirect_uri": {a.Redirect}, "state": {a.State}, "scope": {strings.Join(a.Scopes, " ")}}
	return page + "?" + q.Encode(), nil
}

// Consented reads what an administrator's browser came back with: nil when consent
// was given. The error is looked at first: refusals carry admin_consent=True too.
// The tenant it names is whatever the browser says, and is not read.
func Consented(q url.Values) error {
	const op = "take the admin consent"
	if e := refusedAt(op, "adminconsent", q); e != nil {
		switch e.Kind {
		case fault.Denied:
			return e.WithHint("an administrator who may consent for the tenant (Cloud Application Administrator and above) must accept")
		case fault.NeedsAdmin:
			return e.WithHint(compareApp)
		}
		return e.WithHint(inAMinute)
	}
	if !strings.EqualFold(q.Get("admin_consent"), "true") {
		return fault.New(fault.Invalid, op, "the address says nothing of consent").WithHint("open the consent link again")
	}
	return nil
}
