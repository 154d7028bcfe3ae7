package store

import (
	"context"

	"postern/internal/fetch"
)

// keptRuns is how many runs of a task are remembered.
const keptRuns = 500

const runColumns = `id, task, started, ended, looked, saved, files, failed, error, details`

func scanRun(row scanner) (r fetch.Run, err error) {
	err = row.Scan(&r.ID, &r.Task, clock{&r.Started}, clock{&r.Ended}, &r.Looked, &r.Saved, &r.Files, &r.Failed, &r.Error, document{&r.Counts})
	return r, err
}

// PutRun is part of [fetch.Ledger]. A task that is not there is fault.NotFound.
func (s *Store) PutRun(ctx context.Context, r fetch.Run) error {
	return s.writes.do(ctx, "save run", func(ctx context.Context, tx querier) error {
		if err := require(ctx, tx, subject{"task", r.Task}, "tasks", "name"); err != nil {
			return err
		}
		_, err := exec(ctx, tx, `
			INSERT INTO runs (`+runColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (id) DO UPDATE SET task = excluded.task, started = excluded.started, ended = excluded.ended,
				looked = excluded.looked, saved = excluded.saved, files = excluded.files, failed = excluded.failed,
				error = excluded.error, details = excluded.details`,
			r.ID, r.Task, millis(r.Started), millis(r.Ended), r.Looked, r.Saved, r.Files, r.Failed, r.Error, document{r.Counts})
		if err != nil || r.Ended.IsZero() {
			return err
		}
		_, err = exec(ctx, tx, `
			DELETE FROM runs WHERE task = $1 AND started < (
				SELECT started FROM runs WHERE task = $1 ORDER BY started DESC, id DESC LIMIT 1 OFFSET $2)`, r.Task, keptRuns-1)
		return err
	})
}

// Runs is part of [fetch.Ledger]. A limit of 0 means 100.
func (s *Store) Runs(ctx context.Context, task string, limit int) ([]fetch.Run, error) {
	return list(ctx, s.db, "list runs", scanRun, `
		SELECT `+runColumns+` FROM runs WHERE task = $1 ORDER BY started DESC, id DESC LIMIT $2`, task, limitOr100(limit))
}

// PutLines is part of [fetch.Ledger].
func (s *Store) PutLines(ctx context.Context, run string, first int, lines ...fetch.Line) error {
	return s.writes.do(ctx, "save run", func(ctx context.Context, tx querier) error {
		for i, l := range lines {
			_, err := exec(ctx, tx, `
				INSERT INTO run_lines (run, line, at, text) VALUES ($1, $2, $3, $4)
				ON CONFLICT (run, line) DO UPDATE SET at = excluded.at, text = excluded.text`, run, first+i, millis(l.At), l.Text)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Lines is part of [fetch.Ledger].
func (s *Store) Lines(ctx context.Context, run string) ([]fetch.Line, error) {
	return list(ctx, s.db, "read run", func(row scanner) (l fetch.Line, err error) {
		err = row.Scan(clock{&l.At}, &l.Text)
		return l, err
	}, `SELECT at, text FROM run_lines WHERE run = $1 ORDER BY line`, run)
}
