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

// App is an app registration (product A1). One without tenant and client id only
// says where the servers are, for accounts that sign in with an app password.
type App struct {
	Name          string
	Tenant        string // GUID, verified domain, organizations, common or consumers
	ClientID      string
	Cloud         entra.Cloud
	Secret        Sealed // client secret value; empty without one
	SecretExpires time.Time
	Certificate   []byte // DER of the certificate that stands for the app; nil without one
	Key           Sealed // its private key, PKCS #8 in PEM
}

// Method is how an account signs in.
type Method string

// The methods.
const (
	Delegated   Method = "delegated"    // a person signed in once: authorization code, then refresh tokens
	Application Method = "application"  // client credentials: the app's own permission
	Password    Method = "password"     // the mailbox's own password, exchanged for tokens (High Volume Email)
	AppPassword Method = "app_password" // a password that the mail servers take themselves, while they do
)

// Purpose is what an account's tokens are for. Purposes choose the scopes.
type Purpose string

// The purposes.
const (
	Send  Purpose = "send"
	IMAP  Purpose = "imap"
	POP3  Purpose = "pop3"
	Graph Purpose = "graph"
	HVE   Purpose = "hve" // send through High Volume Email
)

// The transports an account may be told to send by; none is the automatic choice.
const (
	OverSMTP  = "smtp"
	OverHVE   = "hve"
	OverGraph = "graph"
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

// Party is on whose word an account changed its state.
type Party string

// The parties.
const (
	Provider Party = "provider" // Entra gave or refused a token
	Server   Party = "server"   // a mail server took or refused a login or a message
	Person   Party = "person"   // somebody signed in, or changed the settings
)

// Transition is a change of an account's state.
type Transition struct {
	To      State
	By      Party
	Reason  string    // one sentence, the peer's words included; "" for Active
	At      time.Time // now
	ProbeAt time.Time // NeedsAdmin: when one attempt may be made again
}

// Account is a mailbox Postern may act for (product A2).
type Account struct {
	Name     string
	App      string // App.Name
	Mailbox  mail.Address
	Method   Method
	Purposes []Purpose
	Shared   bool // the person who signs in need not be the mailbox (A9)

	Transport string // how its mail leaves; "" chooses

	Password    Sealed    // methods Password and AppPassword
	PasswordSet time.Time // when Password was entered
	GiveTokens  bool      // `postern token` may print its access tokens

	Limits *mail.Limits // of its mailbox; nil: those its server is known for
	// InternalDomains are the tenant's own beside its mailbox's: all that HVE reaches.
	InternalDomains []string

	Simulate bool // its mail is accepted, and sent to nobody

	// Held, State and what follows is written by Postern, never by apply.
	Held    bool // somebody paused it by hand
	State   State
	By      Party     // on whose word
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
	Consent   bool // an administrator's consent for the account's app; Verifier and Nonce are empty
	Expires   time.Time
}

// Link is a one-time address that lets its bearer begin one sign-in, or one admin
// consent for the account's app.
type Link struct {
	TokenHash string // SHA-256 of the token in the URL, hex
	Account   string
	Consent   bool
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
	PutAccount(ctx context.Context, a Account) error      // insert, or replace all but Held, State, By, Reason, Since, ProbeAt
	DeleteAccount(ctx context.Context, name string) error // with its grant; Conflict while something uses it, or its mail waits
	// HoldAccount sets Held and reports whether it was otherwise.
	HoldAccount(ctx context.Context, name string, held bool) (changed bool, err error)
	// RenameAccount gives an account the name of next and its sealed values, and the grant
	// those of g, which the holder has claimed; whatever names the account follows. Conflict
	// when the name is taken, the claim is lost or mail is being delivered.
	RenameAccount(ctx context.Context, name string, next Account, g Grant, holder string) error
	// SetState makes a transition and reports whether the state differs from before.
	// A token alone does not lift what a mail server paused: Active by Provider leaves
	// a pause by Server as it is, unchanged.
	SetState(ctx context.Context, account string, t Transition) (changed bool, err error)

	// ResealApp and its like replace nothing but sealed values, and only while they are
	// still those of old (for a grant: while its generation is); Conflict otherwise.
	ResealApp(ctx context.Context, old, next App) error
	ResealAccount(ctx context.Context, old, next Account) error
	ResealGrant(ctx context.Context, old, next Grant) error // the generation stays

	Grant(ctx context.Context, account string) (Grant, error)
	// LastRotated says when each refresh token was last replaced, by account.
	LastRotated(ctx context.Context) (map[string]time.Time, error)
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
	Link(ctx context.Context, tokenHash string) (Link, error) // as it is, not taken
	TakeLink(ctx context.Context, tokenHash string) (Link, error)
	// ForgetExpired deletes sign-ins and links that ended before now.
	ForgetExpired(ctx context.Context, now time.Time) error

	// Setting reads a small named value; PutSettingOnce writes it if it is absent
	// and returns whichever is there afterwards.
	Setting(ctx context.Context, key string) ([]byte, error)
	PutSettingOnce(ctx context.Context, key string, value []byte) ([]byte, error)
	// SwapSetting replaces a value that still is old; fault.Conflict otherwise.
	SwapSetting(ctx context.Context, key string, old, value []byte) error
	// SettingKeys lists the keys that begin with prefix.
	SettingKeys(ctx context.Context, prefix string) ([]string, error)
}
