package store

import (
	"context"
	"database/sql"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
)

func scanTask(r *sql.Rows) (fetch.Task, error) {
	var t fetch.Task
	var doc string
	var created int64
	if err := r.Scan(&doc, &created); err != nil {
		return t, err
	}
	err := decode(doc, &t)
	t.Created = fromMillis(created)
	return t, err
}

// Tasks lists tasks by name.
func (s *Store) Tasks(ctx context.Context) ([]fetch.Task, error) {
	return many(ctx, s.db, "tasks", scanTask, `SELECT doc, created FROM task ORDER BY name`)
}

// Task reads one task.
func (s *Store) Task(ctx context.Context, name string) (fetch.Task, error) {
	return one(ctx, s.db, "task", name, scanTask, `SELECT doc, created FROM task WHERE name = $1`, name)
}

// PutTask inserts or replaces; when it was made is kept.
func (s *Store) PutTask(ctx context.Context, t fetch.Task) error {
	created := t.Created
	if created.IsZero() {
		created = time.Now()
	}
	t.Created = time.Time{}
	doc, err := encode(t)
	if err != nil {
		return err
	}
	return s.write(ctx, "keep task "+t.Name, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO task (name, account, doc, created, holder, locked_until) VALUES ($1, $2, $3, $4, '', 0)
			ON CONFLICT (name) DO UPDATE SET account = excluded.account, doc = excluded.doc`, t.Name, t.Account, doc, millis(created))
		return dangling(err, "account", t.Account)
	})
}

// DeleteTask removes the task; its ledger stays.
func (s *Store) DeleteTask(ctx context.Context, name string) error {
	return s.remove(ctx, "task", name, `DELETE FROM task WHERE name = $1`)
}

// LockTask gives holder the sole right to run the task for a while.
func (s *Store) LockTask(ctx context.Context, task, holder string, now, until time.Time) error {
	return s.write(ctx, "lock task "+task, func(ctx context.Context, q querier) error {
		n, err := affected(ctx, q, `UPDATE task SET holder = $2, locked_until = $3 WHERE name = $1 AND (holder = '' OR holder = $2 OR locked_until <= $4)`,
			task, holder, millis(until), millis(now))
		if err != nil || n > 0 {
			return err
		}
		if _, err := one(ctx, q, "task", task, scanTask, `SELECT doc, created FROM task WHERE name = $1`, task); err != nil {
			return err
		}
		return fault.New(fault.Conflict, "lock task "+task, "it is running already").WithHint("postern fetch runs %s", task)
	})
}

// UnlockTask gives the right back.
func (s *Store) UnlockTask(ctx context.Context, task, holder string) error {
	return s.write(ctx, "unlock task "+task, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `UPDATE task SET holder = '', locked_until = 0 WHERE name = $1 AND holder = $2`, task, holder)
		return err
	})
}

// entryDoc is an entry as it is kept: with the staging names that its JSON for
// people leaves out.
type entryDoc struct {
	fetch.Entry
	Staging []string
}

func scanEntry(r *sql.Rows) (fetch.Entry, error) {
	d, err := document[entryDoc](r)
	for i := range d.Files {
		if i < len(d.Staging) {
			d.Files[i].Staging = d.Staging[i]
		}
	}
	return d.Entry, err
}

// Known returns the state of every message that the ledger knows in a folder.
func (s *Store) Known(ctx context.Context, task, folder string, uidValidity uint32) (map[uint32]fetch.EntryState, error) {
	out := map[uint32]fetch.EntryState{}
	err := rows(ctx, s.db, func(r *sql.Rows) error {
		var uid uint32
		var state string
		err := r.Scan(&uid, &state)
		out[uid] = fetch.EntryState(state)
		return err
	}, `SELECT uid, state FROM entry WHERE task = $1 AND folder = $2 AND uid_validity = $3`, task, folder, int64(uidValidity))
	return out, classify("read the ledger", err)
}

// Unfinished returns the task's entries that a run must go on with.
func (s *Store) Unfinished(ctx context.Context, task string) ([]fetch.Entry, error) {
	return many(ctx, s.db, "unfinished entries", scanEntry,
		`SELECT doc FROM entry WHERE task = $1 AND state IN ('staged', 'saved', 'failed') ORDER BY folder, uid_validity, uid`, task)
}

// Entry reads one line of the ledger.
func (s *Store) Entry(ctx context.Context, k fetch.Key) (fetch.Entry, error) {
	return one(ctx, s.db, "ledger entry", k.Folder, scanEntry,
		`SELECT doc FROM entry WHERE task = $1 AND folder = $2 AND uid_validity = $3 AND uid = $4`, k.Task, k.Folder, int64(k.UIDValidity), int64(k.UID))
}

// Twin finds the same message under another UIDVALIDITY.
func (s *Store) Twin(ctx context.Context, k fetch.Key, messageID, digest string) (fetch.Entry, error) {
	return one(ctx, s.db, "twin of message", messageID, scanEntry,
		`SELECT doc FROM entry WHERE task = $1 AND folder = $2 AND uid_validity <> $3 AND message_id = $4 AND digest = $5 AND digest <> ''
			AND state IN ('saved', 'done') ORDER BY updated LIMIT 1`, k.Task, k.Folder, int64(k.UIDValidity), messageID, digest)
}

// PutEntries inserts or replaces, all or none.
func (s *Store) PutEntries(ctx context.Context, entries ...fetch.Entry) error {
	return s.write(ctx, "write the ledger", func(ctx context.Context, q querier) error {
		for _, e := range entries {
			d := entryDoc{Entry: e}
			for _, f := range e.Files {
				d.Staging = append(d.Staging, f.Staging)
			}
			doc, err := encode(d)
			if err != nil {
				return err
			}
			_, err = q.ExecContext(ctx, `INSERT INTO entry (task, folder, uid_validity, uid, state, message_id, digest, updated, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
				ON CONFLICT (task, folder, uid_validity, uid) DO UPDATE SET state = excluded.state, message_id = excluded.message_id,
				digest = excluded.digest, updated = excluded.updated, doc = excluded.doc`,
				e.Task, e.Folder, int64(e.UIDValidity), int64(e.UID), string(e.State), e.MessageID, e.Digest, millis(e.Updated), doc)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Entries lists the ledger of a task, newest first.
func (s *Store) Entries(ctx context.Context, task string, limit int) ([]fetch.Entry, error) {
	return many(ctx, s.db, "ledger entries", scanEntry, `SELECT doc FROM entry WHERE task = $1 ORDER BY updated DESC, uid DESC LIMIT $2`, task, limit)
}

// PutRun inserts or replaces.
func (s *Store) PutRun(ctx context.Context, r fetch.Run) error {
	doc, err := encode(r)
	if err != nil {
		return err
	}
	return s.write(ctx, "keep run "+r.ID, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO run (id, task, started, doc) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET doc = excluded.doc`,
			r.ID, r.Task, millis(r.Started), doc)
		return err
	})
}

// Runs lists a task's runs, newest first.
func (s *Store) Runs(ctx context.Context, task string, limit int) ([]fetch.Run, error) {
	return many(ctx, s.db, "runs", document[fetch.Run], `SELECT doc FROM run WHERE task = $1 ORDER BY started DESC, id DESC LIMIT $2`, task, limit)
}
