package people

import (
	"context"
	"crypto/subtle"
	"strings"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// setupCode is what the code of the first run is kept under.
const setupCode = "setup code"

// Empty reports whether there is nobody yet, so that the first run is still to come.
func (r *Registry) Empty(ctx context.Context) (bool, error) {
	if r.opened.Load() {
		return false, nil
	}
	all, err := r.Store.Users(ctx)
	if err != nil {
		return false, err
	}
	if len(all) > 0 {
		r.opened.Store(true)
	}
	return len(all) == 0, nil
}

// SetupCode is the code with which the first user comes in: the one there is, or a
// new one. It is fault.Conflict once somebody is there.
func (r *Registry) SetupCode(ctx context.Context, fresh bool) (secret.Text, error) {
	empty, err := r.Empty(ctx)
	if err != nil {
		return secret.Text{}, err
	}
	if !empty {
		return secret.Text{}, fault.New(fault.Conflict, "make a set-up code", "Postern is set up: there is a user").
			WithHint("to get in again: postern admin password")
	}
	code, err := r.Secrets.KeptSecret(ctx, setupCode)
	if err != nil || !fresh && !code.Empty() {
		return code, err
	}
	code = r.Passwords.New()
	return code, r.Secrets.KeepSecret(ctx, setupCode, code)
}

// SetUp makes the first user, an administrator, for whoever knows the code, and lets
// them in. Of several who try at once one succeeds; the others meet fault.Conflict.
func (r *Registry) SetUp(ctx context.Context, n NewUser, code, password, again secret.Text, from From) (Entry, error) {
	u := User{ID: mail.NewID(r.Now()), Name: fold(n.Name), Mail: fold(n.Mail), Role: Admin, Created: r.Now()}
	if err := r.checkSetup(ctx, code, from); err != nil {
		return Entry{}, err
	}
	for _, err := range []error{checkName(u.Name), checkMail(u.Mail), checkPassword(password, again, u)} {
		if err != nil {
			return Entry{}, err
		}
	}
	hash, err := r.Passwords.Hash(password)
	if err != nil {
		return Entry{}, err
	}
	u.Hash = hash
	if err := r.Store.AddUser(ctx, u, true); err != nil {
		return Entry{}, err
	}
	r.opened.Store(true)
	r.Log.InfoContext(ctx, "Postern is set up", "user", u.Name, "remote", from.Address)
	if err := r.Audit(ctx, Deed{Who: u.Who(), What: "set Postern up", Subject: u.Name, After: u}); err != nil {
		return Entry{}, err
	}
	if err := r.Secrets.KeepSecret(ctx, setupCode, secret.Text{}); err != nil { // no use to anybody any more
		r.Log.WarnContext(ctx, "the set-up code was not forgotten", "error", err)
	}
	return r.admit(ctx, u, false, from)
}

func (r *Registry) checkSetup(ctx context.Context, code secret.Text, from From) error {
	if empty, err := r.Empty(ctx); err != nil {
		return err
	} else if !empty {
		return fault.New(fault.Conflict, "set up", "Postern is set up already").WithHint("log in")
	}
	if err := r.limits.check(from.Address, ""); err != nil {
		return err
	}
	want, err := r.Secrets.KeptSecret(ctx, setupCode)
	if err != nil {
		return err
	}
	given := strings.ToLower(digits(code.Reveal()))
	if want.Empty() || subtle.ConstantTimeCompare([]byte(given), []byte(want.Reveal())) != 1 {
		r.limits.blame(from.Address, "")
		r.Log.WarnContext(ctx, "a wrong set-up code was given", "remote", from.Address)
		return mistake(fault.Denied, "code", "this is not the code; it stands in Postern's log, and “postern admin code” prints it")
	}
	return nil
}
