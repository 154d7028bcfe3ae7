// Package people knows who may use Postern's pages: users and their roles, how they
// log in (password, one-time codes, an OpenID provider such as Entra), the sessions
// that follow, and the first of them all, whom a code in the log lets in.
//
// It keeps nothing itself ([Store] does), shows no page, and knows nothing of the
// mailboxes' sign-ins, which are the vault's. Programs have tokens, which are the door's.
package people

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/secret"
)

// Role is what somebody may do: each may all that the ones before it may.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // looks
	Operator Role = "operator" // acts on queue, tasks and ledger
	Admin    Role = "admin"    // changes settings, accounts and people
)

// Roles are all of them, the least first.
func Roles() []Role { return []Role{Viewer, Operator, Admin} }

func (r Role) rank() int {
	for i, known := range Roles() {
		if r == known {
			return i + 1
		}
	}
	return 0
}

// Known reports whether there is such a role.
func (r Role) Known() bool { return r.rank() > 0 }

// May reports whether a role is at least another one.
func (r Role) May(least Role) bool { return least.Known() && r.rank() >= least.rank() }

// User is somebody who may log in. What proves that stays out of JSON.
type User struct {
	ID       string `json:"-"`
	Name     string `json:"name"`           // lower case; what audit log and login know somebody by
	Mail     string `json:"mail,omitempty"` // lower case; logs in as well as the name
	Role     Role   `json:"role"`
	Disabled bool   `json:"disabled"`
	TOTP     bool   `json:"totp"` // a one-time code is asked for after the password
	// External names somebody at the OpenID provider, whose password is not ours.
	External  string    `json:"external,omitempty"`
	ByRule    bool      `json:"by_rule,omitempty"` // made, and given the role, by a rule for that provider
	Created   time.Time `json:"created,omitzero"`
	LastLogin time.Time `json:"last_login,omitzero"`

	Hash        string    `json:"-"` // of the password; "" when there is none
	Step        int64     `json:"-"` // the last interval whose one-time code was used
	Recovery    []string  `json:"-"` // hashes of the codes that are left
	Invite      string    `json:"-"` // hash of the invitation that is out; "" when none is
	InviteUntil time.Time `json:"-"`
}

// Invited reports whether an invitation is out and still good.
func (u User) Invited(now time.Time) bool { return u.Invite != "" && now.Before(u.InviteUntil) }

// Who is how the audit log names a user who acts on the pages.
func (u User) Who() string { return "web:" + u.Name }

// Session is one browser that somebody logged in with.
type Session struct {
	ID      string    `json:"id"` // hash of the key in the browser's cookie
	User    string    `json:"-"`
	Half    bool      `json:"-"` // the password was right, the one-time code is still to come
	Tries   int       `json:"-"` // wrong codes so far
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`
	Address string    `json:"address"`
	Browser string    `json:"browser"`
}

// Store keeps users and sessions. Missing is fault.NotFound, a name, mail address or
// external name that is taken fault.Conflict. It is safe for concurrent use.
type Store interface {
	Users(ctx context.Context) ([]User, error) // by name
	User(ctx context.Context, id string) (User, error)
	FindUser(ctx context.Context, login string) (User, error) // by name or mail address
	ExternalUser(ctx context.Context, external string) (User, error)
	// AddUser adds one. The first one is fault.Conflict when there is any other.
	AddUser(ctx context.Context, u User, first bool) error
	// ChangeUser changes one while nobody else changes any; all are the users as they
	// are, that one included. change may run more than once; its error leaves all as it was.
	ChangeUser(ctx context.Context, id string, change func(u *User, all []User) error) (before, after User, err error)

	AddLogin(ctx context.Context, s Session) error
	Login(ctx context.Context, id string) (Session, error)
	Logins(ctx context.Context, user string) ([]Session, error) // the last seen first; "" those of all
	SeeLogin(ctx context.Context, id string, at time.Time) error
	// TryLogin counts one more try of a session that is half, and says the how many-th it was.
	TryLogin(ctx context.Context, id string) (int, error)
	EndLogin(ctx context.Context, id string) error
	EndLogins(ctx context.Context, user, except string) (ended int, err error)
	PurgeLogins(ctx context.Context, createdBefore, seenBefore time.Time) error
}

// Secrets keep what must not lie open in the database; an empty value forgets.
type Secrets interface {
	KeepSecret(ctx context.Context, name string, clear secret.Text) error
	KeptSecret(ctx context.Context, name string) (secret.Text, error) // empty when there is none
}

// Passwords makes and checks them. Checking is costly by design.
type Passwords struct {
	New    func() secret.Text
	Hash   func(secret.Text) (string, error)
	Verify func(hash string, clear secret.Text) bool
}

// Config builds a Registry. All fields but Provider are required.
type Config struct {
	Store     Store
	Secrets   Secrets
	Passwords Passwords
	Audit     func(ctx context.Context, d Deed) error
	Idle      time.Duration // a session that long unused ends
	Life      time.Duration // and in any case after this long
	Provider  *Provider     // nil: nobody signs in elsewhere
	Now       func() time.Time
	Log       *slog.Logger
}

// Registry is the one place that knows people. It is safe for concurrent use.
type Registry struct {
	Config
	limits *limits
	turn   chan struct{} // passwords are checked one at a time
	decoy  func() string // a hash that is nobody's, to spend the same time on strangers
	opened atomic.Bool   // there is a user, and so always will be
}

// Open builds a Registry.
func Open(cfg Config) *Registry {
	return &Registry{
		Config: cfg, limits: newLimits(cfg.Now), turn: make(chan struct{}, 1),
		decoy: sync.OnceValue(func() string { h, _ := cfg.Passwords.Hash(cfg.Passwords.New()); return h }), // a failure is a hash that nothing fits
	}
}

// Sweep forgets sessions that are over.
func (r *Registry) Sweep(ctx context.Context) error {
	now := r.Now()
	return r.Store.PurgeLogins(ctx, now.Add(-r.Life), now.Add(-r.Idle))
}

// Users lists all, by name.
func (r *Registry) Users(ctx context.Context) ([]User, error) { return r.Store.Users(ctx) }

// Find returns a user by name or mail address.
func (r *Registry) Find(ctx context.Context, login string) (User, error) {
	return r.Store.FindUser(ctx, fold(login))
}
