package vault

import (
	"context"

	"postern/internal/fault"
)

// NewConsentLink makes a one-time address under which an administrator of the tenant
// can agree, for everybody, to what the account's app needs.
func (v *Vault) NewConsentLink(ctx context.Context, account string) (string, error) {
	return "", fault.New(fault.Unknown, "ask for admin consent", "not built yet: %v %s", ctx, account)
}

// BeginConsent is BeginSignIn for an administrator's consent. Its callback comes to
// FinishSignIn, whose Result then has Consented set and nobody signed in.
func (v *Vault) BeginConsent(ctx context.Context, account, browser string) (string, error) {
	return "", fault.New(fault.Unknown, "ask for admin consent", "not built yet: %v %s %s", ctx, account, browser)
}
