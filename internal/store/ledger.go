package store

import (
	"context"
	"time"

	"postern/internal/fetch"
)

const entryColumns = `task, folder, uid_validity, uid, message_id, digest, state, files, attempts, reason, run, updated, details`

// file is fetch.File with its staging name, which others are not shown.
type file struct {
	fetch.File
	Staged string `json:"staging,omitempty"`
}

func scanEntry(row scanner) (e fetch.Entry, err error) {
	var files []file
	err = row.Scan(&e.Task, &e.Folder, &e.UIDValidity, &e.UID, &e.MessageID, &e.Digest, &e.State, document{&files},
		&e.Attempts, &e.Reason, &e.Run, clock{&e.Updated}, document{&e.About})
	for _, f := range files {
		f.File.Staging = f.Staged
		e.Files = append(e.Files, f.File)
	}
	return e, err
}

// Known is part of [fetch.Ledger].
func (s *Store) Known(ctx context.Context, task, folder string, uidValidity uint32, each func(uid string, state fetch.EntryState)) error {
	_, err := list(ctx, s.db, "read ledger", func(row scanner) (none struct{}, err error) {
		var uid string
		var state fetch.EntryState
		if err = row.Scan(&uid, &state); err == nil {
			each(uid, state)
		}
		return none, err
	}, `SELECT uid, state FROM entries WHERE task = $1 AND folder = $2 AND uid_validity = $3`, task, folder, int64(uidValidity))
	return err
}

// unfinished goes along the index entries_state: ordered by the bare folder, SQLite would
// rather read every entry of the task, by its key.
const unfinished = `
	SELECT ` + entryColumns + ` FROM entries WHERE task = $1 AND state IN ('staged', 'saved', 'handed_over', 'action_failed', 'failed')
	ORDER BY folder || '', uid_validity, LENGTH(uid), uid`

// Unfinished is part of [fetch.Ledger].
func (s *Store) Unfinished(ctx context.Context, task string) ([]fetch.Entry, error) {
	return list(ctx, s.db, "read ledger", scanEntry, unfinished, task)
}

// Entry is part of [fetch.Ledger].
func (s *Store) Entry(ctx context.Context, k fetch.Key) (fetch.Entry, error) {
	return one(ctx, s.db, subject{"ledger entry of task", k.Task}, scanEntry, `
		SELECT `+entryColumns+` FROM entries WHERE task = $1 AND folder = $2 AND uid_validity = $3 AND uid = $4`,
		k.Task, k.Folder, int64(k.UIDValidity), k.UID)
}

// Twins is part of [fetch.Ledger].
func (s *Store) Twins(ctx context.Context, task, folder string, digests ...string) ([]fetch.Entry, error) {
	if len(digests) == 0 {
		return nil, nil
	}
	return list(ctx, s.db, "read ledger", scanEntry, `
		SELECT `+entryColumns+` FROM entries
		WHERE task = $1 AND folder = $2 AND digest IN (`+s.dialect.listed+`) AND state IN ('saved', 'handed_over', 'action_failed', 'done')
		ORDER BY updated DESC, uid_validity, uid LIMIT $3`,
		task, folder, 1000, document{digests})
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
		INSERT INTO entries (`+entryColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (task, folder, uid_validity, uid) DO UPDATE SET message_id = excluded.message_id,
			digest = excluded.digest, state = excluded.state, files = excluded.files, attempts = excluded.attempts,
			reason = excluded.reason, run = excluded.run, updated = excluded.updated, details = excluded.details`,
		e.Task, e.Folder, int64(e.UIDValidity), e.UID, e.MessageID, e.Digest, string(e.State),
		document{files}, e.Attempts, e.Reason, e.Run, millis(e.Updated), document{e.About})
	return err
}

// Advance is part of [fetch.Ledger].
func (s *Store) Advance(ctx context.Context, state fetch.EntryState, run string, at time.Time, keys ...fetch.Key) error {
	type place struct {
		task, folder string
		validity     uint32
	}
	uids := map[place][]string{}
	for _, k := range keys {
		p := place{k.Task, k.Folder, k.UIDValidity}
		uids[p] = append(uids[p], clean(k.UID))
	}
	return s.writes.do(ctx, "write ledger", func(ctx context.Context, tx querier) error {
		for p, list := range uids {
			n, err := exec(ctx, tx, `
				UPDATE entries SET state = $5, reason = '', run = $6, updated = $7
				WHERE task = $1 AND folder = $2 AND uid_validity = $3 AND uid IN (`+s.dialect.listed+`)`,
				p.task, p.folder, int64(p.validity), document{list}, string(state), run, millis(at))
			if err == nil && n != int64(len(list)) {
				err = subject{"ledger entry of task", p.task}.missing()
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// DropEntries is part of [fetch.Ledger].
func (s *Store) DropEntries(ctx context.Context, keys ...fetch.Key) error {
	return s.writes.do(ctx, "write ledger", func(ctx context.Context, tx querier) error {
		for _, k := range keys {
			_, err := exec(ctx, tx, `DELETE FROM entries WHERE task = $1 AND folder = $2 AND uid_validity = $3 AND uid = $4`,
				k.Task, k.Folder, int64(k.UIDValidity), k.UID)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
