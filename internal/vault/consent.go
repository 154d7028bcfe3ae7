package vault

import (
	"context"
	"net/url"

	"postern/internal/entra"
	"postern/internal/fault"
)

// NewConsentLink makes a one-time address under which an administrator of the tenant
// can agree, for everybody, to what the account's app needs.
func (v *Vault) NewConsentLink(ctx context.Context, account string) (string, error) {
	if _, _, err := v.toConsent(ctx, account); err != nil {
		return "", err
	}
	return v.putLink(ctx, Link{Account: account, Consent: true})
}

// toConsent reads an account whose app somebody can consent to, and the app.
func (v *Vault) toConsent(ctx context.Context, account string) (Account, App, error) {
	const op = "ask for admin consent"
	acct, err := v.store.Account(ctx, account)
	if err != nil {
		return Account{}, App{}, err
	}
	if acct.Method == AppPassword {
		return Account{}, App{}, fault.New(fault.Invalid, op, "account %q signs in by %s, for which no app asks", account, acct.Method).
			WithHint("postern check %s", account)
	}
	app, err := v.store.App(ctx, acct.App)
	return acct, app, err
}

// BeginConsent is BeginSignIn for an administrator's consent. Its callback comes to
// FinishSignIn, whose Result then has Consented set and nobody signed in.
//
// It asks for "/.default" on one resource, as the request must: that is the list of
// permissions in the app's registration, the application's own and those for persons,
// and so all that any of its accounts needs. Single scopes would leave out the
// application's own, and the second resource of an account that has one.
func (v *Vault) BeginConsent(ctx context.Context, account, browser string) (string, error) {
	acct, app, err := v.toConsent(ctx, account)
	if err != nil {
		return "", err
	}
	s, state, err := v.newState(account, browser)
	if err != nil {
		return "", err
	}
	s.Consent = true
	reg := entra.Registration{Cloud: app.Cloud, Tenant: app.Tenant, ClientID: app.ClientID} // a browser's address needs no secret
	address, err := v.entra.ConsentURL(ctx, reg, entra.ConsentRequest{
		Redirect: s.Redirect, State: state, Scopes: []string{resourceFor(acct, app.Cloud, acct.Purposes[0]) + "/.default"},
	})
	if err != nil {
		return "", err
	}
	return address, v.store.PutSignIn(ctx, s)
}

// finishConsent takes a consent's callback. All it leads to is that the accounts that
// wait for an administrator are tried again, so that nothing it says need be true: the
// next token tells.
func (v *Vault) finishConsent(ctx context.Context, s SignIn, q url.Values) (Result, error) {
	if err := entra.Consented(q); err != nil {
		return Result{}, err
	}
	acct, app, err := v.toConsent(ctx, s.Account)
	if err != nil {
		return Result{}, err
	}
	if err := v.probeNow(ctx, app.Name); err != nil {
		return Result{}, err
	}
	acct, err = v.store.Account(ctx, acct.Name)
	return Result{Account: acct, Purposes: acct.Purposes, Consented: true}, err
}
