package declare

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/secret"
	"postern/internal/vault"
)

// Vault is what declaring needs of the vault. The vault validates.
type Vault interface {
	Apps(ctx context.Context) ([]vault.App, error)
	App(ctx context.Context, name string) (vault.App, error)
	PutApp(ctx context.Context, a vault.App, proof vault.Proof) error
	SecretIs(a vault.App, clear secret.Text) bool
	Accounts(ctx context.Context) ([]vault.Account, error)
	Account(ctx context.Context, name string) (vault.Account, error)
	PutAccount(ctx context.Context, a vault.Account, clear *secret.Text) error // nil keeps the sealed password
	PasswordIs(a vault.Account, clear secret.Text) bool
}

// Passwords makes and checks the local passwords of devices.
type Passwords struct {
	New    func() secret.Text
	Hash   func(secret.Text) (string, error)
	Verify func(hash string, clear secret.Text) bool
}

// Applier puts documents into effect.
type Applier struct {
	Vault     Vault
	Devices   door.Devices
	Tasks     fetch.Ledger
	Alerts    Alerts
	Secrets   Secrets
	Passwords Passwords
	Getenv    func(string) (string, bool)
	// MakeDirectory makes a new task's directory. Later a missing directory is an
	// error of the run: it may be a mount that is away.
	MakeDirectory func(path string) error
}

// Change is what became of one record.
type Change struct {
	Kind     string      `json:"kind"` // app, account, device, task, alert
	Name     string      `json:"name"`
	Action   string      `json:"action"`             // created, changed, unchanged
	Password secret.Text `json:"password,omitempty"` // made for a new device or webhook; shown once
	Note     string      `json:"note,omitempty"`     // what still has to be done
}

// Apply makes it so, in the order apps, accounts, devices, tasks, alerts. The whole
// document is checked before the first write; changes made before a later write
// failed are returned with the error.
func (a Applier) Apply(ctx context.Context, doc Document) ([]Change, error) {
	plan, err := a.plan(doc)
	if err != nil {
		return nil, err
	}
	var done []Change
	for _, step := range plan {
		c, err := step(ctx)
		if err != nil {
			return done, fmt.Errorf("%s %q: %w", c.Kind, c.Name, err)
		}
		done = append(done, c)
	}
	return done, nil
}

type step func(ctx context.Context) (Change, error)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`)

// CheckName says what is wrong with the name of an app, account, device, task or route.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return errors.New("name: allowed are letters, digits and . _ @ + -, beginning with a letter or digit")
	}
	return nil
}

// plan checks everything that can be checked without the database.
func (a Applier) plan(doc Document) ([]step, error) {
	var steps []step
	seen := map[string]bool{}
	add := func(kind, name string, s step, err error) error {
		if err == nil {
			err = CheckName(name)
		}
		if err == nil && seen[kind+"\x00"+name] {
			err = errors.New("it stands twice in the document")
		}
		if err != nil {
			return fault.Wrap(fault.Invalid, fmt.Sprintf("%s %q", kind, name), err)
		}
		seen[kind+"\x00"+name] = true
		steps = append(steps, s)
		return nil
	}
	for _, d := range doc.Apps {
		s, err := a.app(d)
		if err := add("app", d.Name, s, err); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Accounts {
		s, err := a.account(d)
		if err := add("account", d.Name, s, err); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Devices {
		s, err := a.device(d)
		if err := add("device", d.Name, s, err); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Tasks {
		s, err := a.task(d)
		if err := add("task", d.Name, s, err); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Alerts {
		s, err := a.alert(d)
		if err := add("alert", d.Name, s, err); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

// put decides between created, changed and unchanged. lookup is the error of
// reading the record as it is.
func (c *Change) put(lookup error, same func() bool, write func() error) (Change, error) {
	switch {
	case errors.Is(lookup, fault.NotFound):
		c.Action = "created"
	case lookup != nil:
		return *c, lookup
	case same():
		c.Action = "unchanged"
		return *c, nil
	default:
		c.Action = "changed"
	}
	err := write()
	return *c, err
}
