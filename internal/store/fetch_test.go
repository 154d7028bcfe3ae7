package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/store"
)

func TestTasks(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		failed(t, s.PutTask(ctx, invoices()), fault.Invalid, `account "scan"`)
		failed(t, second(s.Task(ctx, "invoices")), fault.NotFound)
		failed(t, s.DeleteTask(ctx, "invoices"), fault.NotFound)
		before := time.Now().Truncate(time.Millisecond)
		furnished(t, s)
		have, err := s.Task(ctx, "invoices")
		ok(t, err)
		if have.Created.Before(before) || have.Created.After(time.Now()) {
			t.Errorf("created %v", have.Created)
		}
		want := invoices()
		want.Created = have.Created
		got(t, want)(have, nil)

		put := fetch.Task{Name: "invoices", Account: "scan", Folder: "A/B", Directory: "/other", Start: fetch.StartNew, After: fetch.AfterNothing, Created: t0}
		ok(t, s.PutTask(ctx, put))
		put.Created = want.Created
		got(t, put)(s.Task(ctx, "invoices"))
		got(t, []fetch.Task{put})(s.Tasks(ctx))

		ok(t, s.PutEntries(ctx, entry(1, fetch.Done)))
		ok(t, s.PutRun(ctx, fetch.Run{ID: "r", Task: "invoices", Started: t0}))
		ok(t, s.DeleteTask(ctx, "invoices"))
		got(t, []fetch.Entry(nil))(s.Entries(ctx, "invoices", 0))
		got(t, []fetch.Run(nil))(s.Runs(ctx, "invoices", 0))
	})
}

func TestLockTask(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		failed(t, s.LockTask(ctx, "nothing", "me", t0, after(time.Minute)), fault.NotFound)
		ok(t, s.LockTask(ctx, "invoices", "me", t0, after(time.Minute)))
		ok(t, s.LockTask(ctx, "invoices", "me", t0, after(2*time.Minute)))
		failed(t, s.LockTask(ctx, "invoices", "you", after(time.Minute), after(time.Hour)), fault.Conflict, `"invoices"`)
		ok(t, s.PutTask(ctx, invoices())) // a change of the task leaves its lock alone
		ok(t, s.UnlockTask(ctx, "invoices", "you"))
		failed(t, s.LockTask(ctx, "invoices", "you", after(time.Minute), after(time.Hour)), fault.Conflict)
		ok(t, s.LockTask(ctx, "invoices", "you", after(2*time.Minute), after(time.Hour)))
		ok(t, s.UnlockTask(ctx, "invoices", "you"))
		if n := winners(20, func(i int) bool {
			return s.LockTask(ctx, "invoices", fmt.Sprint(i), t0, after(time.Minute)) == nil
		}); n != 1 {
			t.Errorf("%d have the lock", n)
		}
	})
}

func entry(uid uint32, state fetch.EntryState) fetch.Entry {
	return fetch.Entry{
		Key:       fetch.Key{Task: "invoices", Folder: "scan/INBOX", UIDValidity: 4294967295, UID: fmt.Sprint(uid)},
		MessageID: fmt.Sprintf("<%d@x>", uid), Digest: fmt.Sprintf("%064x", uid), State: state, Attempts: 2, Reason: "why", Run: "run",
		Files: []fetch.File{
			{Name: "a.pdf", Staging: "/in/.postern/a", Original: "ä\x00.pdf", ContentType: "application/pdf", Size: 1 << 40, SHA256: "ff"},
			{Name: "a.json", Staging: "/in/.postern/b"},
		},
		Updated: after(time.Duration(uid) * time.Second),
	}
}

func TestLedger(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		states := []fetch.EntryState{fetch.Staged, fetch.Saved, fetch.Done, fetch.NoMatch, fetch.EntryFailed, fetch.Parked}
		known, all := map[string]fetch.EntryState{}, []fetch.Entry{}
		for i, st := range states {
			e := entry(uint32(4294967290)+uint32(i), st)
			e.Updated = after(time.Duration(i) * time.Second)
			known[e.UID] = st
			all = append(all, e)
		}
		failed(t, second(s.Entry(ctx, all[0].Key)), fault.NotFound)
		got(t, map[string]fetch.EntryState{})(s.Known(ctx, "invoices", "scan/INBOX", 4294967295))
		ok(t, s.PutEntries(ctx))
		ok(t, s.PutEntries(ctx, all...))
		for _, e := range all {
			got(t, e)(s.Entry(ctx, e.Key))
		}
		got(t, known)(s.Known(ctx, "invoices", "scan/INBOX", 4294967295))
		got(t, map[string]fetch.EntryState{})(s.Known(ctx, "invoices", "scan/INBOX", 1))
		got(t, map[string]fetch.EntryState{})(s.Known(ctx, "invoices", "INBOX", 4294967295))
		got(t, []fetch.Entry{all[0], all[1], all[4]})(s.Unfinished(ctx, "invoices"))
		newest := slices.Clone(all)
		slices.Reverse(newest)
		got(t, newest)(s.Entries(ctx, "invoices", 0))
		got(t, newest[:2])(s.Entries(ctx, "invoices", 2))

		replaced := all[0]
		replaced.State, replaced.Files, replaced.Updated, replaced.Attempts = fetch.Done, nil, after(time.Hour), 0
		ok(t, s.PutEntries(ctx, replaced))
		got(t, replaced)(s.Entry(ctx, replaced.Key))
		got(t, []fetch.Entry{replaced})(s.Entries(ctx, "invoices", 1))
	})
}

func TestLedgerAllOrNone(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		stray := entry(2, fetch.Saved)
		stray.Task = "nothing"
		failed(t, s.PutEntries(t.Context(), entry(1, fetch.Saved), stray), fault.NotFound, `"nothing"`)
		got(t, []fetch.Entry(nil))(s.Entries(t.Context(), "invoices", 0))
		failed(t, s.PutRun(t.Context(), fetch.Run{ID: "r", Task: "nothing"}), fault.NotFound)
	})
}

func TestTwin(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		old := entry(1, fetch.Saved)
		old.MessageID = "raw \xff id"
		renumbered := fetch.Key{Task: old.Task, Folder: old.Folder, UIDValidity: 7, UID: "9"}
		ok(t, s.PutEntries(ctx, old))
		want := old
		want.MessageID = "raw \uFFFD id"
		got(t, want)(s.Twin(ctx, renumbered, old.MessageID, old.Digest))
		failed(t, second(s.Twin(ctx, renumbered, old.MessageID, "other")), fault.NotFound)
		failed(t, second(s.Twin(ctx, renumbered, "other", old.Digest)), fault.NotFound)
		failed(t, second(s.Twin(ctx, old.Key, old.MessageID, old.Digest)), fault.NotFound) // same numbers: itself
		elsewhere := renumbered
		elsewhere.Folder = "other/INBOX"
		failed(t, second(s.Twin(ctx, elsewhere, old.MessageID, old.Digest)), fault.NotFound)
		for state, there := range map[fetch.EntryState]bool{
			fetch.Done: true, fetch.Staged: false, fetch.NoMatch: false, fetch.EntryFailed: false, fetch.Parked: false,
		} {
			old.State = state
			ok(t, s.PutEntries(ctx, old))
			if err := second(s.Twin(ctx, renumbered, old.MessageID, old.Digest)); (err == nil) != there {
				t.Errorf("%s: %v", state, err)
			}
		}
	})
}

func TestRuns(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		one := fetch.Run{ID: "1", Task: "invoices", Started: t0}
		two := fetch.Run{ID: "2", Task: "invoices", Started: after(time.Minute), Ended: after(2 * time.Minute), Looked: 4, Saved: 3, Files: 2, Failed: 1, Error: "\xffno"}
		ok(t, s.PutRun(ctx, one))
		ok(t, s.PutRun(ctx, two))
		two.Error = "\uFFFDno"
		got(t, []fetch.Run{two, one})(s.Runs(ctx, "invoices", 0))
		got(t, []fetch.Run{two})(s.Runs(ctx, "invoices", 1))
		one.Ended, one.Looked = after(time.Hour), 9
		ok(t, s.PutRun(ctx, one))
		got(t, []fetch.Run{two, one})(s.Runs(ctx, "invoices", 2))
		got(t, []fetch.Run(nil))(s.Runs(ctx, "other", 2))
	})
}
