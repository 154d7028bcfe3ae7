package people

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// inviteLife is how long an invitation is good.
const inviteLife = 48 * time.Hour

// invite gives a user an invitation in place of the one before. Its text names the
// user, so that it is found without a search.
func (r *Registry) invite(u *User) secret.Text {
	key := newKey()
	u.Invite, u.InviteUntil = hash(key), r.Now().Add(inviteLife)
	return secret.New(u.ID + "." + key.Reveal())
}

// Invite makes a one-time link's token with which a user chooses a new password.
func (r *Registry) Invite(ctx context.Context, who, name string) (User, secret.Text, error) {
	u, err := r.Find(ctx, name)
	if err != nil {
		return u, secret.Text{}, err
	}
	var text secret.Text
	err = r.changed(ctx, who, "invite a user", u.ID, func(u *User, _ []User) error {
		switch {
		case u.Disabled:
			return fault.New(fault.Conflict, "invite a user", "%s is disabled", u.Name).WithHint("enable the user first")
		case u.External != "":
			return fault.New(fault.Conflict, "invite a user", "%s signs in elsewhere and has no password here", u.Name)
		}
		text = r.invite(u)
		return nil
	})
	return u, text, err
}

// Invited says whom an invitation is for; fault.NotFound when it is over.
func (r *Registry) Invited(ctx context.Context, token secret.Text, from From) (User, error) {
	over := fault.New(fault.NotFound, "open the invitation", "it was used already, is too old, or never was").
		WithHint("ask an administrator for another one")
	if err := r.limits.check(from.Address, ""); err != nil {
		return User{}, err
	}
	id, key, ok := cutToken(token)
	if !ok {
		return User{}, over
	}
	u, err := r.Store.User(ctx, id)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return User{}, err
	}
	if err != nil || !opens(u, key, r.Now()) {
		r.limits.blame(from.Address, "")
		return User{}, over
	}
	return u, nil
}

func opens(u User, key secret.Text, now time.Time) bool {
	return !u.Disabled && u.Invited(now) && subtle.ConstantTimeCompare([]byte(u.Invite), []byte(hash(key))) == 1
}

func cutToken(token secret.Text) (id string, key secret.Text, ok bool) {
	for i, c := range token.Reveal() {
		if c == '.' {
			return token.Reveal()[:i], secret.New(token.Reveal()[i+1:]), true
		}
	}
	return "", secret.Text{}, false
}

// Join uses an invitation up: its bearer has the password from now on, and is in, but
// for the one-time code of a user who has them.
func (r *Registry) Join(ctx context.Context, token, password, again secret.Text, from From) (Entry, error) {
	u, err := r.Invited(ctx, token, from)
	if err != nil {
		return Entry{}, err
	}
	if err := checkPassword(password, again, u); err != nil {
		return Entry{}, err
	}
	phc, err := r.Passwords.Hash(password)
	if err != nil {
		return Entry{}, err
	}
	_, key, _ := cutToken(token)
	err = r.changed(ctx, u.Who(), "take an invitation", u.ID, func(u *User, _ []User) error {
		if !opens(*u, key, r.Now()) { // somebody was faster
			return fault.New(fault.NotFound, "open the invitation", "it was used already").WithHint("ask an administrator for another one")
		}
		u.Hash, u.Invite = phc, ""
		return nil
	})
	if err != nil {
		return Entry{}, err
	}
	if _, err := r.Store.EndLogins(ctx, u.ID, ""); err != nil {
		return Entry{}, err
	}
	u.Hash = phc
	return r.admit(ctx, u, u.TOTP, from)
}
