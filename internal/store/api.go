package store

import (
	"context"
	"database/sql"
	"time"

	"postern/internal/door"
	"postern/internal/relay"
)

const apiColumns = `id, name, COALESCE(device, ''), scopes, hash, created, last_used`

func scanToken(row scanner) (t door.Token, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.Device, document{&t.Scopes}, &t.Hash, clock{&t.Created}, clock{&t.LastUsed})
	return t, err
}

// Tokens is part of [door.Tokens].
func (s *Store) Tokens(ctx context.Context) ([]door.Token, error) {
	return list(ctx, s.db, "list tokens", scanToken, `SELECT `+apiColumns+` FROM api_tokens ORDER BY name`)
}

// Token is part of [door.Tokens].
func (s *Store) Token(ctx context.Context, id string) (door.Token, error) {
	return one(ctx, s.db, subject{"token", id}, scanToken, `SELECT `+apiColumns+` FROM api_tokens WHERE id = $1`, id)
}

// PutToken is part of [door.Tokens]. A device that is not there is fault.Invalid.
func (s *Store) PutToken(ctx context.Context, t door.Token) error {
	const op = "save token"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if t.Device != "" {
			if err := refers(ctx, tx, op, subject{"device", t.Device}, "devices"); err != nil {
				return err
			}
		}
		_, err := exec(ctx, tx, `
			INSERT INTO api_tokens (id, name, device, scopes, hash, created, last_used) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			t.ID, t.Name, sql.NullString{String: t.Device, Valid: t.Device != ""}, document{t.Scopes}, blob(t.Hash), millis(t.Created), millis(t.LastUsed))
		return err
	})
}

// DeleteToken is part of [door.Tokens].
func (s *Store) DeleteToken(ctx context.Context, name string) error {
	return s.writes.do(ctx, "revoke token", func(ctx context.Context, tx querier) error {
		return deleteOne(ctx, tx, subject{"token", name}, `DELETE FROM api_tokens WHERE name = $1`)
	})
}

// UseToken is part of [door.Tokens].
func (s *Store) UseToken(ctx context.Context, id string, at time.Time) error {
	_, err := s.write(ctx, "note that a token was used", `UPDATE api_tokens SET last_used = $2 WHERE id = $1 AND last_used < $2`, id, millis(at))
	return err
}

// HandedIn returns what a key stands for: the message that was put under it, and the
// digest of what was handed in. fault.NotFound when there is none at that time.
func (s *Store) HandedIn(ctx context.Context, owner, key string, now time.Time) (message string, sum []byte, err error) {
	type row struct {
		message string
		sum     []byte
	}
	r, err := one(ctx, s.db, subject{"message under the key", key}, func(from scanner) (r row, err error) {
		err = from.Scan(&r.message, &r.sum)
		return r, err
	}, `SELECT message, sum FROM handed_in WHERE owner = $1 AND key = $2 AND expires > $3`, owner, key, millis(now))
	return r.message, r.sum, err
}

// handIn notes in a message's own commit under which key it came: of two with one
// key the second is fault.Conflict, and nothing of it stays.
func handIn(ctx context.Context, tx querier, message string, o relay.Once, now time.Time) error {
	if _, err := exec(ctx, tx, `DELETE FROM handed_in WHERE expires <= $1`, millis(now)); err != nil {
		return err
	}
	_, err := exec(ctx, tx, `INSERT INTO handed_in (owner, key, sum, message, expires) VALUES ($1, $2, $3, $4, $5)`,
		o.Owner, o.Key, blob(o.Sum()), message, millis(now.Add(o.For)))
	return err
}
