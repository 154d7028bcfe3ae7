package store

import (
	"context"
	"slices"
	"time"

	"postern/internal/fault"
	"postern/internal/people"
)

var _ people.Store = (*Store)(nil)

const userColumns = `id, name, mail, role, disabled, totp, external, by_rule, created, last_login, hash, step, recovery, invite, invite_until`

func scanUser(row scanner) (u people.User, err error) {
	err = row.Scan(&u.ID, &u.Name, &u.Mail, &u.Role, &u.Disabled, &u.TOTP, &u.External, &u.ByRule, clock{&u.Created}, clock{&u.LastLogin},
		&u.Hash, &u.Step, document{&u.Recovery}, &u.Invite, clock{&u.InviteUntil})
	return u, err
}

func userValues(u people.User) []any {
	return []any{
		u.ID, u.Name, u.Mail, string(u.Role), u.Disabled, u.TOTP, u.External, u.ByRule, millis(u.Created), millis(u.LastLogin),
		u.Hash, u.Step, document{u.Recovery}, u.Invite, millis(u.InviteUntil),
	}
}

// Users is part of [people.Store].
func (s *Store) Users(ctx context.Context) ([]people.User, error) {
	return list(ctx, s.db, "list users", scanUser, `SELECT `+userColumns+` FROM users ORDER BY name`)
}

// User is part of [people.Store].
func (s *Store) User(ctx context.Context, id string) (people.User, error) {
	return one(ctx, s.db, subject{"user", id}, scanUser, `SELECT `+userColumns+` FROM users WHERE id = $1`, id)
}

// FindUser is part of [people.Store]. A name goes before a mail address.
func (s *Store) FindUser(ctx context.Context, login string) (people.User, error) {
	return one(ctx, s.db, subject{"user", login}, scanUser, `
		SELECT `+userColumns+` FROM users WHERE name = $1 OR (mail = $1 AND mail <> '') ORDER BY CASE WHEN name = $1 THEN 0 ELSE 1 END`, login)
}

// ExternalUser is part of [people.Store].
func (s *Store) ExternalUser(ctx context.Context, external string) (people.User, error) {
	return one(ctx, s.db, subject{"user", external}, scanUser, `SELECT `+userColumns+` FROM users WHERE external = $1 AND external <> ''`, external)
}

// AddUser is part of [people.Store]. Of two first ones that come at once, the index on
// first refuses one.
func (s *Store) AddUser(ctx context.Context, u people.User, first bool) error {
	const op = "add a user"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if first {
			n, err := column[int](ctx, tx, op, `SELECT count(*) FROM users`)
			if err != nil {
				return err
			}
			if n > 0 {
				return fault.New(fault.Conflict, op, "somebody is there already")
			}
		}
		_, err := exec(ctx, tx, `
			INSERT INTO users (`+userColumns+`, first) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
			append(userValues(u), first)...)
		return err
	})
}

// ChangeUser is part of [people.Store]. All rows are locked, in one order: what a
// change may do depends on the others too.
func (s *Store) ChangeUser(ctx context.Context, id string, change func(u *people.User, all []people.User) error) (before, after people.User, err error) {
	const op = "change a user"
	err = s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		all, err := list(ctx, tx, op, scanUser, `SELECT `+userColumns+` FROM users ORDER BY id`+s.dialect.lockRow)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(u people.User) bool { return u.ID == id })
		if i < 0 {
			return subject{"user", id}.missing()
		}
		before, after = all[i], all[i]
		if err := change(&after, all); err != nil {
			return err
		}
		_, err = exec(ctx, tx, `
			UPDATE users SET name = $2, mail = $3, role = $4, disabled = $5, totp = $6, external = $7, by_rule = $8, created = $9, last_login = $10,
				hash = $11, step = $12, recovery = $13, invite = $14, invite_until = $15 WHERE id = $1`, userValues(after)...)
		return err
	})
	return before, after, err
}

const loginColumns = `id, user_id, half, tries, created, seen, address, browser`

func scanLogin(row scanner) (s people.Session, err error) {
	err = row.Scan(&s.ID, &s.User, &s.Half, &s.Tries, clock{&s.Created}, clock{&s.Seen}, &s.Address, &s.Browser)
	return s, err
}

// AddLogin is part of [people.Store].
func (s *Store) AddLogin(ctx context.Context, n people.Session) error {
	_, err := s.write(ctx, "begin a session", `INSERT INTO logins (`+loginColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		n.ID, n.User, n.Half, n.Tries, millis(n.Created), millis(n.Seen), n.Address, n.Browser)
	return err
}

// Login is part of [people.Store].
func (s *Store) Login(ctx context.Context, id string) (people.Session, error) {
	return one(ctx, s.db, subject{"session", "with this key"}, scanLogin, `SELECT `+loginColumns+` FROM logins WHERE id = $1`, id)
}

// Logins is part of [people.Store].
func (s *Store) Logins(ctx context.Context, user string) ([]people.Session, error) {
	return list(ctx, s.db, "list sessions", scanLogin,
		`SELECT `+loginColumns+` FROM logins WHERE user_id = $1 OR $1 = '' ORDER BY seen DESC, id`, user)
}

// SeeLogin is part of [people.Store].
func (s *Store) SeeLogin(ctx context.Context, id string, at time.Time) error {
	_, err := s.write(ctx, "note the use of a session", `UPDATE logins SET seen = $2 WHERE id = $1 AND seen < $2`, id, millis(at))
	return err
}

// TryLogin is part of [people.Store].
func (s *Store) TryLogin(ctx context.Context, id string) (tries int, err error) {
	const op = "count a try"
	err = s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		tries, err = one(ctx, tx, subject{"session", "with this key"}, scanValueOf[int], `UPDATE logins SET tries = tries + 1 WHERE id = $1 AND half RETURNING tries`, id)
		return err
	})
	return tries, err
}

// EndLogin is part of [people.Store].
func (s *Store) EndLogin(ctx context.Context, id string) error {
	return s.writes.do(ctx, "end a session", func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, `DELETE FROM logins WHERE id = $1`, id)
		if err == nil && n == 0 {
			err = subject{"session", "with this key"}.missing()
		}
		return err
	})
}

// EndLogins is part of [people.Store].
func (s *Store) EndLogins(ctx context.Context, user, except string) (int, error) {
	n, err := s.write(ctx, "end sessions", `DELETE FROM logins WHERE user_id = $1 AND id <> $2`, user, except)
	return int(n), err
}

// PurgeLogins is part of [people.Store].
func (s *Store) PurgeLogins(ctx context.Context, createdBefore, seenBefore time.Time) error {
	_, err := s.write(ctx, "forget sessions", `DELETE FROM logins WHERE created < $1 OR seen < $2`, millis(createdBefore), millis(seenBefore))
	return err
}
