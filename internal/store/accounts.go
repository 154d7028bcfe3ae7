package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postern/internal/fault"
	"postern/internal/vault"
)

const accountColumns = `name, app, mailbox, method, purposes, shared, password, password_set, give_tokens, limits, transport, simulate, internal_domains,
	state, state_by, reason, since, probe_at, held`

func scanAccount(row scanner) (a vault.Account, err error) {
	err = row.Scan(&a.Name, &a.App, document{&a.Mailbox}, &a.Method, document{&a.Purposes}, &a.Shared,
		&a.Password, clock{&a.PasswordSet}, &a.GiveTokens, document{&a.Limits}, &a.Transport, &a.Simulate, document{&a.InternalDomains}, &a.State, &a.By, &a.Reason, clock{&a.Since}, clock{&a.ProbeAt}, &a.Held)
	return a, err
}

// Accounts is part of [vault.Store].
func (s *Store) Accounts(ctx context.Context) ([]vault.Account, error) {
	return list(ctx, s.often, "list accounts", scanAccount, `SELECT `+accountColumns+` FROM accounts ORDER BY name`)
}

// Account is part of [vault.Store].
func (s *Store) Account(ctx context.Context, name string) (vault.Account, error) {
	return one(ctx, s.db, subject{"account", name}, scanAccount, `SELECT `+accountColumns+` FROM accounts WHERE name = $1`, name)
}

// PutAccount is part of [vault.Store]. An app registration that is not there is
// fault.Invalid; a new account without a state is [vault.New].
func (s *Store) PutAccount(ctx context.Context, a vault.Account) error {
	const op = "save account"
	if a.State == "" {
		a.State = vault.New
	}
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if err := refers(ctx, tx, op, subject{"app registration", a.App}, "apps"); err != nil {
			return err
		}
		if err := free(ctx, tx, op, a.Name); err != nil {
			return err
		}
		_, err := exec(ctx, tx, `
			INSERT INTO accounts (`+accountColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
			ON CONFLICT (name) DO UPDATE SET app = excluded.app, mailbox = excluded.mailbox,
				method = excluded.method, purposes = excluded.purposes, shared = excluded.shared,
				password = excluded.password, password_set = excluded.password_set, give_tokens = excluded.give_tokens,
				limits = excluded.limits, transport = excluded.transport, simulate = excluded.simulate,
				internal_domains = excluded.internal_domains`,
			a.Name, a.App, document{a.Mailbox}, string(a.Method), document{a.Purposes}, a.Shared,
			blob(a.Password), millis(a.PasswordSet), a.GiveTokens, document{a.Limits}, a.Transport, a.Simulate, document{a.InternalDomains}, string(a.State), string(a.By), a.Reason, millis(a.Since), millis(a.ProbeAt), a.Held)
		if err != nil {
			return err
		}
		_, err = exec(ctx, tx, `DELETE FROM paces WHERE account = $1`, a.Name) // its limits may be other ones now
		return err
	})
}

// refers fails with fault.Invalid when what a record names is not there.
func refers(ctx context.Context, tx querier, op string, to subject, table string) error {
	err := require(ctx, tx, to, table, "name")
	if !errors.Is(err, fault.NotFound) {
		return err
	}
	if table == "accounts" {
		if err := free(ctx, tx, op, to.name); err != nil {
			return err
		}
	}
	return fault.New(fault.Invalid, op, "there is no %s %q", to.kind, to.name).WithHint("make the %s first", to.kind)
}

// DeleteAccount is part of [vault.Store].
func (s *Store) DeleteAccount(ctx context.Context, name string) error {
	const op = "delete account"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		users, err := accountUsers(ctx, tx, op, name)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fault.New(fault.Conflict, op, "account %q is used by %s", name, strings.Join(users, ", ")).
				WithHint("delete them first, or give them another account")
		}
		waits, err := column[bool](ctx, tx, op, `SELECT EXISTS (SELECT 1 FROM messages WHERE account = $1 AND state IN ('queued', 'held', 'delivering'))`, name)
		if err != nil {
			return err
		}
		if waits {
			return fault.New(fault.Conflict, op, "mail of account %q still waits in the queue", name).
				WithHint("let it be sent, or delete it first: postern queue list --account %s", name)
		}
		return deleteOne(ctx, tx, subject{"account", name}, `DELETE FROM accounts WHERE name = $1`)
	})
}

// accountUsers are the devices, tasks and alert routes that use an account.
func accountUsers(ctx context.Context, tx querier, op, name string) (users []string, err error) {
	for _, q := range []struct{ kind, query string }{
		{"device", `SELECT name FROM devices WHERE account = $1 ORDER BY name`},
		{"task", `SELECT name FROM tasks WHERE account = $1 ORDER BY name`},
	} {
		found, err := names(ctx, tx, op, q.kind, q.query, name)
		if err != nil {
			return nil, err
		}
		if found != "" {
			users = append(users, found)
		}
	}
	routes, err := list(ctx, tx, op, scanRoute, `SELECT settings FROM alert_routes ORDER BY name`) // few, and their settings are a document
	for _, r := range routes {
		if r.Account == name {
			users = append(users, fmt.Sprintf("alert route %q", r.Name))
		}
	}
	return users, err
}

// names lists what a query of names finds: `device "a", device "b"`; "" for nothing.
func names(ctx context.Context, tx querier, op, kind, query string, args ...any) (string, error) {
	found, err := list(ctx, tx, op, func(row scanner) (name string, err error) {
		err = row.Scan(&name)
		return fmt.Sprintf("%s %q", kind, name), err
	}, query, args...)
	return strings.Join(found, ", "), err
}

// ResealAccount is part of [vault.Store].
func (s *Store) ResealAccount(ctx context.Context, old, next vault.Account) error {
	return s.swap(ctx, "reseal account", subject{"account", old.Name},
		`UPDATE accounts SET password = $2 WHERE name = $1 AND password = $3`, blob(next.Password), blob(old.Password))
}

// SetState is part of [vault.Store]. Of several callers that bring the same change,
// one is told that it changed. Since stays when the state does.
func (s *Store) SetState(ctx context.Context, account string, t vault.Transition) (changed bool, err error) {
	heard := `name = $1`
	if t.To == vault.Active && t.By == vault.Provider { // a token is no answer to what a mail server refused
		heard += ` AND state_by <> '` + string(vault.Server) + `'`
	}
	err = s.writes.do(ctx, "set account state", func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, `
			UPDATE accounts SET state = $2, state_by = $3, reason = $4, probe_at = $5, since = $6 WHERE `+heard+` AND state <> $2`,
			account, string(t.To), string(t.By), t.Reason, millis(t.ProbeAt), millis(t.At))
		changed = n > 0
		if err != nil || changed {
			return err
		}
		n, err = exec(ctx, tx, `UPDATE accounts SET state_by = $2, reason = $3, probe_at = $4 WHERE `+heard+` AND state = $5`,
			account, string(t.By), t.Reason, millis(t.ProbeAt), string(t.To))
		if err == nil && n == 0 {
			err = require(ctx, tx, subject{"account", account}, "accounts", "name")
		}
		return err
	})
	return changed && err == nil, err
}
