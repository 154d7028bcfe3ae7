package store

import (
	"context"
	"time"

	"postern/internal/fault"
	"postern/internal/vault"
)

// PutSignIn is part of [vault.Store].
func (s *Store) PutSignIn(ctx context.Context, in vault.SignIn) error {
	const op = "save sign-in"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if err := require(ctx, tx, subject{"account", in.Account}, "accounts", "name"); err != nil {
			return err
		}
		_, err := exec(ctx, tx, `
			INSERT INTO sign_ins (state_hash, account, browser, verifier, nonce, redirect, consent, expires)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			in.StateHash, in.Account, in.Browser, blob(in.Verifier), in.Nonce, in.Redirect, in.Consent, millis(in.Expires))
		return err
	})
}

// TakeSignIn is part of [vault.Store]. Whether it has expired is the caller's to see.
func (s *Store) TakeSignIn(ctx context.Context, stateHash string) (vault.SignIn, error) {
	return take(ctx, s, "take sign-in", "there is no sign-in under way with this state", func(row scanner) (in vault.SignIn, err error) {
		err = row.Scan(&in.StateHash, &in.Account, &in.Browser, &in.Verifier, &in.Nonce, &in.Redirect, &in.Consent, clock{&in.Expires})
		return in, err
	}, `DELETE FROM sign_ins WHERE state_hash = $1
		RETURNING state_hash, account, browser, verifier, nonce, redirect, consent, expires`, stateHash)
}

// PutLink is part of [vault.Store].
func (s *Store) PutLink(ctx context.Context, l vault.Link) error {
	const op = "save link"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if err := require(ctx, tx, subject{"account", l.Account}, "accounts", "name"); err != nil {
			return err
		}
		_, err := exec(ctx, tx, `INSERT INTO links (`+linkColumns+`) VALUES ($1, $2, $3, $4)`,
			l.TokenHash, l.Account, l.Consent, millis(l.Expires))
		return err
	})
}

const linkColumns = `token_hash, account, consent, expires`

func scanLink(row scanner) (l vault.Link, err error) {
	err = row.Scan(&l.TokenHash, &l.Account, &l.Consent, clock{&l.Expires})
	return l, err
}

// Link is part of [vault.Store].
func (s *Store) Link(ctx context.Context, tokenHash string) (vault.Link, error) {
	return one(ctx, s.db, subject{"link", "of that address"}, scanLink, `SELECT `+linkColumns+` FROM links WHERE token_hash = $1`, tokenHash)
}

// TakeLink is part of [vault.Store].
func (s *Store) TakeLink(ctx context.Context, tokenHash string) (vault.Link, error) {
	return take(ctx, s, "take link", "there is no such link, or it has been used", scanLink,
		`DELETE FROM links WHERE token_hash = $1 RETURNING `+linkColumns, tokenHash)
}

// take runs a DELETE … RETURNING of at most one row: of several takers one gets it.
func take[T any](ctx context.Context, s *Store, op, missing string, read scan[T], query, hash string) (v T, err error) {
	err = s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		got, err := list(ctx, tx, op, read, query, hash)
		if err != nil {
			return err
		}
		if len(got) == 0 {
			return fault.New(fault.NotFound, op, "%s", missing)
		}
		v = got[0]
		return nil
	})
	return v, err
}

// ForgetExpired is part of [vault.Store].
func (s *Store) ForgetExpired(ctx context.Context, now time.Time) error {
	return s.writes.do(ctx, "forget expired sign-ins", func(ctx context.Context, tx querier) error {
		if _, err := exec(ctx, tx, `DELETE FROM sign_ins WHERE expires < $1`, millis(now)); err != nil {
			return err
		}
		_, err := exec(ctx, tx, `DELETE FROM links WHERE expires < $1`, millis(now))
		return err
	})
}
