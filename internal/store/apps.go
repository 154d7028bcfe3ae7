package store

import (
	"context"

	"postern/internal/fault"
	"postern/internal/vault"
)

const appColumns = `name, tenant, client_id, cloud, secret, secret_expires`

func scanApp(row scanner) (a vault.App, err error) {
	err = row.Scan(&a.Name, &a.Tenant, &a.ClientID, document{&a.Cloud}, &a.Secret, clock{&a.SecretExpires})
	return a, err
}

// Apps is part of [vault.Store].
func (s *Store) Apps(ctx context.Context) ([]vault.App, error) {
	return list(ctx, s.db, "list app registrations", scanApp, `SELECT `+appColumns+` FROM apps ORDER BY name`)
}

// App is part of [vault.Store].
func (s *Store) App(ctx context.Context, name string) (vault.App, error) {
	return one(ctx, s.db, subject{"app registration", name}, scanApp, `SELECT `+appColumns+` FROM apps WHERE name = $1`, name)
}

// PutApp is part of [vault.Store].
func (s *Store) PutApp(ctx context.Context, a vault.App) error {
	_, err := s.write(ctx, "save app registration", `
		INSERT INTO apps (`+appColumns+`) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (name) DO UPDATE SET tenant = excluded.tenant, client_id = excluded.client_id,
			cloud = excluded.cloud, secret = excluded.secret, secret_expires = excluded.secret_expires`,
		a.Name, a.Tenant, a.ClientID, document{a.Cloud}, blob(a.Secret), millis(a.SecretExpires))
	return err
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
