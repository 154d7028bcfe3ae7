// Package vault holds what lets Postern act for a mailbox: app registrations,
// accounts, and the grants behind them, sealed under a master key that lives
// outside the database. It hands out access tokens, refreshing them ahead of
// their end, one refresh at a time per account across all nodes.
//
// It speaks to Entra through package entra and keeps its state in a [Store]. It
// knows nothing of queues, tasks or mail servers.
package vault

import (
	"context"
	"time"

	"postern/internal/entra"
	"postern/internal/mail"
)

// Sealed is a secret under the master key. It is safe to store and useless to print.
type Sealed []byte

// App is an app registration (product A1).
type App struct {
	Name          string
	Tenant        string // GUID, verified domain, organizations, common or consumers
	ClientID      string
	Cloud         entra.Cloud
	Secret        Sealed // client secret value; empty for a public client
	SecretExpires time.Time
}

// Method is how an account signs in.
type Method string

// The methods.
const (
	Delegated   Method = "delegated"   // a person signed in once: authorization code, then refresh tokens
	Application Method = "application" // client credentials: the app's own permission
)

// Purpose is what an account's tokens are for. Purposes choose the scopes.
type Purpose string

// The purposes.
const (
	Send  Purpose = "send"
	IMAP  Purpose = "imap"
	POP3  Purpose = "pop3"
	Graph Purpose = "graph"
)

// State is whether an account works, as far as Postern knows.
type State string

// The states; docs/way-of-a-message.md draws the edges.
const (
	New         State = "new"           // never signed in
	Active      State = "active"        // the last answer was good
	NeedsSignIn State = "needs_sign_in" // paused: somebody must sign in again
	NeedsAdmin  State = "needs_admin"   // paused: a switch or a permission is wrong; probed now and then
)

// Account is a mailbox Postern may act for (product A2).
type Account struct {
	Name     string
	App      string // App.Name
	Mailbox  mail.Address
	Method   Method
	Purposes []Purpose
	Shared   bool // the person who signs in need not be the mailbox (A9)

	// State and what follows is written by Postern, never by apply.
	State   State
	Reason  string    // one sentence, the peer's words included; "" when active
	Since   time.Time // when State was entered
	ProbeAt time.Time // needs_admin: when one attempt may be made again
}

// May reports whether p is among the account's purposes.
func (a Account) May(p Purpose) bool {
	for _, q := range a.Purposes {
		if q == p {
			return true
		}
	}
	return false
}

// Grant is what a sign-in left behind. There is at most one per account.
type Grant struct {
	Account    string
	Refresh    Sealed   // empty for application accounts
	Access     []Access // one per resource
	SignedInAs string   // preferred_username of the id token
	ObjectID   string   // oid claim
	TenantID   string   // tid claim
	Scopes     []string // as Entra granted them
	SignedInAt time.Time
	RotatedAt  time.Time // when Refresh was last replaced
	Generation int64     // rises with every commit
}

// Access is a sealed access token for one resource.
type Access struct {
	Resource string
	Token    Sealed
	Issued   time.Time
	Expires  time.Time
}

// SignIn is a sign-in under way, between the authorize URL and the callback.
type SignIn struct {
	StateHash string // SHA-256 of the state parameter, hex
	Account   string
	Browser   string // SHA-256 of the cookie of the browser that began, hex
	Verifier  Sealed // PKCE code verifier
	Nonce     string
	Redirect  string
	Expires   time.Time
}

// Link is a one-time address that lets its bearer begin one sign-in.
type Link struct {
	TokenHash string // SHA-256 of the token in the URL, hex
	Account   string
	Expires   time.Time
}

// Store keeps all of it. Implementations are safe for concurrent use by several
// processes. A missing row is fault.NotFound; a lost race is fault.Conflict.
// When a write returns nil it is durable.
type Store interface {
	Apps(ctx context.Context) ([]App, error)
	App(ctx context.Context, name string) (App, error)
	PutApp(ctx context.Context, a App) error          // insert or replace
	DeleteApp(ctx context.Context, name string) error // Conflict while accounts use it

	Accounts(ctx context.Context) ([]Account, error)
	Account(ctx context.Context, name string) (Account, error)
	PutAccount(ctx context.Context, a Account) error      // insert, or replace all but State, Reason, Since, ProbeAt
	DeleteAccount(ctx context.Context, name string) error // with its grant; Conflict while devices or tasks use it
	// SetState records a state. It reports whether the state differs from before.
	SetState(ctx context.Context, account string, s State, reason string, since, probeAt time.Time) (changed bool, err error)

	Grant(ctx context.Context, account string) (Grant, error)
	// ClaimRefresh gives holder the sole right to commit the account's grant until
	// the given time. A claim that another holder has and that has not expired is
	// fault.Conflict. The claim is durable, so it holds across processes and nodes.
	// An account that has no grant yet may be claimed too, and gives an empty one.
	ClaimRefresh(ctx context.Context, account, holder string, now, until time.Time) (Grant, error)
	// CommitGrant replaces the grant, raises its generation and drops the claim.
	// It is fault.Conflict when holder no longer has the claim. A holder of ""
	// (a fresh sign-in) replaces whatever is there and voids any claim.
	CommitGrant(ctx context.Context, g Grant, holder string) error
	// DropClaim gives a claim back without a commit.
	DropClaim(ctx context.Context, account, holder string) error

	PutSignIn(ctx context.Context, s SignIn) error
	// TakeSignIn returns and deletes it in one step: a state works once.
	TakeSignIn(ctx context.Context, stateHash string) (SignIn, error)
	PutLink(ctx context.Context, l Link) error
	TakeLink(ctx context.Context, tokenHash string) (Link, error)
	// ForgetExpired deletes sign-ins and links that ended before now.
	ForgetExpired(ctx context.Context, now time.Time) error

	// Setting reads a small named value; PutSettingOnce writes it if it is absent
	// and returns whichever is there afterwards.
	Setting(ctx context.Context, key string) ([]byte, error)
	PutSettingOnce(ctx context.Context, key string, value []byte) ([]byte, error)
}
