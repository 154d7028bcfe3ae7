package people

import (
	"context"
	"errors"

	"postern/internal/fault"
	"postern/internal/secret"
)

// From is the browser that a request comes from.
type From struct {
	Address string // without a port
	Browser string // as it calls itself
}

// Entry is what somebody who gave the right password gets.
type Entry struct {
	Key  secret.Text // of the session, for the browser's cookie
	User User
	Half bool // Key is good for giving the one-time code, and for nothing else
}

const loggingIn = "log in"

// Login checks name or mail address and password. A wrong name, a wrong password and
// a disabled user are the same fault.Denied, after the same time; somebody who tried
// too often meets fault.Throttled, even with the right password.
func (r *Registry) Login(ctx context.Context, login string, password secret.Text, from From) (Entry, error) {
	login = fold(login)
	u, err := r.Store.FindUser(ctx, login)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return Entry{}, err
	}
	switch err := r.prove(ctx, u, login, password, from); {
	case errors.Is(err, fault.Denied):
		r.Log.WarnContext(ctx, "a login was refused", "login", login, "remote", from.Address)
		return Entry{}, fault.New(fault.Denied, loggingIn, "name or password is wrong").
			WithHint("an administrator can set a new password; the one who runs Postern with: postern admin password")
	case err != nil:
		return Entry{}, err
	}
	return r.admit(ctx, u, u.TOTP, from)
}

// prove checks a user's password, within the limits of guessing. The zero user has none.
func (r *Registry) prove(ctx context.Context, u User, login string, password secret.Text, from From) error {
	select { // taken before the limits are looked at, so that a flood cannot slip in beside them
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return fault.Wrap(fault.Temporary, loggingIn, ctx.Err())
	}
	if err := r.limits.check(from.Address, login); err != nil {
		return err
	}
	hash := u.Hash
	if hash == "" || u.Disabled || len(password.Reveal()) > mostPassword {
		hash = r.decoy()
	}
	if right := r.Passwords.Verify(hash, password); !right || hash != u.Hash {
		r.limits.blame(from.Address, login)
		return fault.New(fault.Denied, loggingIn, "the password is wrong")
	}
	r.limits.forgive(from.Address, login)
	return nil
}

// admit begins a session, a half one when the one-time code is still to come. The user is
// looked at again when it is there: whoever has changed the password since it was proven,
// or shut the user out, has ended the sessions that were there by then, or is seen here.
func (r *Registry) admit(ctx context.Context, u User, half bool, from From) (Entry, error) {
	key, s := newSession(u.ID, half, from, r.Now())
	if err := r.Store.AddLogin(ctx, s); err != nil {
		return Entry{}, err
	}
	proven := u.Hash
	_, u, err := r.Store.ChangeUser(ctx, u.ID, func(u *User, _ []User) error {
		switch {
		case u.Disabled:
			return fault.New(fault.Denied, loggingIn, "the user is disabled")
		case u.Hash != proven:
			return fault.New(fault.Denied, loggingIn, "the password was changed just now").WithHint("log in with the new one")
		case !half:
			u.LastLogin = s.Created
		}
		return nil
	})
	if err != nil {
		return Entry{}, errors.Join(err, r.Store.EndLogin(context.WithoutCancel(ctx), s.ID))
	}
	if half {
		return Entry{Key: key, User: u, Half: true}, nil
	}
	r.Log.InfoContext(ctx, "somebody logged in", "user", u.Name, "remote", from.Address)
	return Entry{Key: key, User: u}, nil
}

// EnterCode takes the one-time code, or a recovery code, that goes with a half
// session, and makes a whole one of it, with another key. A wrong code is
// fault.Denied; too many end the half session, which fault.NotFound says.
func (r *Registry) EnterCode(ctx context.Context, half secret.Text, code string, from From) (Entry, error) {
	id := hash(half)
	s, u, err := r.halfway(ctx, id)
	if err != nil {
		return Entry{}, err
	}
	if err := r.limits.checkCode(from.Address, u.ID); err != nil {
		return Entry{}, err
	}
	tries, err := r.Store.TryLogin(ctx, id) // counted before it is looked at: codes given at once are counted all
	if err != nil {
		return Entry{}, err
	}
	if tries > mostCodes {
		return Entry{}, errors.Join(startAgain("there were too many wrong codes"), r.Store.EndLogin(ctx, id))
	}
	if err := r.useCode(ctx, u, code); err != nil {
		if errors.Is(err, fault.Denied) {
			r.limits.blame(from.Address, codeOf(u.ID))
			r.Log.WarnContext(ctx, "a one-time code was refused", "user", u.Name, "remote", from.Address)
		}
		return Entry{}, err
	}
	if err := r.Store.EndLogin(ctx, s.ID); err != nil { // of two that come at once, one finds it
		return Entry{}, err
	}
	return r.admit(ctx, u, false, from)
}

// halfway finds a half session that is not over.
func (r *Registry) halfway(ctx context.Context, id string) (Session, User, error) {
	s, err := r.Store.Login(ctx, id)
	if errors.Is(err, fault.NotFound) || err == nil && (!s.Half || r.Now().Sub(s.Created) > halfLife) {
		return s, User{}, startAgain("this took too long")
	}
	if err != nil {
		return s, User{}, err
	}
	u, err := r.Store.User(ctx, s.User)
	return s, u, err
}

func startAgain(why string) error {
	return fault.New(fault.NotFound, loggingIn, "%s", why).WithHint("log in again with name and password")
}
