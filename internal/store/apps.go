package store

import (
	"context"

	"postern/internal/fault"
	"postern/internal/vault"
)

const appColumns = `name, tenant, client_id, cloud, secret, secret_expires, certificate, private_key`

func scanApp(row scanner) (a vault.App, err error) {
	err = row.Scan(&a.Name, &a.Tenant, &a.ClientID, document{&a.Cloud}, &a.Secret, clock{&a.SecretExpires},
		&a.Certificate, &a.Key)
	if len(a.Certificate) == 0 {
		a.Certificate = nil
	}
	return a, err
}

// Apps is part of [vault.Store].
func (s *Store) Apps(ctx context.Context) ([]vault.App, error) {
	return list(ctx, s.often, "list app registrations", scanApp, `SELECT `+appColumns+` FROM apps ORDER BY name`)
}

// App is part of [vault.Store].
func (s *Store) App(ctx context.Context, name string) (vault.App, error) {
	return one(ctx, s.db, subject{"app registration", name}, scanApp, `SELECT `+appColumns+` FROM apps WHERE name = $1`, name)
}

// PutApp is part of [vault.Store].
func (s *Store) PutApp(ctx context.Context, a vault.App) error {
	_, err := s.write(ctx, "save app registration", `
		INSERT INTO apps (`+appColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (name) DO UPDATE SET tenant = excluded.tenant, client_id = excluded.client_id,
			cloud = excluded.cloud, secret = excluded.secret, secret_expires = excluded.secret_expires,
			certificate = excluded.certificate, private_key = excluded.private_key`,
		a.Name, a.Tenant, a.ClientID, document{a.Cloud}, blob(a.Secret), millis(a.SecretExpires), blob(a.Certificate), blob(a.Key))
	return err
}

// ResealApp is part of [vault.Store].
func (s *Store) ResealApp(ctx context.Context, old, next vault.App) error {
	return s.swap(ctx, "reseal app registration", subject{"app registration", old.Name},
		`UPDATE apps SET secret = $2, private_key = $3 WHERE name = $1 AND secret = $4 AND private_key = $5`,
		blob(next.Secret), blob(next.Key), blob(old.Secret), blob(old.Key))
}

// swap runs an update of the row of what, whose name is $1, that does nothing when
// the row is no longer as it was.
func (s *Store) swap(ctx context.Context, op string, what subject, query string, args ...any) error {
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, query, append([]any{what.name}, args...)...)
		if err == nil && n == 0 {
			err = fault.New(fault.Conflict, op, "%s %q was changed meanwhile", what.kind, what.name)
		}
		return err
	})
}

// DeleteApp is part of [vault.Store].
func (s *Store) DeleteApp(ctx context.Context, name string) error {
	const op = "delete app registration"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		users, err := names(ctx, tx, op, "account", `SELECT name FROM accounts WHERE app = $1 ORDER BY name`, name)
		if err != nil {
			return err
		}
		if users != "" {
			return fault.New(fault.Conflict, op, "app registration %q is used by %s", name, users).
				WithHint("delete them first, or give them another app registration")
		}
		return deleteOne(ctx, tx, subject{"app registration", name}, `DELETE FROM apps WHERE name = $1`)
	})
}

// deleteOne deletes the row of what, whose name is $1. No row is fault.NotFound.
func deleteOne(ctx context.Context, tx querier, what subject, query string) error {
	n, err := exec(ctx, tx, query, what.name)
	if err == nil && n == 0 {
		err = what.missing()
	}
	return err
}
