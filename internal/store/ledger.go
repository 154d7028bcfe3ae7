package store

import (
	"context"

	"postern/internal/fetch"
)

const entryColumns = `task, folder, uid_validity, uid, message_id, digest, state, files, attempts, reason, run, updated`

// file is fetch.File with its staging name, which others are not shown.
type file struct {
	fetch.File
	Staged string `json:"staging,omitempty"`
}

func scanEntry(row scanner) (e fetch.Entry, err error) {
	var files []file
	err = row.Scan(&e.Task, &e.Folder, &e.UIDValidity, &e.UID, &e.MessageID, &e.Digest, &e.State, document{&files},
		&e.Attempts, &e.Reason, &e.Run, clock{&e.Updated})
	for _, f := range files {
		f.File.Staging = f.Staged
		e.Files = append(e.Files, f.File)
	}
	return e, err
}

// Known is part of [fetch.Ledger].
func (s *Store) Known(ctx context.Context, task, folder string, uidValidity uint32) (map[string]fetch.EntryState, error) {
	known := map[string]fetch.EntryState{}
	_, err := list(ctx, s.db, "read ledger", func(row scanner) (none struct{}, err error) {
		var uid string
		var state fetch.EntryState
		err = row.Scan(&uid, &state)
		known[uid] = state
		return none, err
	}, `SELECT uid, state FROM entries WHERE task = $1 AND folder = $2 AND uid_validity = $3`, task, folder, int64(uidValidity))
	return known, err
}

// Unfinished is part of [fetch.Ledger].
func (s *Store) Unfinished(ctx context.Context, task string) ([]fetch.Entry, error) {
	return list(ctx, s.db, "read ledger", scanEntry, `
		SELECT `+entryColumns+` FROM entries WHERE task = $1 AND state IN ('staged', 'saved', 'failed')
		ORDER BY folder, uid_validity, LENGTH(uid), uid`, task)
}

// Entry is part of [fetch.Ledger].
func (s *Store) Entry(ctx context.Context, k fetch.Key) (fetch.Entry, error) {
	return one(ctx, s.db, subject{"ledger entry of task", k.Task}, scanEntry, `
		SELECT `+entryColumns+` FROM entries WHERE task = $1 AND folder = $2 AND uid_validity = $3 AND uid = $4`,
		k.Task, k.Folder, int64(k.UIDValidity), k.UID)
}

// Twin is part of [fetch.Ledger].
func (s *Store) Twin(ctx context.Context, k fetch.Key, messageID, digest string) (fetch.Entry, error) {
	return one(ctx, s.db, subject{"twin in the ledger of task", k.Task}, scanEntry, `
		SELECT `+entryColumns+` FROM entries
		WHERE task = $1 AND folder = $2 AND digest = $5 AND message_id = $4 AND uid_validity <> $3 AND state IN ('saved', 'done')
		ORDER BY updated DESC, uid_validity, uid LIMIT 1`,
		k.Task, k.Folder, int64(k.UIDValidity), messageID, digest)
}

// PutEntries is part of [fetch.Ledger]. A task that is not there is fault.NotFound.
func (s *Store) PutEntries(ctx context.Context, entries ...fetch.Entry) error {
	return s.writes.do(ctx, "write ledger", func(ctx context.Context, tx querier) error {
		task := "" // the last one seen; entries of one call are of one task
		for _, e := range entries {
			if e.Task != task || task == "" {
				if err := require(ctx, tx, subject{"task", e.Task}, "tasks", "name"); err != nil {
					return err
				}
				task = e.Task
			}
			if err := putEntry(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func putEntry(ctx context.Context, tx querier, e fetch.Entry) error {
	files := make([]file, 0, len(e.Files))
	for _, f := range e.Files {
		files = append(files, file{File: f, Staged: f.Staging})
	}
	_, err := exec(ctx, tx, `
		INSERT INTO entries (`+entryColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (task, folder, uid_validity, uid) DO UPDATE SET message_id = excluded.message_id,
			digest = excluded.digest, state = excluded.state, files = excluded.files, attempts = excluded.attempts,
			reason = excluded.reason, run = excluded.run, updated = excluded.updated`,
		e.Task, e.Folder, int64(e.UIDValidity), e.UID, e.MessageID, e.Digest, string(e.State),
		document{files}, e.Attempts, e.Reason, e.Run, millis(e.Updated))
	return err
}

// Entries is part of [fetch.Ledger]. A limit of 0 means 100.
func (s *Store) Entries(ctx context.Context, task string, limit int) ([]fetch.Entry, error) {
	return list(ctx, s.db, "read ledger", scanEntry, `
		SELECT `+entryColumns+` FROM entries WHERE task = $1
		ORDER BY updated DESC, folder DESC, uid_validity DESC, LENGTH(uid) DESC, uid DESC LIMIT $2`, task, limitOr100(limit))
}

const runColumns = `id, task, started, ended, looked, saved, files, failed, error`

func scanRun(row scanner) (r fetch.Run, err error) {
	err = row.Scan(&r.ID, &r.Task, clock{&r.Started}, clock{&r.Ended}, &r.Looked, &r.Saved, &r.Files, &r.Failed, &r.Error)
	return r, err
}

// PutRun is part of [fetch.Ledger]. A task that is not there is fault.NotFound.
func (s *Store) PutRun(ctx context.Context, r fetch.Run) error {
	return s.writes.do(ctx, "save run", func(ctx context.Context, tx querier) error {
		if err := require(ctx, tx, subject{"task", r.Task}, "tasks", "name"); err != nil {
			return err
		}
		_, err := exec(ctx, tx, `
			INSERT INTO runs (`+runColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (id) DO UPDATE SET task = excluded.task, started = excluded.started, ended = excluded.ended,
				looked = excluded.looked, saved = excluded.saved, files = excluded.files, failed = excluded.failed, error = excluded.error`,
			r.ID, r.Task, millis(r.Started), millis(r.Ended), r.Looked, r.Saved, r.Files, r.Failed, r.Error)
		return err
	})
}

// Runs is part of [fetch.Ledger]. A limit of 0 means 100.
func (s *Store) Runs(ctx context.Context, task string, limit int) ([]fetch.Run, error) {
	return list(ctx, s.db, "list runs", scanRun, `
		SELECT `+runColumns+` FROM runs WHERE task = $1 ORDER BY started DESC, id DESC LIMIT $2`, task, limitOr100(limit))
}
