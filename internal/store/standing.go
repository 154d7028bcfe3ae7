package store

import (
	"context"
	"fmt"
	"time"

	"postern/internal/fetch"
)

// Standings says how tasks stand at a time: that of the name, or all of them, in the
// order of their names.
func (s *Store) Standings(ctx context.Context, now time.Time, name string) ([]fetch.Standing, error) {
	where, args := ``, []any{millis(now)}
	if name != "" {
		where, args = ` WHERE t.name = $2`, append(args, name)
	}
	count := func(state fetch.EntryState) string { // along the index entries_state
		return fmt.Sprintf(`(SELECT count(*) FROM (SELECT 1 FROM entries e WHERE e.task = t.name AND e.state = '%s' LIMIT %d) AS few)`, state, fetch.CountedUpTo)
	}
	all, err := list(ctx, s.db, "look at tasks", func(row scanner) (st fetch.Standing, err error) {
		t := &st.Task
		err = row.Scan(&t.Name, &t.Account, &t.Disabled, clock{&t.Created}, document{&t.Spec}, &st.Running, &st.Failed, &st.Parked, &st.ActionFailed)
		return st, err
	}, `SELECT `+taskColumns+`, t.lock_holder <> '' AND t.lock_until > $1, `+
		count(fetch.EntryFailed)+`, `+count(fetch.Parked)+`, `+count(fetch.ActionFailed)+` FROM tasks t`+where+` ORDER BY name`, args...)
	if err != nil || len(all) == 0 {
		return all, err
	}
	last, err := s.lastRuns(ctx)
	for i := range all {
		all[i].Last = last[all[i].Task.Name]
	}
	return all, err
}

// lastRuns are the newest runs of all tasks.
func (s *Store) lastRuns(ctx context.Context) (map[string]fetch.Run, error) {
	runs, err := list(ctx, s.db, "list runs", scanRun, `
		SELECT `+runColumns+` FROM runs WHERE id IN (
			SELECT (SELECT r.id FROM runs r WHERE r.task = t.name ORDER BY r.started DESC, r.id DESC LIMIT 1) FROM tasks t)`)
	last := make(map[string]fetch.Run, len(runs))
	for _, r := range runs {
		last[r.Task] = r
	}
	return last, err
}

// Run reads a run of a task.
func (s *Store) Run(ctx context.Context, task, id string) (fetch.Run, error) {
	return one(ctx, s.db, subject{"run of task " + task, id}, scanRun, `SELECT `+runColumns+` FROM runs WHERE task = $1 AND id = $2`, task, id)
}
