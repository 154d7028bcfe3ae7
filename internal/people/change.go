package people

import (
	"context"
	"slices"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// changed changes a user and writes it down, the user before and after.
func (r *Registry) changed(ctx context.Context, who, what, id string, change func(u *User, all []User) error) error {
	before, after, err := r.Store.ChangeUser(ctx, id, change)
	if err != nil {
		return err
	}
	return r.Audit(ctx, Deed{Who: who, What: what, Subject: after.Name, Before: before, After: after})
}

// Way is how somebody new comes in.
type Way string

// The ways.
const (
	ByLink     Way = "link"     // an invitation, with which they choose a password
	ByPassword Way = "password" // a password that is made and shown once
	Elsewhere  Way = "provider" // the OpenID provider, which must know the mail address
)

// NewUser is somebody to add.
type NewUser struct {
	Name, Mail string
	Role       Role
	Way        Way
}

// Add adds a user. The text is the invitation's token or the password, if there is one:
// it is kept nowhere.
func (r *Registry) Add(ctx context.Context, who string, n NewUser) (User, secret.Text, error) {
	u := User{ID: mail.NewID(r.Now()), Name: fold(n.Name), Mail: fold(n.Mail), Role: n.Role, Created: r.Now()}
	if n.Way == Elsewhere && u.Name == "" {
		u.Name = u.Mail
	}
	if err := r.checkNew(u, n.Way); err != nil {
		return u, secret.Text{}, err
	}
	text, err := r.letIn(&u, n.Way)
	if err != nil {
		return u, text, err
	}
	if err := r.Store.AddUser(ctx, u, false); err != nil {
		return u, secret.Text{}, taken(err)
	}
	return u, text, r.Audit(ctx, Deed{Who: who, What: "add a user", Subject: u.Name, After: u})
}

func (r *Registry) checkNew(u User, way Way) error {
	if way == Elsewhere {
		switch {
		case r.Provider == nil:
			return mistake(fault.Invalid, "way", "Postern is not told of any provider to sign in with")
		case u.Mail == "":
			return mistake(fault.Invalid, "mail", "the provider knows people by their mail address")
		}
	}
	if u.Name != u.Mail || u.Mail == "" { // who signs in elsewhere may go by the mail address
		if err := checkName(u.Name); err != nil {
			return err
		}
	}
	if err := checkMail(u.Mail); err != nil {
		return err
	}
	return checkRole(u.Role)
}

// letIn gives a user what the way needs.
func (r *Registry) letIn(u *User, way Way) (secret.Text, error) {
	switch way {
	case ByLink:
		return r.invite(u), nil
	case ByPassword:
		text := r.Passwords.New()
		hash, err := r.Passwords.Hash(text)
		u.Hash = hash
		return text, err
	case Elsewhere:
		return secret.Text{}, nil
	}
	return secret.Text{}, mistake(fault.Invalid, "way", "there are link, password and provider")
}

// taken says which field a conflict is about, as far as there is only one it can be.
func taken(err error) error {
	if fault.KindOf(err) != fault.Conflict {
		return err
	}
	return mistake(fault.Conflict, "name", "somebody has this name or mail address already")
}

// SetRole gives a user another role, at once.
func (r *Registry) SetRole(ctx context.Context, who, name string, role Role) error {
	if err := checkRole(role); err != nil {
		return err
	}
	u, err := r.Find(ctx, name)
	if err != nil {
		return err
	}
	return r.changed(ctx, who, "change a role", u.ID, func(u *User, all []User) error {
		if u.ByRule {
			return fault.New(fault.Conflict, "change a role", "%s has this role by a rule for the provider", u.Name).
				WithHint("change oidc_allow, or what the provider says of %s", u.Name)
		}
		u.Role = role
		return oneIsLeft(*u, all)
	})
}

// Disable shuts a user out, at once and everywhere, or lets a disabled one in again.
func (r *Registry) Disable(ctx context.Context, who, name string, disabled bool) error {
	u, err := r.Find(ctx, name)
	if err != nil {
		return err
	}
	what := "enable a user"
	if disabled {
		what = "disable a user"
	}
	err = r.changed(ctx, who, what, u.ID, func(u *User, all []User) error {
		u.Disabled = disabled
		if disabled {
			u.Invite = ""
		}
		return oneIsLeft(*u, all)
	})
	if err != nil || !disabled {
		return err
	}
	_, err = r.Store.EndLogins(ctx, u.ID, "")
	return err
}

// oneIsLeft refuses a change after which no administrator could log in.
func oneIsLeft(changed User, all []User) error {
	able := func(u User) bool {
		return u.Role == Admin && !u.Disabled && (u.Hash != "" || u.External != "")
	}
	if able(changed) || slices.ContainsFunc(all, func(u User) bool { return u.ID != changed.ID && able(u) }) {
		return nil
	}
	if !slices.ContainsFunc(all, able) {
		return nil // there was none before either
	}
	return fault.New(fault.Conflict, "change a user", "%s is the only administrator who can log in", changed.Name).
		WithHint("make somebody else an administrator first")
}

// ChangePassword gives a user who knows the old password a new one, and ends the
// user's other sessions.
func (r *Registry) ChangePassword(ctx context.Context, u User, old, password, again secret.Text, from From, session string) error {
	if err := r.Reprove(ctx, u, old, from); err != nil {
		return err
	}
	if err := checkPassword(password, again, u); err != nil {
		return err
	}
	return r.setPassword(ctx, u.Who(), "change the password", u, password, session)
}

// Reprove asks a user who is in for the password once more, before what counts.
func (r *Registry) Reprove(ctx context.Context, u User, password secret.Text, from From) error {
	err := r.prove(ctx, u, u.Name, password, from)
	if fault.KindOf(err) == fault.Denied {
		return mistake(fault.Denied, "old", "this is not your password")
	}
	return err
}

func (r *Registry) setPassword(ctx context.Context, who, what string, u User, password secret.Text, except string) error {
	hash, err := r.Passwords.Hash(password)
	if err != nil {
		return err
	}
	err = r.changed(ctx, who, what, u.ID, func(u *User, _ []User) error {
		u.Hash, u.Invite = hash, ""
		return nil
	})
	if err != nil {
		return err
	}
	_, err = r.Store.EndLogins(ctx, u.ID, except)
	return err
}

// Reset makes a user an administrator with this password, who is enabled and needs no
// one-time code: the way back in for whoever runs Postern. It adds one who is missing.
func (r *Registry) Reset(ctx context.Context, who, name string, password secret.Text) error {
	name = fold(name)
	if err := checkName(name); err != nil {
		return err
	}
	if err := checkPassword(password, password, User{Name: name}); err != nil {
		return err
	}
	hash, err := r.Passwords.Hash(password)
	if err != nil {
		return err
	}
	const what = "reset the administrator"
	u, err := r.Store.FindUser(ctx, name)
	if fault.KindOf(err) == fault.NotFound {
		u = User{ID: mail.NewID(r.Now()), Name: name, Role: Admin, Created: r.Now(), Hash: hash}
		if err := r.Store.AddUser(ctx, u, false); err != nil {
			return err
		}
		return r.Audit(ctx, Deed{Who: who, What: what, Subject: name, After: u})
	}
	if err != nil {
		return err
	}
	err = r.changed(ctx, who, what, u.ID, func(u *User, _ []User) error {
		u.Hash, u.Role, u.Disabled, u.Invite, u.External, u.ByRule = hash, Admin, false, "", "", false
		u.TOTP, u.Step, u.Recovery = false, 0, nil
		return nil
	})
	if err != nil {
		return err
	}
	if _, err = r.Store.EndLogins(ctx, u.ID, ""); err != nil {
		return err
	}
	return r.Secrets.KeepSecret(ctx, kept(u), secret.Text{})
}
