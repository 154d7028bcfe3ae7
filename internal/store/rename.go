package store

import (
	"context"

	"postern/internal/fault"
	"postern/internal/vault"
)

// HoldAccount is part of [vault.Store].
func (s *Store) HoldAccount(ctx context.Context, name string, held bool) (changed bool, err error) {
	err = s.writes.do(ctx, "pause account", func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, `UPDATE accounts SET held = $2 WHERE name = $1 AND held <> $2`, name, held)
		if changed = n > 0; err == nil && !changed {
			err = require(ctx, tx, subject{"account", name}, "accounts", "name")
		}
		return err
	})
	return changed && err == nil, err
}

// free refuses a name that an account had before: a file that still says it means that
// account, and not another one.
func free(ctx context.Context, tx querier, op, name string) error {
	now, err := list(ctx, tx, op, scanText, `SELECT account FROM former_names WHERE name = $1`, name)
	if err != nil || len(now) == 0 {
		return err
	}
	return fault.New(fault.Invalid, op, "account %q is called %q now", name, now[0]).WithHint("write %s in its place", now[0])
}

// RenameAccount is part of [vault.Store]. Devices, tasks, alert routes, checks and
// sign-ins follow, as does the mail that waits. Mail that is finished follows later, see
// [Store.FollowNames]; the audit log says what was, and stays.
func (s *Store) RenameAccount(ctx context.Context, name string, next vault.Account, g vault.Grant, holder string) error {
	const op = "rename account"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if err := mayRename(ctx, tx, op, name, next.Name, holder); err != nil {
			return err
		}
		for _, change := range []struct {
			query string
			args  []any
		}{
			{`DELETE FROM former_names WHERE name = $2 AND account = $1`, nil}, // its own, taken back
			{`UPDATE accounts SET name = $2, password = $3 WHERE name = $1`, []any{blob(next.Password)}},
			{`UPDATE messages SET account = $2 WHERE account = $1 AND state IN ('queued', 'held', 'failed')`, nil},
			{`UPDATE sends SET account = $2 WHERE account = $1`, nil},
			{`DELETE FROM paces WHERE account IN ($1, $2)`, nil},
			{`INSERT INTO former_names (name, account) VALUES ($1, $2)`, nil},
		} {
			if _, err := exec(ctx, tx, change.query, append([]any{name, next.Name}, change.args...)...); err != nil {
				return err
			}
		}
		args := grantArgs(g)
		if _, err := exec(ctx, tx, `UPDATE grants SET refresh = $2, access = $3, claim_holder = '', claim_until = 0 WHERE account = $1`, next.Name, args[1], args[2]); err != nil {
			return err
		}
		for _, about := range []string{"account/", "check/", "queue/"} { // told of another name, it is told anew
			if _, err := exec(ctx, tx, `DELETE FROM alert_states WHERE key = $1`, about+name); err != nil {
				return err
			}
		}
		return renameInRoutes(ctx, tx, op, name, next.Name)
	})
}

// mayRename says what keeps an account from another name.
func mayRename(ctx context.Context, tx querier, op, name, to, holder string) error {
	if err := require(ctx, tx, subject{"account", name}, "accounts", "name"); err != nil {
		return err
	}
	for _, hurdle := range []struct {
		query     string
		says, fix string
	}{
		{`SELECT EXISTS (SELECT 1 FROM accounts WHERE name = $2 AND $1 <> '')`, "there is an account of that name already", "choose another name"},
		{`SELECT EXISTS (SELECT 1 FROM former_names WHERE name = $2 AND account <> $1)`, "another account had that name before", "choose another name"},
		{`SELECT EXISTS (SELECT 1 FROM messages WHERE account = $1 AND state = 'delivering' AND $2 <> '')`, "its mail is being delivered", "try again, or pause the account first: postern accounts pause " + name},
	} {
		stands, err := column[bool](ctx, tx, op, hurdle.query, name, to)
		if err != nil {
			return err
		}
		if stands {
			return fault.New(fault.Conflict, op, "%s", hurdle.says).WithHint("%s", hurdle.fix)
		}
	}
	held, err := column[int](ctx, tx, op, `SELECT count(*) FROM grants WHERE account = $1 AND claim_holder = $2`, name, holder)
	if err == nil && held == 0 {
		err = fault.New(fault.Conflict, op, "the claim on account %q is no longer ours", name).WithHint("try again")
	}
	return err
}

// renameInRoutes has alert routes send through the account under its new name.
func renameInRoutes(ctx context.Context, tx querier, op, name, to string) error {
	routes, err := list(ctx, tx, op, scanRoute, `SELECT settings FROM alert_routes`)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Account != name {
			continue
		}
		r.Account = to
		if _, err := exec(ctx, tx, `UPDATE alert_routes SET settings = $2 WHERE name = $1`, r.Name, document{r}); err != nil {
			return err
		}
	}
	return nil
}

// followAtOnce is how many messages are moved in one change, so that mail never waits
// long for it.
const followAtOnce = 1000

// FollowNames moves messages that name their account by what it was called before: those
// that are finished, and those that a device handed in just while it was renamed.
func (s *Store) FollowNames(ctx context.Context) (moved int, err error) {
	for {
		n, err := s.write(ctx, "rename account", `
			UPDATE messages SET account = (SELECT f.account FROM former_names f WHERE f.name = messages.account) WHERE id IN (
				SELECT m.id FROM former_names f JOIN messages m ON m.account = f.name WHERE m.state <> 'delivering' LIMIT $1)`, followAtOnce)
		moved += int(n)
		if err != nil || n < followAtOnce {
			return moved, err
		}
	}
}
