package store

import (
	"context"
	"time"

	"postern/internal/fault"
	"postern/internal/vault"
)

const grantColumns = `account, refresh, access, signed_in_as, object_id, tenant_id, scopes, signed_in_at, rotated_at, generation`

// access is vault.Access as JSON.
type access struct {
	Resource string `json:"resource"`
	Token    []byte `json:"token"`
	Issued   int64  `json:"issued"`
	Expires  int64  `json:"expires"`
}

func scanGrant(row scanner) (g vault.Grant, err error) {
	var tokens []access
	err = row.Scan(&g.Account, &g.Refresh, document{&tokens}, &g.SignedInAs, &g.ObjectID, &g.TenantID,
		document{&g.Scopes}, clock{&g.SignedInAt}, clock{&g.RotatedAt}, &g.Generation)
	for _, t := range tokens {
		g.Access = append(g.Access, vault.Access{
			Resource: t.Resource, Token: t.Token, Issued: time.UnixMilli(t.Issued).UTC(), Expires: time.UnixMilli(t.Expires).UTC(),
		})
	}
	return g, err
}

// grantArgs are the values of grantColumns without the generation.
func grantArgs(g vault.Grant) []any {
	tokens := make([]access, 0, len(g.Access))
	for _, t := range g.Access {
		tokens = append(tokens, access{Resource: t.Resource, Token: t.Token, Issued: t.Issued.UnixMilli(), Expires: t.Expires.UnixMilli()})
	}
	return []any{
		g.Account, blob(g.Refresh), document{tokens}, g.SignedInAs, g.ObjectID, g.TenantID,
		document{g.Scopes}, millis(g.SignedInAt), millis(g.RotatedAt),
	}
}

// LastRotated is part of [vault.Store].
func (s *Store) LastRotated(ctx context.Context) (map[string]time.Time, error) {
	type rotation struct {
		account string
		at      time.Time
	}
	all, err := list(ctx, s.db, "look at grants", func(row scanner) (r rotation, err error) {
		err = row.Scan(&r.account, clock{&r.at})
		return r, err
	}, `SELECT account, rotated_at FROM grants WHERE length(refresh) > 0`)
	at := make(map[string]time.Time, len(all))
	for _, r := range all {
		at[r.account] = r.at
	}
	return at, err
}

// Grant is part of [vault.Store].
func (s *Store) Grant(ctx context.Context, account string) (vault.Grant, error) {
	return one(ctx, s.db, subject{"grant of account", account}, scanGrant,
		`SELECT `+grantColumns+` FROM grants WHERE account = $1 AND generation > 0`, account)
}

// ClaimRefresh is part of [vault.Store]. An account of an app's own permission has no
// grant before its first token: the claim then stands alone, and the grant returned
// is empty with generation 0. A holder may claim again what it holds.
func (s *Store) ClaimRefresh(ctx context.Context, account, holder string, now, until time.Time) (g vault.Grant, err error) {
	const op = "claim the refresh"
	err = s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if _, err := exec(ctx, tx, `
			INSERT INTO grants (account) SELECT name FROM accounts WHERE name = $1 ON CONFLICT (account) DO NOTHING`, account); err != nil {
			return err
		}
		got, err := list(ctx, tx, op, scanGrant, `
			UPDATE grants SET claim_holder = $2, claim_until = $4
			WHERE account = $1 AND (claim_holder = '' OR claim_holder = $2 OR claim_until <= $3)
			RETURNING `+grantColumns, account, holder, millis(now), millis(until))
		if err != nil {
			return err
		}
		if len(got) == 1 {
			g = got[0]
			return nil
		}
		if err := require(ctx, tx, subject{"account", account}, "accounts", "name"); err != nil {
			return err
		}
		return fault.New(fault.Conflict, op, "another process refreshes account %q", account)
	})
	return g, err
}

// CommitGrant is part of [vault.Store].
func (s *Store) CommitGrant(ctx context.Context, g vault.Grant, holder string) error {
	const op = "save grant"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if holder == "" {
			return replaceGrant(ctx, tx, g)
		}
		n, err := exec(ctx, tx, `
			UPDATE grants SET refresh = $2, access = $3, signed_in_as = $4, object_id = $5, tenant_id = $6, scopes = $7,
				signed_in_at = $8, rotated_at = $9, generation = generation + 1, claim_holder = '', claim_until = 0
			WHERE account = $1 AND claim_holder = $10`, append(grantArgs(g), holder)...)
		if err == nil && n == 0 {
			err = fault.New(fault.Conflict, op, "the claim on account %q is no longer ours", g.Account)
		}
		return err
	})
}

// ResealGrant is part of [vault.Store].
func (s *Store) ResealGrant(ctx context.Context, old, next vault.Grant) error {
	args := grantArgs(next)
	return s.swap(ctx, "reseal grant", subject{"grant of account", old.Account},
		`UPDATE grants SET refresh = $2, access = $3 WHERE account = $1 AND generation = $4`, args[1], args[2], old.Generation)
}

func replaceGrant(ctx context.Context, tx querier, g vault.Grant) error {
	if err := require(ctx, tx, subject{"account", g.Account}, "accounts", "name"); err != nil {
		return err
	}
	_, err := exec(ctx, tx, `
		INSERT INTO grants (`+grantColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)
		ON CONFLICT (account) DO UPDATE SET refresh = excluded.refresh, access = excluded.access,
			signed_in_as = excluded.signed_in_as, object_id = excluded.object_id, tenant_id = excluded.tenant_id,
			scopes = excluded.scopes, signed_in_at = excluded.signed_in_at, rotated_at = excluded.rotated_at,
			generation = grants.generation + 1, claim_holder = '', claim_until = 0`, grantArgs(g)...)
	return err
}

// DropClaim is part of [vault.Store]. Dropping what one does not hold does nothing.
func (s *Store) DropClaim(ctx context.Context, account, holder string) error {
	_, err := s.write(ctx, "give the refresh back",
		`UPDATE grants SET claim_holder = '', claim_until = 0 WHERE account = $1 AND claim_holder = $2`, account, holder)
	return err
}
