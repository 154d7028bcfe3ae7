package vault

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
)

// How long a sign-in may take, and a link may lie about.
const (
	signInLife = 10 * time.Minute
	linkLife   = time.Hour
)

// Result is what a finished sign-in came to.
type Result struct {
	Account    Account
	SignedInAs string
	Purposes   []Purpose
	Until      time.Time // when the grant lapses if it is never refreshed
	Consented  bool      // an administrator agreed for the tenant; nobody signed in
}

// RedirectURI is what must be registered with the app, to the last slash.
func (v *Vault) RedirectURI() string { return v.publicURL + "/register_microsoft_graph_api/" }

// random is 256 bits for a URL: also a fitting PKCE verifier (RFC 7636 section 4.1).
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// NewLink makes an address that lets its bearer begin one sign-in.
func (v *Vault) NewLink(ctx context.Context, account string) (string, error) {
	if _, err := v.delegated(ctx, account); err != nil {
		return "", err
	}
	token := random()
	err := v.store.PutLink(ctx, Link{TokenHash: hash(token), Account: account, Expires: v.now().Add(linkLife)})
	if err != nil {
		return "", err
	}
	return v.publicURL + "/signin/" + token, nil
}

// delegated returns an account that a person can sign in to.
func (v *Vault) delegated(ctx context.Context, account string) (Account, error) {
	acct, err := v.store.Account(ctx, account)
	if err == nil && acct.Method != Delegated {
		return Account{}, fault.New(fault.Invalid, "sign in", "account %q acts by app permission and needs nobody to sign in", account)
	}
	return acct, err
}

// LookAtLink says what a link is for, without using it up.
func (v *Vault) LookAtLink(ctx context.Context, token string) (Link, Account, error) {
	l, err := v.link(v.store.Link(ctx, hash(token)))
	if err != nil {
		return Link{}, Account{}, err
	}
	acct, err := v.store.Account(ctx, l.Account)
	return l, acct, err
}

// OpenLink takes a link: it works once.
func (v *Vault) OpenLink(ctx context.Context, token string) (Link, error) {
	return v.link(v.store.TakeLink(ctx, hash(token)))
}

// link says in words why a link cannot be had.
func (v *Vault) link(l Link, err error) (Link, error) {
	if errors.Is(err, fault.NotFound) {
		return Link{}, fault.New(fault.NotFound, "open the link", "this link does not exist or was used already").
			WithHint("ask for a new one: postern signin NAME")
	}
	if err != nil {
		return Link{}, err
	}
	if !v.now().Before(l.Expires) {
		return Link{}, fault.New(fault.NotFound, "open the link", "this link was good for an hour and is over").
			WithHint("ask for a new one: postern signin %s", l.Account)
	}
	return l, nil
}

// BeginSignIn returns the provider's address for a browser. browser is the value
// of a cookie of that browser, and only it can finish what begins here.
func (v *Vault) BeginSignIn(ctx context.Context, account, browser string) (string, error) {
	if browser == "" {
		return "", fault.New(fault.Invalid, "sign in", "the browser keeps no cookie").WithHint("allow cookies for this site")
	}
	acct, err := v.delegated(ctx, account)
	if err != nil {
		return "", err
	}
	app, err := v.store.App(ctx, acct.App)
	if err != nil {
		return "", err
	}
	reg, err := v.registration(app)
	if err != nil {
		return "", err
	}
	state, verifier := random(), random()
	req := entra.AuthRequest{Redirect: v.RedirectURI(), State: state, Nonce: random(), Verifier: verifier, Scopes: entra.Scopes(app.Cloud, words(acct.Purposes))}
	if !acct.Shared { // somebody else signs in to a shared mailbox
		req.LoginHint = acct.Mailbox.String()
	}
	address, err := v.entra.AuthorizeURL(ctx, reg, req)
	if err != nil {
		return "", err
	}
	s := SignIn{
		StateHash: hash(state), Account: account, Browser: hash(browser), Nonce: req.Nonce,
		Redirect: req.Redirect, Expires: v.now().Add(signInLife),
	}
	if s.Verifier, err = v.seal.Seal(secret.New(verifier), whatVerifier, s.StateHash); err != nil {
		return "", err
	}
	return address, v.store.PutSignIn(ctx, s)
}

func words(purposes []Purpose) []string {
	w := make([]string, len(purposes))
	for i, p := range purposes {
		w[i] = string(p)
	}
	return w
}

// FinishSignIn takes the provider's callback. Whatever comes of it, its state
// will not work again; only a good one leaves a grant.
func (v *Vault) FinishSignIn(ctx context.Context, q url.Values, browser string) (Result, error) {
	s, err := v.takeState(ctx, q.Get("state"), browser)
	if q.Has("error") { // tested first: a code beside it means nothing
		if err != nil { // anybody can write such an address; their prose is not Microsoft's
			q = url.Values{"error": q["error"]}
		}
		return Result{}, entra.Refused(q)
	}
	if err != nil {
		return Result{}, err
	}
	acct, err := v.delegated(ctx, s.Account)
	if err != nil {
		return Result{}, err
	}
	app, err := v.store.App(ctx, acct.App)
	if err != nil {
		return Result{}, err
	}
	resource := entra.Resource(app.Cloud, string(acct.Purposes[0]))
	tokens, err := v.redeem(ctx, s, app, q.Get("code"), scopesOn(acct, app.Cloud, resource))
	if err != nil {
		return Result{}, err
	}
	if err := sameMailbox(acct, tokens.Identity); err != nil {
		return Result{}, err
	}
	return v.keep(ctx, acct, resource, tokens)
}

// takeState uses up the state and checks that it is this browser's, in time.
func (v *Vault) takeState(ctx context.Context, state, browser string) (SignIn, error) {
	const op = "finish the sign-in"
	s, err := v.store.TakeSignIn(ctx, hash(state))
	switch {
	case errors.Is(err, fault.NotFound):
		return s, fault.New(fault.NotFound, op, "this sign-in is not known, or was finished already").
			WithHint("begin again; do not reload the page that Microsoft sends you to")
	case err != nil:
		return s, err
	case !v.now().Before(s.Expires):
		return s, fault.New(fault.NotFound, op, "this sign-in took longer than %.0f minutes", signInLife.Minutes()).WithHint("begin again")
	case subtle.ConstantTimeCompare([]byte(s.Browser), []byte(hash(browser))) != 1:
		return s, fault.New(fault.Denied, op, "another browser began this sign-in").
			WithHint("begin and finish in the same browser, with cookies allowed")
	}
	return s, nil
}

func (v *Vault) redeem(ctx context.Context, s SignIn, app App, code string, scopes []string) (entra.Tokens, error) {
	if code == "" {
		return entra.Tokens{}, fault.New(fault.Invalid, "finish the sign-in", "the address holds no code").WithHint("begin again")
	}
	reg, err := v.registration(app)
	if err != nil {
		return entra.Tokens{}, err
	}
	verifier, err := v.seal.Open(s.Verifier, whatVerifier, s.StateHash)
	if err != nil {
		return entra.Tokens{}, err
	}
	t, err := v.entra.Redeem(ctx, reg, entra.Redemption{Code: code, Verifier: verifier.Reveal(), Redirect: s.Redirect, Nonce: s.Nonce, Scopes: scopes})
	if err == nil && t.Refresh.Empty() {
		return entra.Tokens{}, fault.New(fault.NeedsAdmin, "finish the sign-in", "the provider gave no refresh token").
			WithHint("allow the app offline_access")
	}
	return t, err
}

// sameMailbox refuses a grant for somebody else's mailbox: with it, servers would
// answer “authenticated but not connected” much later, to nobody who knows why.
func sameMailbox(acct Account, id entra.Identity) error {
	want := acct.Mailbox.String()
	if acct.Shared || strings.EqualFold(id.Username, want) || strings.EqualFold(id.Email, want) {
		return nil
	}
	return fault.New(fault.Denied, "finish the sign-in", "%s signed in, but account %q is the mailbox %s", name(id), acct.Name, want).
		WithHint("sign in as %s, in a private window if the browser knows %s; or mark the account as shared if %s may use that mailbox", want, name(id), name(id))
}

func name(id entra.Identity) string {
	for _, n := range []string{id.Username, id.Email, id.ObjectID} {
		if n != "" {
			return n
		}
	}
	return "somebody without a name"
}

// keep commits a new grant in place of any old one. The code is used up, so it is
// kept even when the browser has gone.
func (v *Vault) keep(ctx context.Context, acct Account, resource string, t entra.Tokens) (Result, error) {
	now := v.now()
	g, _, err := v.merge(Grant{
		Account: acct.Name, SignedInAs: name(t.Identity), ObjectID: t.Identity.ObjectID, TenantID: t.Identity.TenantID,
		Scopes: t.Scopes, SignedInAt: now,
	}, resource, t)
	if err != nil {
		return Result{}, err
	}
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	if err := v.store.CommitGrant(keep, g, ""); err != nil {
		return Result{}, err
	}
	if err := v.enter(keep, acct, Person, Active, "", time.Time{}); err != nil {
		return Result{}, err
	}
	acct.State, acct.Reason, acct.Since, acct.ProbeAt = Active, "", now, time.Time{}
	return Result{Account: acct, SignedInAs: g.SignedInAs, Purposes: acct.Purposes, Until: now.Add(grantLife)}, nil
}
