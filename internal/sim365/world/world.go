// Package world is the state of the simulated Microsoft: tenants, users, app
// registrations, mailboxes, policies, faults and the tokens that were issued.
// The sign-in pages (login) and the mail servers (exchange, graph) read and
// change it; it serves nothing itself.
//
// All methods are safe for concurrent use.
package world

import (
	"sync"
	"time"
)

// ConsumersTenant is the tenant id of personal accounts.
const ConsumersTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// Tenant is an organisation.
type Tenant struct {
	ID      string   // GUID
	Domains []string // verified; the first is the default
	Policy  TenantPolicy
}

// TenantPolicy is what an administrator can switch for the whole tenant.
type TenantPolicy struct {
	SecurityDefaults   bool `json:"security_defaults"`    // legacy auth refused: 535 5.7.139 … security defaults policy
	ConditionalAccess  bool `json:"conditional_access"`   // blocks: AADSTS53003; legacy auth 535 5.7.139 … did not meet the criteria
	SMTPAuthDisabled   bool `json:"smtp_auth_disabled"`   // 535 5.7.139 … disabled for the Tenant (hits OAuth too)
	BasicAuthDisabled  bool `json:"basic_auth_disabled"`  // 535 5.7.139 … basic authentication is disabled
	BasicAuthRetired   bool `json:"basic_auth_retired"`   // 550 5.7.30 Basic authentication is not supported for Client Submission
	AppPasswords       bool `json:"app_passwords"`        // app passwords may be used where basic still may
	AdminConsentNeeded bool `json:"admin_consent_needed"` // users cannot consent: AADSTS90094
	DeviceCodeBlocked  bool `json:"device_code_blocked"`  // AADSTS53003 at the device code page
}

// User is somebody who can sign in, with or without a mailbox.
type User struct {
	TenantID    string
	UPN         string // also the sign-in name
	ObjectID    string
	Password    string
	AppPassword string // "" = none
	DisplayName string
	Disabled    bool // AADSTS50057
	Locked      bool // AADSTS50053
	MFA         bool // interactive only: the page asks for a second step, ROPC gets AADSTS50076
	HVE         bool // a High Volume Email account: no mailbox, HVE endpoint only
	Admin       bool // may give admin consent
}

// App is an app registration with its service principals.
type App struct {
	ClientID      string
	HomeTenant    string
	MultiTenant   bool
	Name          string
	Secret        string
	SecretExpired bool   // AADSTS7000222
	SecretID      string // the GUID people paste by mistake: AADSTS7000215
	Certificate   []byte // DER; client assertions are checked against it
	PublicClient  bool   // public client flows allowed
	RedirectURIs  []string
	Disabled      bool
	Permissions   []string          // as registered: "SMTP.Send", "IMAP.AccessAsUser.All", "SMTP.SendAsApp", "Mail.Send" …
	AdminConsent  map[string]bool   // tenant id → admin consented
	Registered    map[string]bool   // tenant id → New-ServicePrincipal was run in Exchange
	FullAccess    map[string]bool   // mailbox address (lower case) → Add-MailboxPermission for the service principal
	UserConsent   map[string]string // user object id → space-separated scopes consented to
}

// Limits of a mailbox; zero means not enforced.
type Limits struct {
	PerMinute            int   `json:"per_minute"`             // 30
	Connections          int   `json:"connections"`            // 3
	RecipientsPerMessage int   `json:"recipients_per_message"` // 500
	RecipientsPerDay     int   `json:"recipients_per_day"`     // 10000
	MessageSize          int64 `json:"message_size"`           // 35 MB
}

// MicrosoftLimits are the documented ones.
func MicrosoftLimits() Limits {
	return Limits{PerMinute: 30, Connections: 3, RecipientsPerMessage: 500, RecipientsPerDay: 10000, MessageSize: 35 << 20}
}

// MailboxPolicy is what Set-CASMailbox and its like can switch.
type MailboxPolicy struct {
	SMTPAuthDisabled *bool  `json:"smtp_auth_disabled"` // nil = inherit from the tenant
	IMAPDisabled     bool   `json:"imap_disabled"`
	POPDisabled      bool   `json:"pop_disabled"`
	NoLicence        bool   `json:"no_licence"` // IMAP: authenticated but not connected
	Full             bool   `json:"full"`       // 554 5.2.2 mailbox full
	Limits           Limits `json:"limits"`

	// HVEApps is Add-HVEAppAccess: the object ids (never client ids) of the enterprise
	// apps that may send as this High Volume Email account.
	HVEApps []string `json:"hve_apps"`

	// SendAs is Add-RecipientPermission: the addresses it may send as beside its own.
	SendAs []string `json:"send_as"`
}

// Fault is one misbehaviour, armed for the next Times matching requests.
type Fault struct {
	ID      string        `json:"id"`
	Where   string        `json:"where"`   // token, authorize, smtp, hve, imap, pop3, graph
	Stage   string        `json:"stage"`   // greeting, ehlo, auth, mail, rcpt, data, dot, select, fetch, store, idle, any … ("" = any)
	Mailbox string        `json:"mailbox"` // "" = any
	Kind    FaultKind     `json:"kind"`
	Code    string        `json:"code"`  // for reply: the whole reply line; for oauth: the AADSTS number
	Delay   time.Duration `json:"delay"` // slow, backoff: how long; reply and status at the token endpoint: Retry-After
	Times   int           `json:"times"` // how often it still strikes; negative = always
}

// FaultKind is what goes wrong.
type FaultKind string

// The kinds.
const (
	FaultReply        FaultKind = "reply"         // answer Code instead of doing the work
	FaultSlow         FaultKind = "slow"          // wait Delay, then go on
	FaultDrop         FaultKind = "drop"          // close the connection before doing the work
	FaultDropAfter    FaultKind = "drop_after"    // do the work, close before answering
	FaultHalfClose    FaultKind = "half_close"    // close our writing side, keep reading
	FaultGarbage      FaultKind = "garbage"       // answer bytes that are no protocol
	FaultTokenExpired FaultKind = "token_expired" // IMAP: * BYE Session invalidated - AccessTokenExpired
	FaultBackoff      FaultKind = "backoff"       // IMAP: Request is throttled. Suggested Backoff Time: Delay
	FaultStatus       FaultKind = "status"        // HTTP status Code with an empty body
)

// Token is an access token that was issued.
type Token struct {
	Raw      string
	TenantID string
	ClientID string
	Resource string   // "https://outlook.office.com" …
	Scopes   []string // delegated: short names, "SMTP.Send"
	Roles    []string // application
	UserID   string   // object id; "" for application tokens
	UPN      string
	Issued   time.Time
	Expires  time.Time
	AppAuth  string // how the app proved itself: "0" not at all, "1" secret, "2" certificate
}

// Stored is a message kept in a mailbox or handed out to the world.
type Stored struct {
	Mailbox   string // whose submission or delivery it is, lower case
	Folder    string // "Sent Items", "INBOX"; "" for mail that left to an outside recipient
	From      string // envelope
	To        []string
	Raw       []byte
	Received  time.Time
	Session   string // identifies the SMTP session that brought it
	Confirmed bool   // the client spoke again on that session after our 250: it has read it
	Via       string // smtp, hve, graph, control
}

// World is one simulated Microsoft.
type World struct {
	mu sync.Mutex

	// Now is the clock; tests may replace it before the servers start.
	Now func() time.Time

	// TokenLife is the life of access tokens; RefreshLife the inactivity window of
	// refresh tokens. Once servers run, change them with [World.SetLives] only.
	TokenLife   time.Duration
	RefreshLife time.Duration

	state
}

// state is everything behind mu.
type state struct {
	tenants   []*Tenant
	users     []*User
	apps      []*App
	policies  map[string]MailboxPolicy // mailbox, lower case
	sessions  map[string]int           // user object id → how often sign-ins were revoked
	resources map[string]string        // alias → canonical resource

	keys    []signingKey // the last one signs, all are published
	tokens  []Token
	byRaw   map[string]int // raw token → index in tokens
	secrets []string
	known   map[string]bool // what is in secrets

	faults   []Fault
	kept     []Stored
	unread   map[string][]int // session → indexes in kept that it has not confirmed
	counters map[string]int
}

// New makes an empty world with Microsoft's lifetimes and a fresh signing key.
func New() *World {
	w := &World{Now: time.Now, TokenLife: 75 * time.Minute, RefreshLife: 90 * 24 * time.Hour}
	w.state = state{
		policies:  map[string]MailboxPolicy{},
		sessions:  map[string]int{},
		resources: map[string]string{},
		byRaw:     map[string]int{},
		known:     map[string]bool{},
		counters:  map[string]int{},
		unread:    map[string][]int{},
	}
	w.RotateKeys()
	return w
}

// SetLives changes how long tokens issued from now on live; zero leaves a value.
func (w *World) SetLives(access, refresh time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if access > 0 {
		w.TokenLife = access
	}
	if refresh > 0 {
		w.RefreshLife = refresh
	}
}

// Lives returns the lifetimes of access and refresh tokens.
func (w *World) Lives() (access, refresh time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.TokenLife, w.RefreshLife
}
