package door

import (
	"slices"
	"strings"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Account is what a door must know of a device's account.
type Account struct {
	Mailbox mail.Address // whose mail it sends
	// Inside are the domains that it reaches beside its mailbox's own; looked at when
	// InsideOnly is set, because High Volume Email takes mail for the tenant only.
	InsideOnly bool
	Inside     []string
}

// Reaches returns nil when the account's way out takes mail for the address, and
// fault.Denied with the next step when its server would refuse it.
func (a Account) Reaches(to mail.Address) error {
	same := func(domain string) bool { return strings.EqualFold(domain, to.Domain) }
	if !a.InsideOnly || same(a.Mailbox.Domain) || slices.ContainsFunc(a.Inside, same) {
		return nil
	}
	return fault.New(fault.Denied, "accept recipient", "High Volume Email (HVE) reaches recipients inside the organisation only, and %s is not known as one of its domains", to.Domain).
		WithHint("give the device an account with the purpose send or graph, or, if the domain is the organisation's, add it to internal_domains of the account")
}
