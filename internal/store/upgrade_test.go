package store_test

import (
	"testing"
	"time"

	"postern/internal/fetch"
	"postern/internal/store"
)

// Tasks and their ledger live on when Postern is replaced by one whose tasks are
// documents and whose ids are words.
func TestOldTasksLiveOn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		ctx := t.Context()
		db, err := d.raw()
		ok(t, err)
		ok(t, store.MigrateTo(ctx, db, d.name, 9))
		old := map[string]string{"sqlite": "x''", "postgres": "''::bytea"}[d.name]
		for _, statement := range []string{
			`INSERT INTO apps (name, tenant, client_id, cloud, secret, secret_expires) VALUES ('contoso', '', '', '{}', ` + old + `, 0)`,
			`INSERT INTO accounts (name, app, mailbox, method, purposes, shared, state, reason, since, probe_at)
				VALUES ('scan', 'contoso', '{}', 'delegated', '[]', FALSE, 'new', '', 0, 0)`,
			`INSERT INTO tasks (name, account, folder, directory, every, start_with, unread, inline, afterwards, move_to, disabled, created)
				VALUES ('invoices', 'scan', 'A "quoted" one', '/in', 90000000000, 'all', TRUE, TRUE, 'move', 'Done/2026', TRUE, 1772600767089)`,
			`INSERT INTO tasks (name, account, folder, directory, every, start_with, unread, inline, afterwards, move_to, disabled, created)
				VALUES ('plain', 'scan', 'INBOX', '/in', 0, 'new', FALSE, FALSE, 'nothing', '', FALSE, 1772600767089)`,
			`INSERT INTO entries (task, folder, uid_validity, uid, message_id, digest, state, files, attempts, reason, run, updated)
				VALUES ('invoices', 'scan/INBOX', 14, 4294967295, '<1@x>', 'ff', 'saved', '[{"name":"a.pdf","staging":"/in/.s"}]', 1, 'why', 'run', 1772600767089)`,
			`INSERT INTO runs (id, task, started, ended, looked, saved, files, failed, error) VALUES ('r', 'invoices', 1772600767089, 0, 4, 3, 2, 1, 'no')`,
		} {
			_, err := db.ExecContext(ctx, statement)
			ok(t, err)
		}
		ok(t, db.Close())

		s := opened(t, d)
		made := time.UnixMilli(1772600767089).UTC()
		got(t, fetch.Task{Name: "invoices", Account: "scan", Disabled: true, Created: made, Spec: fetch.Spec{
			Source:   fetch.Origin{Folders: []string{`A "quoted" one`}, Which: fetch.Unread, Start: fetch.StartAll},
			Rules:    []fetch.Rule{{Take: fetch.Take{Inline: true}}},
			Handover: fetch.Handover{Directory: "/in"}, After: fetch.Action{Do: fetch.Move, To: "Done/2026"},
			Schedule: fetch.Schedule{Every: fetch.Duration(90 * time.Second)},
		}})(s.Task(ctx, "invoices"))
		plain, err := s.Task(ctx, "plain")
		ok(t, err)
		ok(t, plain.Check())
		if !plain.After.None() || plain.Schedule.Every != 0 {
			t.Errorf("%+v", plain)
		}
		want := fetch.Entry{
			Key:       fetch.Key{Task: "invoices", Folder: "scan/INBOX", UIDValidity: 14, UID: "4294967295"},
			MessageID: "<1@x>", Digest: "ff", State: fetch.Saved, Attempts: 1, Reason: "why", Run: "run", Updated: made,
			Files: []fetch.File{{Name: "a.pdf", Staging: "/in/.s"}},
		}
		got(t, []fetch.Entry{want})(s.Unfinished(ctx, "invoices"))
		got(t, []fetch.Run{{ID: "r", Task: "invoices", Started: made, Looked: 4, Saved: 3, Files: 2, Failed: 1, Error: "no"}})(s.Runs(ctx, "invoices", 0))
		ok(t, s.DeleteTask(ctx, "invoices"))
		got(t, []fetch.Entry(nil))(s.Entries(ctx, fetch.Filter{Task: "invoices"}))
	})
}
