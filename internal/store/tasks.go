package store

import (
	"context"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
)

const taskColumns = `name, account, disabled, created, spec`

func scanTask(row scanner) (t fetch.Task, err error) {
	err = row.Scan(&t.Name, &t.Account, &t.Disabled, clock{&t.Created}, document{&t.Spec})
	return t, err
}

// Tasks is part of [fetch.Ledger].
func (s *Store) Tasks(ctx context.Context) ([]fetch.Task, error) {
	return list(ctx, s.db, "list tasks", scanTask, `SELECT `+taskColumns+` FROM tasks ORDER BY name`)
}

// Task is part of [fetch.Ledger].
func (s *Store) Task(ctx context.Context, name string) (fetch.Task, error) {
	return one(ctx, s.db, subject{"task", name}, scanTask, `SELECT `+taskColumns+` FROM tasks WHERE name = $1`, name)
}

// PutTask is part of [fetch.Ledger]. An account that is not there is fault.Invalid.
func (s *Store) PutTask(ctx context.Context, t fetch.Task) error {
	const op = "save task"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if err := refers(ctx, tx, op, subject{"account", t.Account}, "accounts"); err != nil {
			return err
		}
		_, err := exec(ctx, tx, `
			INSERT INTO tasks (`+taskColumns+`) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (name) DO UPDATE SET account = excluded.account, disabled = excluded.disabled, spec = excluded.spec`,
			t.Name, t.Account, t.Disabled, millis(time.Now()), document{t.Spec})
		return err
	})
}

// DeleteTask is part of [fetch.Ledger]. Its entries and runs go with it.
func (s *Store) DeleteTask(ctx context.Context, name string) error {
	return s.writes.do(ctx, "delete task", func(ctx context.Context, tx querier) error {
		return deleteOne(ctx, tx, subject{"task", name}, `DELETE FROM tasks WHERE name = $1`)
	})
}

// LockTask is part of [fetch.Ledger].
func (s *Store) LockTask(ctx context.Context, task, holder string, now, until time.Time) error {
	const op = "lock task"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, `
			UPDATE tasks SET lock_holder = $2, lock_until = $4, stop_wanted = CASE WHEN lock_holder = $2 THEN stop_wanted ELSE '' END
			WHERE name = $1 AND (lock_holder = '' OR lock_holder = $2 OR lock_until <= $3)`,
			task, holder, millis(now), millis(until))
		if err != nil || n == 1 {
			return err
		}
		if err := require(ctx, tx, subject{"task", task}, "tasks", "name"); err != nil {
			return err
		}
		return fault.New(fault.Conflict, op, "task %q is being run by another process", task)
	})
}

// UnlockTask is part of [fetch.Ledger]. Unlocking what one does not hold does nothing.
func (s *Store) UnlockTask(ctx context.Context, task, holder string) error {
	_, err := s.write(ctx, "unlock task",
		`UPDATE tasks SET lock_holder = '', lock_until = 0 WHERE name = $1 AND lock_holder = $2`, task, holder)
	return err
}

// StopTask is part of [fetch.Ledger].
func (s *Store) StopTask(ctx context.Context, task, who string, now time.Time) error {
	const op = "stop task"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, `UPDATE tasks SET stop_wanted = $2 WHERE name = $1 AND lock_holder <> '' AND lock_until > $3`, task, who, millis(now))
		if err != nil || n == 1 {
			return err
		}
		if err := require(ctx, tx, subject{"task", task}, "tasks", "name"); err != nil {
			return err
		}
		return fault.New(fault.Conflict, op, "task %q is not running", task)
	})
}

// StopWanted is part of [fetch.Ledger].
func (s *Store) StopWanted(ctx context.Context, task string) (who string, err error) {
	return one(ctx, s.db, subject{"task", task}, func(row scanner) (who string, err error) {
		err = row.Scan(&who)
		return who, err
	}, `SELECT stop_wanted FROM tasks WHERE name = $1`, task)
}
