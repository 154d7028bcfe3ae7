package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/vault"
)

// Apps lists app registrations by name.
func (s *Store) Apps(ctx context.Context) ([]vault.App, error) {
	return many(ctx, s.db, "apps", document[vault.App], `SELECT doc FROM app ORDER BY name`)
}

// App reads one app registration.
func (s *Store) App(ctx context.Context, name string) (vault.App, error) {
	return one(ctx, s.db, "app", name, document[vault.App], `SELECT doc FROM app WHERE name = $1`, name)
}

// PutApp inserts or replaces.
func (s *Store) PutApp(ctx context.Context, a vault.App) error {
	doc, err := encode(a)
	if err != nil {
		return err
	}
	return s.write(ctx, "keep app "+a.Name, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO app (name, doc) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET doc = excluded.doc`, a.Name, doc)
		return err
	})
}

// DeleteApp removes it; fault.Conflict while accounts use it.
func (s *Store) DeleteApp(ctx context.Context, name string) error {
	return s.remove(ctx, "app", name, `DELETE FROM app WHERE name = $1`,
		`SELECT 'account ' || name FROM account WHERE app = $1 ORDER BY name LIMIT 5`)
}

// remove deletes a record, or names what still uses it.
func (s *Store) remove(ctx context.Context, kind, name, query string, users ...string) error {
	return s.write(ctx, "delete "+kind+" "+name, func(ctx context.Context, q querier) error {
		var used []string
		for _, u := range users {
			err := rows(ctx, q, func(r *sql.Rows) error {
				var by string
				err := r.Scan(&by)
				used = append(used, by)
				return err
			}, u, name)
			if err != nil {
				return err
			}
		}
		if len(used) > 0 {
			return fault.New(fault.Conflict, "delete "+kind, "%q is used by %s", name, strings.Join(used, ", ")).WithHint("delete those first")
		}
		n, err := affected(ctx, q, query, name)
		if err == nil && n == 0 {
			err = notFound(kind, name)
		}
		return err
	})
}

const accountColumns = `SELECT doc, state, reason, since, probe_at FROM account`

func scanAccount(r *sql.Rows) (vault.Account, error) {
	var a vault.Account
	var doc, state, reason string
	var since, probe int64
	if err := r.Scan(&doc, &state, &reason, &since, &probe); err != nil {
		return a, err
	}
	if err := decode(doc, &a); err != nil {
		return a, err
	}
	a.State, a.Reason, a.Since, a.ProbeAt = vault.State(state), reason, fromMillis(since), fromMillis(probe)
	return a, nil
}

// Accounts lists accounts by name.
func (s *Store) Accounts(ctx context.Context) ([]vault.Account, error) {
	return many(ctx, s.db, "accounts", scanAccount, accountColumns+` ORDER BY name`)
}

// Account reads one account.
func (s *Store) Account(ctx context.Context, name string) (vault.Account, error) {
	return one(ctx, s.db, "account", name, scanAccount, accountColumns+` WHERE name = $1`, name)
}

// PutAccount inserts, or replaces all but the state.
func (s *Store) PutAccount(ctx context.Context, a vault.Account) error {
	if a.State == "" {
		a.State = vault.New
	}
	bare := a
	bare.State, bare.Reason, bare.Since, bare.ProbeAt = "", "", time.Time{}, time.Time{}
	doc, err := encode(bare)
	if err != nil {
		return err
	}
	return s.write(ctx, "keep account "+a.Name, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO account (name, app, doc, state, reason, since, probe_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (name) DO UPDATE SET app = excluded.app, doc = excluded.doc`,
			a.Name, a.App, doc, string(a.State), a.Reason, millis(a.Since), millis(a.ProbeAt))
		return dangling(err, "app", a.App)
	})
}

// dangling says which record a write named in vain.
func dangling(err error, kind, name string) error {
	if isForeignKey(err) {
		return fault.New(fault.Invalid, "look up "+kind, "there is no %s %q", kind, name).WithHint("declare the %s first", kind)
	}
	return err
}

// DeleteAccount removes it with its grant; fault.Conflict while it is used.
func (s *Store) DeleteAccount(ctx context.Context, name string) error {
	return s.remove(ctx, "account", name, `DELETE FROM account WHERE name = $1`,
		`SELECT 'device ' || name FROM device WHERE account = $1 ORDER BY name LIMIT 5`,
		`SELECT 'task ' || name FROM task WHERE account = $1 ORDER BY name LIMIT 5`)
}

// SetState records a state and reports whether it differs from before.
func (s *Store) SetState(ctx context.Context, account string, st vault.State, reason string, since, probeAt time.Time) (bool, error) {
	var changed bool
	err := s.write(ctx, "set the state of account "+account, func(ctx context.Context, q querier) error {
		n, err := affected(ctx, q, `UPDATE account SET state = $2, reason = $3, since = $4, probe_at = $5 WHERE name = $1 AND state <> $2`,
			account, string(st), reason, millis(since), millis(probeAt))
		if changed = n > 0; err != nil || changed {
			return err
		}
		n, err = affected(ctx, q, `UPDATE account SET reason = $2, probe_at = $3 WHERE name = $1`, account, reason, millis(probeAt))
		if err == nil && n == 0 {
			err = notFound("account", account)
		}
		return err
	})
	return changed, err
}

func scanGrant(r *sql.Rows) (vault.Grant, error) {
	var g vault.Grant
	var doc string
	var generation int64
	if err := r.Scan(&doc, &generation); err != nil {
		return g, err
	}
	err := decode(doc, &g)
	g.Generation = generation
	return g, err
}

// Grant reads an account's grant; fault.NotFound before the first commit.
func (s *Store) Grant(ctx context.Context, account string) (vault.Grant, error) {
	return one(ctx, s.db, "grant of account", account, scanGrant,
		`SELECT doc, generation FROM account_grant WHERE account = $1 AND generation > 0`, account)
}

// ClaimRefresh gives holder the sole right to commit the account's grant for a while.
func (s *Store) ClaimRefresh(ctx context.Context, account, holder string, now, until time.Time) (vault.Grant, error) {
	var g vault.Grant
	err := s.write(ctx, "claim the refresh of account "+account, func(ctx context.Context, q querier) error {
		empty, err := encode(vault.Grant{Account: account})
		if err != nil {
			return err
		}
		n, err := affected(ctx, q, `INSERT INTO account_grant (account, doc, generation, holder, claimed_until)
			SELECT name, CAST($2 AS TEXT), 0, CAST($3 AS TEXT), CAST($4 AS BIGINT) FROM account WHERE name = $1
			ON CONFLICT (account) DO UPDATE SET holder = excluded.holder, claimed_until = excluded.claimed_until
			WHERE account_grant.holder = '' OR account_grant.holder = excluded.holder OR account_grant.claimed_until <= $5`,
			account, empty, holder, millis(until), millis(now))
		if err != nil {
			return err
		}
		if n == 0 {
			if _, err := one(ctx, q, "account", account, scanAccount, accountColumns+` WHERE name = $1`, account); err != nil {
				return err
			}
			return fault.New(fault.Conflict, "claim the refresh of account "+account, "another process is refreshing it")
		}
		g, err = one(ctx, q, "grant of account", account, scanGrant, `SELECT doc, generation FROM account_grant WHERE account = $1`, account)
		return err
	})
	return g, err
}

// CommitGrant replaces the grant, raises its generation and drops the claim.
func (s *Store) CommitGrant(ctx context.Context, g vault.Grant, holder string) error {
	doc, err := encode(g)
	if err != nil {
		return err
	}
	return s.write(ctx, "commit the grant of account "+g.Account, func(ctx context.Context, q querier) error {
		if holder == "" {
			_, err := q.ExecContext(ctx, `INSERT INTO account_grant (account, doc, generation, holder, claimed_until) VALUES ($1, $2, 1, '', 0)
				ON CONFLICT (account) DO UPDATE SET doc = excluded.doc, generation = account_grant.generation + 1, holder = '', claimed_until = 0`, g.Account, doc)
			if isForeignKey(err) {
				return notFound("account", g.Account)
			}
			return err
		}
		n, err := affected(ctx, q, `UPDATE account_grant SET doc = $2, generation = generation + 1, holder = '', claimed_until = 0
			WHERE account = $1 AND holder = $3`, g.Account, doc, holder)
		if err == nil && n == 0 {
			err = fault.Wrap(fault.Conflict, "commit the grant of account "+g.Account, errStale)
		}
		return err
	})
}

// DropClaim gives a claim back without a commit.
func (s *Store) DropClaim(ctx context.Context, account, holder string) error {
	return s.write(ctx, "drop the claim on account "+account, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `UPDATE account_grant SET holder = '', claimed_until = 0 WHERE account = $1 AND holder = $2`, account, holder)
		return err
	})
}

// PutSignIn keeps a sign-in under way.
func (s *Store) PutSignIn(ctx context.Context, in vault.SignIn) error {
	doc, err := encode(in)
	if err != nil {
		return err
	}
	return s.write(ctx, "keep a sign-in", func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO sign_in (state_hash, doc, expires) VALUES ($1, $2, $3)`, in.StateHash, doc, millis(in.Expires))
		return err
	})
}

// TakeSignIn returns and deletes it in one step.
func (s *Store) TakeSignIn(ctx context.Context, stateHash string) (vault.SignIn, error) {
	var in vault.SignIn
	err := s.write(ctx, "take a sign-in", func(ctx context.Context, q querier) (err error) {
		in, err = one(ctx, q, "sign-in", short(stateHash), document[vault.SignIn], `DELETE FROM sign_in WHERE state_hash = $1 RETURNING doc`, stateHash)
		return err
	})
	return in, err
}

// PutLink keeps a one-time link.
func (s *Store) PutLink(ctx context.Context, l vault.Link) error {
	return s.write(ctx, "keep a link", func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO link (token_hash, account, expires) VALUES ($1, $2, $3)`, l.TokenHash, l.Account, millis(l.Expires))
		return err
	})
}

// TakeLink returns and deletes it in one step.
func (s *Store) TakeLink(ctx context.Context, tokenHash string) (vault.Link, error) {
	var l vault.Link
	err := s.write(ctx, "take a link", func(ctx context.Context, q querier) (err error) {
		l, err = one(ctx, q, "link", short(tokenHash), func(r *sql.Rows) (vault.Link, error) {
			l := vault.Link{TokenHash: tokenHash}
			var expires int64
			err := r.Scan(&l.Account, &expires)
			l.Expires = fromMillis(expires)
			return l, err
		}, `DELETE FROM link WHERE token_hash = $1 RETURNING account, expires`, tokenHash)
		return err
	})
	return l, err
}

// short is enough of a hash to tell two apart in a log.
func short(hash string) string { return fmt.Sprintf("%.8s…", hash) }

// ForgetExpired deletes sign-ins and links that ended before now.
func (s *Store) ForgetExpired(ctx context.Context, now time.Time) error {
	return s.write(ctx, "forget expired sign-ins", func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `DELETE FROM sign_in WHERE expires < $1`, millis(now))
		_, err2 := q.ExecContext(ctx, `DELETE FROM link WHERE expires < $1`, millis(now))
		return errors.Join(err, err2)
	})
}
