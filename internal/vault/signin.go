package vault

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
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

// Why a callback or its sign-in was refused, for those who answer each with a page of
// its own. What the provider refuses is told by its reply.
var (
	ErrUnknownState = errors.New("this sign-in is not known, or was finished already")
	ErrExpiredState = fmt.Errorf("this sign-in took longer than %.0f minutes", signInLife.Minutes())
	ErrOtherBrowser = errors.New("another browser began this sign-in")
	ErrWrongMailbox = errors.New("the wrong account signed in")
	ErrPersonal     = errors.New("a personal account signed in")
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
	return v.putLink(ctx, Link{Account: account})
}

// putLink keeps a link and returns its address. Only a hash of it is kept.
func (v *Vault) putLink(ctx context.Context, l Link) (string, error) {
	token := random()
	l.TokenHash, l.Expires = hash(token), v.now().Add(linkLife)
	if err := v.store.PutLink(ctx, l); err != nil {
		return "", err
	}
	return v.publicURL + "/signin/" + token, nil
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
			WithHint("ask for a new one: postern signin NAME, or postern consent NAME")
	}
	if err != nil {
		return Link{}, err
	}
	if !v.now().Before(l.Expires) {
		command := "signin"
		if l.Consent {
			command = "consent"
		}
		return Link{}, fault.New(fault.NotFound, "open the link", "this link was good for an hour and is over").
			WithHint("ask for a new one: postern %s %s", command, l.Account)
	}
	return l, nil
}

// delegated returns an account that a person can sign in to.
func (v *Vault) delegated(ctx context.Context, account string) (Account, error) {
	acct, err := v.store.Account(ctx, account)
	if err == nil && acct.Method != Delegated {
		return Account{}, fault.New(fault.Invalid, "sign in", "account %q signs in by %s, which needs nobody at a browser", account, acct.Method).
			WithHint("postern check %s", account)
	}
	return acct, err
}

// toSignIn reads a delegated account with its app, ready for requests.
func (v *Vault) toSignIn(ctx context.Context, account string) (Account, App, entra.Registration, error) {
	acct, err := v.delegated(ctx, account)
	if err != nil {
		return Account{}, App{}, entra.Registration{}, err
	}
	app, err := v.store.App(ctx, acct.App)
	if err != nil {
		return Account{}, App{}, entra.Registration{}, err
	}
	reg, err := v.registration(app)
	return acct, app, reg, err
}

// BeginSignIn returns the provider's address for a browser. browser is the value
// of a cookie of that browser, and only it can finish what begins here.
func (v *Vault) BeginSignIn(ctx context.Context, account, browser string) (string, error) {
	acct, app, reg, err := v.toSignIn(ctx, account)
	if err != nil {
		return "", err
	}
	s, state, err := v.newState(account, browser)
	if err != nil {
		return "", err
	}
	verifier := random()
	s.Nonce = random()
	req := entra.AuthRequest{Redirect: s.Redirect, State: state, Nonce: s.Nonce, Verifier: verifier, Scopes: allScopes(acct, app.Cloud)}
	if !acct.Shared { // somebody else signs in to a shared mailbox
		req.LoginHint = acct.Mailbox.String()
	}
	address, err := v.entra.AuthorizeURL(ctx, reg, req)
	if err != nil {
		return "", err
	}
	if s.Verifier, err = v.seal.Seal(secret.New(verifier), whatVerifier, s.StateHash); err != nil {
		return "", err
	}
	return address, v.store.PutSignIn(ctx, s)
}

// newState is a sign-in about to begin, and the state that will bring it back.
func (v *Vault) newState(account, browser string) (s SignIn, state string, err error) {
	if browser == "" {
		return s, "", fault.New(fault.Invalid, "sign in", "the browser keeps no cookie").WithHint("allow cookies for this site")
	}
	state = random()
	return SignIn{
		StateHash: hash(state), Account: account, Browser: hash(browser), Redirect: v.RedirectURI(), Expires: v.now().Add(signInLife),
	}, state, nil
}

// allScopes are the scopes of all of an account's purposes: one consent for all.
func allScopes(acct Account, cloud entra.Cloud) []string {
	var scopes, seen []string
	for _, p := range acct.Purposes {
		if resource := resourceFor(acct, cloud, p); !slices.Contains(seen, resource) {
			seen = append(seen, resource)
			scopes = append(scopes, scopesOn(acct, cloud, resource)...)
		}
	}
	return scopes
}

func words(purposes []Purpose) []string {
	w := make([]string, len(purposes))
	for i, p := range purposes {
		w[i] = string(p)
	}
	return w
}

// FinishSignIn takes the provider's callback. Whatever comes of it, its state
// will not work again; only a good one leaves a grant. With an error, and only in the
// browser that began, the Result still names the account and says by Consented what
// was asked for, so that it can be asked again.
func (v *Vault) FinishSignIn(ctx context.Context, q url.Values, browser string) (Result, error) {
	s, err := v.takeState(ctx, q.Get("state"), browser)
	asked := Result{Account: Account{Name: s.Account}, Consented: s.Consent}
	switch {
	case q.Has("error") && err != nil: // anybody can write such an address; their prose is not Microsoft's
		return asked, entra.Refused(url.Values{"error": q["error"]})
	case q.Has("error"): // tested first: a code beside it means nothing
		return asked, v.declined(ctx, s, q)
	case err != nil:
		return asked, err
	}
	finish := v.finishSignIn
	if s.Consent {
		finish = v.finishConsent
	}
	r, err := finish(ctx, s, q)
	if err != nil {
		return asked, err
	}
	return r, nil
}

// declined is the error a browser came back with, and what it means.
func (v *Vault) declined(ctx context.Context, s SignIn, q url.Values) error {
	refused := entra.Refused
	if s.Consent {
		refused = entra.Consented
	}
	acct, err := v.store.Account(ctx, s.Account)
	if err != nil {
		return refused(q)
	}
	app, err := v.store.App(ctx, acct.App)
	if err != nil {
		return refused(q)
	}
	return v.inWords(acct, app, refused(q))
}

// inWords adds to Entra's refusal what it means and what to do about it, as far as
// nobody has said that yet. What kind of failure it is stays as it is.
func (v *Vault) inWords(acct Account, app App, err error) error {
	e := fault.As(err)
	if e == nil || e.Reply == nil || e.Err != nil {
		return err
	}
	row, _, known := v.explain(acct, app, e.Reply)
	if !known {
		return err
	}
	said := *e
	said.Err = errors.New(row.Meaning)
	if said.Hint == "" {
		said.Hint = row.Fix
	}
	return &said
}

// takeState uses up the state and checks that it is this browser's, in time. Nothing
// of somebody else's comes back.
func (v *Vault) takeState(ctx context.Context, state, browser string) (SignIn, error) {
	refuse := func(kind fault.Kind, why error) *fault.Error {
		return &fault.Error{Kind: kind, Op: finishing, Err: why}
	}
	s, err := v.store.TakeSignIn(ctx, hash(state))
	switch {
	case errors.Is(err, fault.NotFound):
		return SignIn{}, refuse(fault.NotFound, ErrUnknownState).WithHint("begin again; do not reload the page that Microsoft sends you to")
	case err != nil:
		return SignIn{}, err
	case subtle.ConstantTimeCompare([]byte(s.Browser), []byte(hash(browser))) != 1:
		return SignIn{}, refuse(fault.Denied, ErrOtherBrowser).WithHint("begin and finish in the same browser, with cookies allowed")
	case !v.now().Before(s.Expires):
		return s, refuse(fault.NotFound, ErrExpiredState).WithHint("begin again")
	}
	return s, nil
}

const finishing = "finish the sign-in"

// finishSignIn turns the code into a grant.
func (v *Vault) finishSignIn(ctx context.Context, s SignIn, q url.Values) (Result, error) {
	code := q.Get("code")
	if code == "" {
		return Result{}, fault.New(fault.Invalid, finishing, "the address holds no code").WithHint("begin again")
	}
	acct, app, reg, err := v.toSignIn(ctx, s.Account)
	if err != nil {
		return Result{}, err
	}
	verifier, err := v.seal.Open(s.Verifier, whatVerifier, s.StateHash)
	if err != nil {
		return Result{}, err
	}
	resource := resourceFor(acct, app.Cloud, acct.Purposes[0])
	t, err := v.entra.Redeem(ctx, reg, entra.Redemption{
		Code: code, Verifier: verifier.Reveal(), Redirect: s.Redirect, Nonce: s.Nonce, Scopes: scopesOn(acct, app.Cloud, resource),
	})
	if err != nil {
		return Result{}, v.inWords(acct, app, err)
	}
	return v.accept(ctx, acct, app, resource, t)
}

// accept checks who signed in and what it gave, for one resource, and keeps it.
func (v *Vault) accept(ctx context.Context, acct Account, app App, resource string, t entra.Tokens) (Result, error) {
	if t.Refresh.Empty() {
		return Result{}, fault.New(fault.NeedsAdmin, finishing, "the provider gave no refresh token").WithHint("allow the app offline_access")
	}
	if err := rightPerson(acct, app, t.Identity); err != nil {
		return Result{}, err
	}
	if len(t.Scopes) == 0 { // they are those that were asked for (RFC 6749 section 5.1)
		t.Scopes = scopesOn(acct, app.Cloud, resource)
	}
	return v.keep(ctx, acct, resource, t)
}

// personalTenant is the tenant that id tokens of personal accounts name (reference
// section 2.6).
const personalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// rightPerson refuses a grant for somebody else's mailbox: with it, servers would
// answer “authenticated but not connected” much later, to nobody who knows why.
func rightPerson(acct Account, app App, id entra.Identity) error {
	who, want := name(id), acct.Mailbox.String()
	if strings.EqualFold(id.TenantID, personalTenant) && !takesPersonal(app.Tenant) {
		return fault.New(fault.Denied, finishing, "%w: %s is a personal Microsoft account, and app %q is for tenant %s", ErrPersonal, who, app.Name, app.Tenant).
			WithHint("sign in with the work account of %s, in a private window", want)
	}
	if acct.Shared || strings.EqualFold(id.Username, want) || strings.EqualFold(id.Email, want) {
		return nil
	}
	return fault.New(fault.Denied, finishing, "%w: %s, but account %q is the mailbox %s", ErrWrongMailbox, who, acct.Name, want).
		WithHint("sign in as %s, in a private window if the browser knows %s; or mark the account as shared if %s may use that mailbox", want, who, who)
}

// takesPersonal reports whether personal accounts belong to a tenant.
func takesPersonal(tenant string) bool {
	switch strings.ToLower(tenant) {
	case "", "common", "consumers", personalTenant: // "": not Entra, whose id that tenant is
		return true
	}
	return false
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
		SignedInAt: now,
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
