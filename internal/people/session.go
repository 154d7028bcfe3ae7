package people

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

const (
	halfLife  = 10 * time.Minute // of a session that waits for its one-time code
	seenEvery = time.Minute      // how exactly it is known when a session was last used
	browserAt = 200              // how much of a browser's own description is kept
)

// newKey makes 256 random bits, which nobody finds by trying, so that a plain hash of
// them is enough where they are kept.
func newKey() secret.Text {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return secret.New(base64.RawURLEncoding.EncodeToString(b[:]))
}

func hash(key secret.Text) string {
	sum := sha256.Sum256([]byte(key.Reveal()))
	return hex.EncodeToString(sum[:])
}

func newSession(user string, half bool, from From, now time.Time) (secret.Text, Session) {
	key := newKey()
	browser := strings.ToValidUTF8(from.Browser[:min(len(from.Browser), browserAt)], "")
	return key, Session{ID: hash(key), User: user, Half: half, Created: now, Seen: now, Address: from.Address, Browser: browser}
}

// Who returns whose session a key is, and notes that it is used. fault.Denied is one
// that is over, was ended, or never was; other errors are the store's.
func (r *Registry) Who(ctx context.Context, key secret.Text) (User, Session, error) {
	over := fault.New(fault.Denied, "look up the session", "it is over")
	if key.Empty() {
		return User{}, Session{}, over
	}
	s, err := r.Store.Login(ctx, hash(key))
	if err != nil {
		if errors.Is(err, fault.NotFound) {
			err = over
		}
		return User{}, Session{}, err
	}
	now := r.Now()
	if !r.live(s, now) {
		return User{}, Session{}, over
	}
	u, err := r.Store.User(ctx, s.User)
	if err != nil {
		return User{}, Session{}, err
	}
	if u.Disabled {
		return User{}, Session{}, over
	}
	if now.Sub(s.Seen) >= seenEvery {
		if err := r.Store.SeeLogin(ctx, s.ID, now); err != nil {
			r.Log.WarnContext(ctx, "the use of a session was not noted", "user", u.Name, "error", err)
		}
	}
	return u, s, nil
}

// live reports whether a session lets anybody in at now.
func (r *Registry) live(s Session, now time.Time) bool {
	return !s.Half && now.Sub(s.Created) < r.Life && now.Sub(s.Seen) < r.Idle
}

// Logout ends the session of a key. One that is over already is as good.
func (r *Registry) Logout(ctx context.Context, key secret.Text) error {
	err := r.Store.EndLogin(ctx, hash(key))
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// Sessions lists a user's sessions that are not over, the last used first.
func (r *Registry) Sessions(ctx context.Context, user string) ([]Session, error) {
	all, err := r.Store.Logins(ctx, user)
	if err != nil {
		return nil, err
	}
	now, live := r.Now(), make([]Session, 0, len(all))
	for _, s := range all {
		if r.live(s, now) {
			live = append(live, s)
		}
	}
	return live, nil
}

// EndSession ends one session of a user; another's is fault.NotFound.
func (r *Registry) EndSession(ctx context.Context, who string, u User, id string) error {
	s, err := r.Store.Login(ctx, id)
	if err == nil && s.User != u.ID {
		err = fault.New(fault.NotFound, "end the session", "%s has no such session", u.Name)
	}
	if err == nil {
		err = r.Store.EndLogin(ctx, id)
	}
	if err != nil {
		return err
	}
	return r.Audit(ctx, Deed{Who: who, What: "end a session", Subject: u.Name, Detail: s.Browser + " at " + s.Address})
}

// EndSessions ends all sessions of a user but one, whose id may be "".
func (r *Registry) EndSessions(ctx context.Context, who string, u User, except string) (int, error) {
	n, err := r.Store.EndLogins(ctx, u.ID, except)
	if err != nil || n == 0 {
		return n, err
	}
	return n, r.Audit(ctx, Deed{Who: who, What: "end all sessions", Subject: u.Name})
}
