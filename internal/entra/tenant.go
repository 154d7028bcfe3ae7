package entra

import (
	"regexp"
	"strings"

	"postern/internal/fault"
	"postern/internal/secret"
)

var (
	guid   = regexp.MustCompile(`^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$`)
	domain = regexp.MustCompile(`^([0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?\.)+[A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])$`)
)

// maxDomain is the longest name DNS allows.
const maxDomain = 253

// ValidateTenant refuses what may not stand in the URL the client secret is
// posted to: anything but a GUID, a dotted domain or one of Microsoft's shared
// names.
func ValidateTenant(tenant string) error {
	if sharedTenant(tenant) || guid.MatchString(tenant) || (len(tenant) <= maxDomain && domain.MatchString(tenant)) {
		return nil
	}
	return fault.New(fault.Invalid, "tenant", "%q is not a tenant; allowed: a GUID, a verified domain such as contoso.com, organizations, common, consumers", tenant).
		WithHint("copy “Directory (tenant) ID” from the app registration's overview page")
}

// sharedTenant reports whether the name stands for more than one organisation.
func sharedTenant(tenant string) bool {
	switch strings.ToLower(tenant) {
	case "organizations", "common", "consumers":
		return true
	}
	return false
}

// noOrganisation reports whether the name may stand for personal accounts, for which
// nobody consents and no password is taken.
func noOrganisation(tenant string) bool {
	return strings.EqualFold(tenant, "common") || strings.EqualFold(tenant, "consumers")
}

// ValidateSecret refuses the Secret ID, which the portal shows beside the Value
// and people paste by mistake.
func ValidateSecret(s secret.Text) error {
	if !guid.MatchString(strings.TrimSpace(s.Reveal())) {
		return nil
	}
	return fault.New(fault.Invalid, "client secret", "this is the Secret ID; paste the Value").
		WithHint("the portal shows the Value once, when the secret is made; make a new one under Certificates & secrets")
}
