package vault

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// Accounts lists the accounts.
func (v *Vault) Accounts(ctx context.Context) ([]Account, error) { return v.store.Accounts(ctx) }

// Account returns one account.
func (v *Vault) Account(ctx context.Context, name string) (Account, error) {
	return v.store.Account(ctx, name)
}

// PutAccount checks and keeps an account. A nil clear keeps the password there is,
// an empty one takes it away; a new one lifts a pause. An account that now is another
// mailbox, app or method loses the grant it had: that grant was somebody else's.
func (v *Vault) PutAccount(ctx context.Context, a Account, clear *secret.Text) error {
	if err := v.checkAccount(ctx, a); err != nil {
		return err
	}
	old, err := v.store.Account(ctx, a.Name)
	fresh := errors.Is(err, fault.NotFound)
	if err != nil && !fresh {
		return err
	}
	if err := v.setPassword(ctx, &a, old, clear); err != nil {
		return err
	}
	if fresh {
		a.State, a.By, a.Since, a.Reason, a.ProbeAt = New, Person, v.now(), "", time.Time{}
		return v.store.PutAccount(ctx, a)
	}
	if err := v.store.PutAccount(ctx, a); err != nil {
		return err
	}
	return v.settle(ctx, old, a, clear != nil)
}

// settle lets an account's state follow what somebody changed of it.
func (v *Vault) settle(ctx context.Context, old, a Account, entered bool) error {
	other := old.App != a.App || old.Method != a.Method || !old.Mailbox.Same(a.Mailbox) || (old.Shared && !a.Shared)
	if other || (entered && a.Method == Password) { // a new password proves itself by a grant of its own
		if err := v.store.CommitGrant(ctx, Grant{Account: a.Name}, ""); err != nil {
			return err
		}
	}
	t := Transition{By: Person, At: v.now()}
	switch {
	case other:
		t.To = New
	case entered && old.paused():
		t.To, t.Reason = New, "a new password was entered and has not been used yet; before: "+old.Reason
	case old.State == NeedsAdmin: // perhaps this was what had to change
		t = Transition{To: NeedsAdmin, By: old.By, Reason: old.Reason, At: t.At, ProbeAt: t.At}
	default:
		return nil
	}
	_, err := v.store.SetState(ctx, a.Name, t)
	return err
}

// setPassword puts the sealed password into a. One that was of another mailbox or
// another kind, or for other hosts, is not kept.
func (v *Vault) setPassword(ctx context.Context, a *Account, old Account, clear *secret.Text) error {
	const op = "put account"
	a.Password, a.PasswordSet = nil, time.Time{}
	takes := a.Method == Password || a.Method == AppPassword
	switch {
	case clear != nil:
		given := secret.New(strings.TrimSpace(clear.Reveal()))
		if !takes && !given.Empty() {
			return fault.New(fault.Invalid, op, "account %q signs in by %s, which takes no password", a.Name, a.Method).
				WithHint("only the methods %s and %s take one", Password, AppPassword)
		}
		sealed, err := v.seal.Seal(given, whatPassword, a.Name)
		if err != nil {
			return err
		}
		if sealed != nil {
			a.Password, a.PasswordSet = sealed, v.now()
		}
	case takes && old.Method == a.Method && old.Mailbox.Same(a.Mailbox) && v.keepsPassword(ctx, old, *a):
		a.Password, a.PasswordSet = old.Password, old.PasswordSet
	}
	return nil
}

// allPurposes are the purposes there are.
func allPurposes() []Purpose { return []Purpose{Send, IMAP, POP3, Graph, HVE} }

// checkAccount refuses what could never work.
func (v *Vault) checkAccount(ctx context.Context, a Account) error {
	const op = "put account"
	allowed := strings.Join(words(allPurposes()), ", ")
	switch {
	case strings.TrimSpace(a.Name) == "":
		return fault.New(fault.Invalid, op, "it has no name")
	case a.Mailbox.Null():
		return fault.New(fault.Invalid, op, "account %q has no mailbox", a.Name)
	case !slices.Contains([]Method{Delegated, Application, Password, AppPassword}, a.Method):
		return fault.New(fault.Invalid, op, "%q is not a sign-in method; allowed: %s, %s, %s, %s",
			a.Method, Delegated, Application, Password, AppPassword)
	case len(a.Purposes) == 0:
		return fault.New(fault.Invalid, op, "account %q has no purpose; allowed: %s", a.Name, allowed)
	}
	for _, p := range a.Purposes {
		if !slices.Contains(allPurposes(), p) {
			return fault.New(fault.Invalid, op, "%q is not a purpose; allowed: %s", p, allowed)
		}
	}
	app, err := v.store.App(ctx, a.App)
	if errors.Is(err, fault.NotFound) {
		return fault.New(fault.Invalid, op, "there is no app %q", a.App).WithHint("register the app first")
	}
	if err != nil {
		return err
	}
	if err := checkTransport(a); err != nil {
		return err
	}
	return checkMethod(a, app)
}

// checkTransport holds a fixed transport to the purposes, which choose its scopes.
func checkTransport(a Account) error {
	needs, ok := map[string]Purpose{OverSMTP: Send, OverHVE: HVE, OverGraph: Graph}[a.Transport]
	switch {
	case a.Transport == "":
		return nil
	case !ok:
		return fault.New(fault.Invalid, "put account", "%q is not a transport; allowed: auto, %s, %s, %s", a.Transport, OverSMTP, OverHVE, OverGraph)
	case !a.May(needs):
		return fault.New(fault.Invalid, "put account", "account %q is to send by %s and is not for it", a.Name, a.Transport).
			WithHint("add %s to its purposes, or leave transport away", needs)
	}
	return nil
}

// checkMethod holds an account to what its method needs.
func checkMethod(a Account, app App) error {
	const op = "put account"
	switch {
	case a.Method == AppPassword && personal(a.Mailbox):
		return fault.New(fault.Invalid, op, "app passwords no longer work with SMTP, IMAP or POP for personal accounts; sign in with Microsoft instead").
			WithHint("give the account the method %s", Delegated)
	case a.Method == AppPassword && (a.May(Graph) || a.May(HVE)):
		return fault.New(fault.Invalid, op, "an app password is for %s, %s and %s only", Send, IMAP, POP3).
			WithHint("leave %s and %s away, or choose another method", Graph, HVE)
	case a.Method == AppPassword:
		return nil
	case app.ClientID == "":
		return fault.New(fault.Invalid, op, "app %q has no client id and so can ask for no token", app.Name).
			WithHint("give the app its tenant and client id; only the method %s does without", AppPassword)
	case a.Method != Delegated && !(entra.Registration{Tenant: app.Tenant}).Specific():
		return fault.New(fault.Invalid, op, "app %q is for tenant %q, and the method %s needs one tenant", app.Name, app.Tenant, a.Method).
			WithHint("give the app the GUID or a domain of the one tenant it is to act in")
	case a.May(Send) && a.May(HVE):
		return fault.New(fault.Invalid, op, "account %q sends either as a mailbox or through High Volume Email", a.Name).
			WithHint("choose %s or %s; two accounts may do both", Send, HVE)
	}
	return nil
}

// personal reports whether an address is one of Microsoft's own for persons, in any
// country: outlook.com, hotmail.co.uk, live.nl, msn.com.
func personal(a mail.Address) bool {
	name, rest, _ := strings.Cut(strings.ToLower(strings.TrimSuffix(a.Domain, ".")), ".")
	if name == "msn" {
		return rest == "com"
	}
	second, country, deep := strings.Cut(rest, ".")
	suffix := rest != "" && !deep || (second == "co" || second == "com") && !strings.Contains(country, ".")
	return suffix && (name == "outlook" || name == "hotmail" || name == "live")
}

// Description is what a page may show of an account. It holds no secret.
type Description struct {
	Account    Account
	SignedInAs string
	ObjectID   string // of who signed in; of the Enterprise application where nobody does
	TenantID   string
	Scopes     []string
	SignedInAt time.Time
	RotatedAt  time.Time
	Until      time.Time // when the grant lapses if nobody refreshes it; zero without one
	Access     []AccessFact
}

// AccessFact is an access token without the token.
type AccessFact struct {
	Resource string
	Issued   time.Time
	Expires  time.Time
}

// Describe tells what is known of an account.
func (v *Vault) Describe(ctx context.Context, name string) (Description, error) {
	acct, err := v.store.Account(ctx, name)
	if err != nil {
		return Description{}, err
	}
	d := Description{Account: acct}
	g, err := v.store.Grant(ctx, name)
	if errors.Is(err, fault.NotFound) {
		return d, nil
	}
	if err != nil {
		return Description{}, err
	}
	d.SignedInAs, d.ObjectID, d.TenantID, d.Scopes = g.SignedInAs, g.ObjectID, g.TenantID, g.Scopes
	d.SignedInAt, d.RotatedAt = g.SignedInAt, g.RotatedAt
	if len(g.Refresh) > 0 {
		d.Until = g.RotatedAt.Add(grantLife)
	}
	for _, a := range g.Access {
		d.Access = append(d.Access, AccessFact{Resource: a.Resource, Issued: a.Issued, Expires: a.Expires})
	}
	if acct.Method == Application && d.ObjectID == "" {
		d.ObjectID = v.principal(g)
	}
	return d, nil
}
