package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// Identities are the accounts and the devices that use them, and what may be done to
// them; each change is written down with who made it. Missing is fault.NotFound.
type Identities interface {
	AccountFacts(ctx context.Context) ([]Account, error)
	AccountFact(ctx context.Context, name string) (Account, error)
	HoldAccount(ctx context.Context, who, name string, held bool) error
	RenameAccount(ctx context.Context, who, name, to string) error
	Disconnect(ctx context.Context, who, name string) error
	DeleteAccount(ctx context.Context, who, name string) error
	// CheckAccount really connects and signs in for a purpose, "" being the account's
	// first, and sends a test message when there is somebody to get it.
	CheckAccount(ctx context.Context, name, purpose string, testTo mail.Address) (check.Report, error)

	Devices(ctx context.Context) ([]door.Device, error)
	Device(ctx context.Context, name string) (door.Device, error)
	DeleteDevice(ctx context.Context, who, name string) error
	NewDevicePassword(ctx context.Context, who, name string) (secret.Text, error)

	ApplyAs(ctx context.Context, who string, doc declare.Document) ([]declare.Change, error)
}

// accountLimits are an account's, under a name that those of a task do not have: the
// API's description wants one for each type.
type accountLimits mail.Limits

// Account is what is known of an account, without its secrets.
type Account struct {
	Name     string    `json:"name"`
	Mailbox  string    `json:"mailbox"`
	App      string    `json:"app"`
	SignIn   string    `json:"sign_in"`
	Purposes []string  `json:"purposes"`
	State    string    `json:"state" doc:"new, active, needs_sign_in or needs_admin"`
	Held     bool      `json:"held,omitempty" doc:"Somebody paused it by hand."`
	Reason   string    `json:"reason,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Checked  time.Time `json:"checked,omitzero" doc:"When its connection was."`
	Check    string    `json:"check,omitempty" doc:"good, or what was wrong"`

	Shared     bool           `json:"shared"`
	GiveTokens bool           `json:"give_tokens"`
	Transport  string         `json:"transport,omitempty"`
	Simulate   bool           `json:"simulate,omitempty" doc:"Its mail goes to nobody."`
	Limits     *accountLimits `json:"limits,omitempty"`
	Domains    []string       `json:"internal_domains,omitempty"`

	PausedBy    string      `json:"paused_by,omitempty" doc:"provider, server or person"`
	ProbeAt     time.Time   `json:"probe_at,omitzero"`
	PasswordSet time.Time   `json:"password_set,omitzero"`
	Detour      string      `json:"detour,omitempty" doc:"The transport used in its place, until when and why."`
	SignedInAs  string      `json:"signed_in_as,omitempty"`
	SignedInAt  time.Time   `json:"signed_in_at,omitzero"`
	ObjectID    string      `json:"object_id,omitempty"`
	TenantID    string      `json:"tenant_id,omitempty"`
	Scopes      []string    `json:"scopes,omitempty"`
	Refreshed   time.Time   `json:"refreshed,omitzero"`
	Until       time.Time   `json:"until,omitzero" doc:"When the sign-in lapses if nobody uses it."`
	Tokens      []TokenFact `json:"tokens,omitempty"`
	Exchange    []string    `json:"exchange,omitempty" doc:"What an Exchange administrator runs once."`
}

// TokenFact is an access token that is there: when it ends, not what it is.
type TokenFact struct {
	Resource string    `json:"resource"`
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"`
}

// Good is what Account.Check says when nothing was wrong.
const Good = "good"

type accountInput struct {
	Account string `path:"account" maxLength:"128"`
}

type accountsOutput struct {
	Body struct {
		Accounts []Account `json:"accounts"`
	}
}

type accountOutput struct{ Body Account }

// WantedAccount is an account as somebody would have it, in the words of documents.
type WantedAccount struct {
	App        string         `json:"app" doc:"The app registration's name."`
	Mailbox    string         `json:"mailbox"`
	SignIn     string         `json:"sign_in,omitempty" enum:"delegated,application,password,app_password" doc:"Left out: delegated."`
	Password   *string        `json:"password,omitempty" writeOnly:"true" doc:"Left out: the one that is kept stays."`
	Purposes   []string       `json:"purposes" doc:"send, imap, pop3, graph, hve"`
	Shared     bool           `json:"shared,omitempty" doc:"The person who signs in need not be the mailbox."`
	GiveTokens bool           `json:"give_tokens,omitempty"`
	Transport  string         `json:"transport,omitempty" doc:"auto, smtp, hve or graph"`
	Simulate   bool           `json:"simulate,omitempty"`
	Limits     *accountLimits `json:"limits,omitempty"`
	Domains    []string       `json:"internal_domains,omitempty"`
}

type putAccountInput struct {
	Account string `path:"account" maxLength:"128"`
	Body    WantedAccount
}

type renameInput struct {
	Account string `path:"account" maxLength:"128"`
	Body    struct {
		Name string `json:"name" minLength:"1" maxLength:"128" doc:"What it is called from now on."`
	}
}

type checkInput struct {
	Account string `path:"account" maxLength:"128"`
	Body    struct {
		Purpose  string `json:"purpose,omitempty" doc:"Left out: the account's first."`
		SendTest string `json:"send_test,omitempty" doc:"Where a test message is really sent; left out: nowhere."`
	}
}

type checkOutput struct{ Body check.Report }

func (s *server) accountRoutes(a huma.API) {
	read := func(path, id, summary string) huma.Operation {
		return s.operation(a, http.MethodGet, path, id, summary, door.MayReadAccounts)
	}
	act := func(method, path, id, summary string) huma.Operation {
		op := s.operation(a, method, path, id, summary, door.MayWriteAccounts)
		if method == http.MethodDelete {
			op.DefaultStatus = http.StatusNoContent
		}
		return op
	}
	const one = "/accounts/{account}"
	huma.Register(a, read("/accounts", "list-accounts", "List accounts and whether they work"), s.accounts)
	huma.Register(a, read(one, "show-account", "Show an account: who signed in, until when, why it is paused"), s.account)
	huma.Register(a, act(http.MethodPut, one, "put-account", "Make an account, or change it to this; a person signs it in afterwards"), s.putAccount)
	huma.Register(a, act(http.MethodPost, one+"/pause", "pause-account", "Pause an account: its mail waits, nothing is fetched"), s.doAccount(
		func(ctx context.Context, who, name string) error {
			return s.Identities.HoldAccount(ctx, who, name, true)
		}))
	huma.Register(a, act(http.MethodPost, one+"/resume", "resume-account", "Let an account go on that was paused by hand"), s.doAccount(
		func(ctx context.Context, who, name string) error {
			return s.Identities.HoldAccount(ctx, who, name, false)
		}))
	huma.Register(a, act(http.MethodPost, one+"/disconnect", "disconnect-account", "Forget an account's sign-in or password; its mail waits until the next one"), s.doAccount(s.disconnect))
	huma.Register(a, act(http.MethodPost, one+"/rename", "rename-account", "Call an account something else, with all that refers to it"), s.renameAccount)
	huma.Register(a, act(http.MethodPost, one+"/check", "check-account", "Really connect and sign in, and say stage by stage what came of it"), s.checkAccount)
	huma.Register(a, act(http.MethodDelete, one, "delete-account", "Delete an account that nothing uses and whose mail has all gone"), s.deleteAccount)
}

func (s *server) accounts(ctx context.Context, _ *struct{}) (*accountsOutput, error) {
	out := new(accountsOutput)
	var err error
	if out.Body.Accounts, err = s.Identities.AccountFacts(ctx); err != nil {
		return nil, s.problem(ctx, err)
	}
	out.Body.Accounts = listed(out.Body.Accounts)
	return out, nil
}

func (s *server) account(ctx context.Context, in *accountInput) (*accountOutput, error) {
	found, err := s.Identities.AccountFact(ctx, in.Account)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &accountOutput{found}, nil
}

func (s *server) putAccount(ctx context.Context, in *putAccountInput) (*accountOutput, error) {
	b := in.Body
	want := declare.Account{Name: in.Account, App: b.App, Mailbox: b.Mailbox, SignIn: b.SignIn, Purposes: b.Purposes, Shared: b.Shared,
		GiveTokens: b.GiveTokens, Transport: b.Transport, Simulate: b.Simulate, Limits: (*mail.Limits)(b.Limits), InternalDomains: b.Domains}
	if b.Password != nil {
		want.Password = &declare.SecretRef{Value: secret.New(*b.Password)}
	}
	if _, err := s.Identities.ApplyAs(ctx, who(ctx), declare.Document{Accounts: []declare.Account{want}}); err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.account(ctx, &accountInput{in.Account})
}

// who is how the audit log names the caller.
func who(ctx context.Context) string { return "api:" + caller(ctx).Name }

// doAccount does something to an account and answers how it is then.
func (s *server) doAccount(do func(ctx context.Context, who, name string) error) func(context.Context, *accountInput) (*accountOutput, error) {
	return func(ctx context.Context, in *accountInput) (*accountOutput, error) {
		if err := do(ctx, who(ctx), in.Account); err != nil {
			return nil, s.problem(ctx, err)
		}
		return s.account(ctx, in)
	}
}

func (s *server) disconnect(ctx context.Context, who, name string) error {
	return s.Identities.Disconnect(ctx, who, name)
}

func (s *server) renameAccount(ctx context.Context, in *renameInput) (*accountOutput, error) {
	if err := s.Identities.RenameAccount(ctx, who(ctx), in.Account, in.Body.Name); err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.account(ctx, &accountInput{Account: in.Body.Name})
}

func (s *server) deleteAccount(ctx context.Context, in *accountInput) (*struct{}, error) {
	if err := s.Identities.DeleteAccount(ctx, who(ctx), in.Account); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil //nolint:nilnil // huma's way to say 204
}

// checkAccount checks a connection. That it failed is no problem of the request: the
// report says so.
func (s *server) checkAccount(ctx context.Context, in *checkInput) (*checkOutput, error) {
	var to mail.Address
	if in.Body.SendTest != "" {
		var err error
		if to, err = mail.ParseAddress(in.Body.SendTest); err != nil {
			return nil, s.problem(ctx, fault.New(fault.Invalid, "check "+in.Account, "send_test: %w", err))
		}
	}
	report, err := s.Identities.CheckAccount(ctx, in.Account, in.Body.Purpose, to)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &checkOutput{report}, nil
}

// FactOf is an account as it stands in a list; what its last checks found is not in it.
func FactOf(v vault.Account) Account {
	d := declare.AccountOf(v)
	return Account{
		Name: d.Name, Mailbox: d.Mailbox, App: d.App, SignIn: d.SignIn, Purposes: d.Purposes, State: string(v.State), Held: v.Held, Reason: v.Reason, Since: v.Since,
		Shared: d.Shared, GiveTokens: d.GiveTokens, Transport: d.Transport, Simulate: d.Simulate, Limits: (*accountLimits)(d.Limits), Domains: d.InternalDomains,
		ProbeAt: v.ProbeAt, PasswordSet: v.PasswordSet,
	}
}
