package vault

import (
	"context"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Credential is what signs an account in at a server: a token or a password, never both.
type Credential struct {
	User     string      // the mailbox: XOAUTH2's user=, or the name that goes with Password
	Token    secret.Text // for XOAUTH2 or a Bearer header
	Password secret.Text // for PLAIN and LOGIN; only accounts with an app password have one
	Expires  time.Time   // of Token
	Scopes   []string    // as granted; empty for a password
}

// Want says how a credential is wanted.
type Want uint8

// The ways of wanting.
const (
	Cached Want = iota // the one there is, unless it is due
	Fresh              // a new one, because a server refused the last
	Asked              // a new one, because a person wants to know: a pause is no reason not to try
)

// Credential returns what signs an account in for one of its purposes, whatever its
// method: the one contract of all grants. Its errors are of kind NeedsSignIn and
// NeedsAdmin, which also pause the account, and Temporary and Throttled, which change
// nothing. While the provider's refusal stands it is repeated here, and nobody is asked.
func (v *Vault) Credential(ctx context.Context, account string, p Purpose, w Want) (Credential, error) {
	n := need{name: account, purpose: p, want: w, share: latestShare, asked: v.now()}
	n, err := v.read(ctx, n)
	if err != nil {
		return Credential{}, err
	}
	if n.account.Held && w != Asked {
		return Credential{}, fault.New(fault.NeedsAdmin, "paused", "somebody paused account %q", account).WithHint("postern accounts resume %s", account)
	}
	if n.account.Method == AppPassword {
		return v.appPassword(n)
	}
	g, err := v.access(ctx, n)
	if err != nil {
		return Credential{}, err
	}
	a, _ := g.on(n.resource)
	token, err := v.seal.Open(a.Token, whatAccess, account)
	return Credential{User: n.account.Mailbox.String(), Token: token, Expires: a.Expires, Scopes: g.granted(n.resource)}, err
}

// Token is Credential for those who can use nothing but an access token. fresh asks
// for a new one because a server refused the last.
func (v *Vault) Token(ctx context.Context, account string, p Purpose, fresh bool) (secret.Text, error) {
	acct, err := v.store.Account(ctx, account)
	if err != nil {
		return secret.Text{}, err
	}
	if acct.Method == AppPassword {
		return secret.Text{}, fault.New(fault.Invalid, "get a token", "account %q has an app password and no tokens", account).
			WithHint("use the password where it is needed, or give the account another sign-in method")
	}
	w := Cached
	if fresh {
		w = Fresh
	}
	c, err := v.Credential(ctx, account, p, w)
	return c.Token, err
}

// appPassword hands out the password. A refused one is not handed out again: servers
// count, and lock the mailbox.
func (v *Vault) appPassword(n need) (Credential, error) {
	a := n.account
	switch {
	case n.want == Asked:
	case a.State == NeedsSignIn && !a.PasswordSet.After(a.Since):
		return Credential{}, v.standing(a, n.app)
	case n.want == Fresh:
		return Credential{}, fault.New(fault.NeedsSignIn, "sign in", "the server refused the app password of account %q, and there is no other", a.Name).
			WithHint("%s", a.next(NeedsSignIn, ""))
	}
	clear, err := v.seal.Open(a.Password, whatPassword, a.Name)
	if err == nil && clear.Empty() {
		return Credential{}, noPassword(a)
	}
	return Credential{User: a.Mailbox.String(), Password: clear}, err
}

// noPassword says that nobody has entered one yet.
func noPassword(a Account) error {
	return fault.New(fault.NeedsSignIn, "sign in", "nobody has entered the password of account %q yet", a.Name).
		WithHint("%s", a.next(NeedsSignIn, ""))
}
