package store_test

import (
	"fmt"
	"slices"
	"strings"
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

		put := fetch.Task{Name: "invoices", Account: "scan", Created: t0, Spec: fetch.Spec{Handover: fetch.Handover{Directory: "/other"}}}
		ok(t, s.PutTask(ctx, put))
		put.Created = want.Created
		got(t, put)(s.Task(ctx, "invoices"))
		got(t, []fetch.Task{put})(s.Tasks(ctx))

		ok(t, s.PutEntries(ctx, entry(1, fetch.Done)))
		ok(t, s.PutRun(ctx, fetch.Run{ID: "r", Task: "invoices", Started: t0}))
		ok(t, s.DeleteTask(ctx, "invoices"))
		got(t, []fetch.Entry(nil))(s.Entries(ctx, fetch.Filter{Task: "invoices"}))
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
		About:   fetch.About{From: "Anna <anna@fabrikam.com>", Subject: "Rechnung über 100 €", To: []string{"in@contoso.com"}, Arrived: t0, Size: 7},
	}
}

func TestLedger(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		states := fetch.States()
		known, all := map[string]fetch.EntryState{}, []fetch.Entry{}
		for i, st := range states {
			e := entry(uint32(4294967280)+uint32(i), st)
			e.Updated = after(time.Duration(i) * time.Second)
			known[e.UID] = st
			all = append(all, e)
		}
		failed(t, second(s.Entry(ctx, all[0].Key)), fault.NotFound)
		knows := func(want map[string]fetch.EntryState, folder string, validity uint32) {
			t.Helper()
			told := map[string]fetch.EntryState{}
			err := s.Known(ctx, "invoices", folder, validity, func(uid string, state fetch.EntryState) { told[uid] = state })
			got(t, want)(told, err)
		}
		knows(map[string]fetch.EntryState{}, "scan/INBOX", 4294967295)
		ok(t, s.PutEntries(ctx))
		ok(t, s.PutEntries(ctx, all...))
		for _, e := range all {
			got(t, e)(s.Entry(ctx, e.Key))
		}
		knows(known, "scan/INBOX", 4294967295)
		knows(map[string]fetch.EntryState{}, "scan/INBOX", 1)
		knows(map[string]fetch.EntryState{}, "INBOX", 4294967295)
		got(t, slices.DeleteFunc(slices.Clone(all), func(e fetch.Entry) bool { return !e.State.Unfinished() }))(s.Unfinished(ctx, "invoices"))
		newest := slices.Clone(all)
		slices.Reverse(newest)
		got(t, newest)(s.Entries(ctx, fetch.Filter{Task: "invoices"}))
		got(t, newest[:2])(s.Entries(ctx, fetch.Filter{Task: "invoices", Limit: 2}))

		replaced := all[0]
		replaced.State, replaced.Files, replaced.Updated, replaced.Attempts = fetch.Done, nil, after(time.Hour), 0
		ok(t, s.PutEntries(ctx, replaced))
		got(t, replaced)(s.Entry(ctx, replaced.Key))
		got(t, []fetch.Entry{replaced})(s.Entries(ctx, fetch.Filter{Task: "invoices", Limit: 1}))
	})
}

func TestLedgerAllOrNone(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		stray := entry(2, fetch.Saved)
		stray.Task = "nothing"
		failed(t, s.PutEntries(t.Context(), entry(1, fetch.Saved), stray), fault.NotFound, `"nothing"`)
		got(t, []fetch.Entry(nil))(s.Entries(t.Context(), fetch.Filter{Task: "invoices"}))
		failed(t, s.PutRun(t.Context(), fetch.Run{ID: "r", Task: "nothing"}), fault.NotFound)
	})
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		one, two, other := entry(1, fetch.Staged), entry(2, fetch.Staged), entry(3, fetch.Staged)
		two.UID = "raw \xff\xff\x00 id"
		other.Folder, other.UIDValidity = "scan/Other", 7
		ok(t, s.PutEntries(ctx, one, two, other))
		ok(t, s.Advance(ctx, fetch.Saved, "next", after(time.Hour)))
		stray := one.Key
		stray.UID = "none"
		failed(t, s.Advance(ctx, fetch.Saved, "next", after(time.Hour), one.Key, stray), fault.NotFound, `"invoices"`)
		got(t, one)(s.Entry(ctx, one.Key)) // all or none
		ok(t, s.Advance(ctx, fetch.Saved, "next", after(time.Hour), one.Key, two.Key, other.Key))
		for _, e := range []fetch.Entry{one, two, other} {
			k := e.Key
			e.UID, e.State, e.Reason, e.Run, e.Updated = strings.NewReplacer("\xff\xff", "\uFFFD", "\x00", "\uFFFD").Replace(e.UID), fetch.Saved, "", "next", after(time.Hour)
			got(t, e)(s.Entry(ctx, k))
		}
	})
}

func TestTwins(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		old := entry(1, fetch.Saved)
		old.MessageID = "raw \xff id"
		ok(t, s.PutEntries(ctx, old))
		want := old
		want.MessageID = "raw \uFFFD id"
		got(t, []fetch.Entry{want})(s.Twins(ctx, old.Task, old.Folder, "other", old.Digest))
		none := []fetch.Entry(nil)
		got(t, none)(s.Twins(ctx, old.Task, old.Folder, "other"))
		got(t, none)(s.Twins(ctx, old.Task, old.Folder))
		got(t, none)(s.Twins(ctx, old.Task, "other/INBOX", old.Digest))
		got(t, none)(s.Twins(ctx, "other", old.Folder, old.Digest))
		for _, state := range fetch.States() {
			old.State = state
			ok(t, s.PutEntries(ctx, old))
			twins, err := s.Twins(ctx, old.Task, old.Folder, old.Digest)
			ok(t, err)
			safe := state == fetch.Saved || state == fetch.HandedOver || state == fetch.ActionFailed || state == fetch.Done
			if (len(twins) == 1) != safe {
				t.Errorf("%s: %v", state, twins)
			}
		}
	})
}

// The filters of the ledger, on the same few entries.
func TestEntriesAreChosen(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		one, two, three := entry(1, fetch.Done), entry(2, fetch.Parked), entry(3, fetch.EntryFailed)
		two.Folder, two.Subject, two.Run = "scan/Archive_1", "100% sure", "other"
		three.Folder = "scan/ArchiveX1"
		ok(t, s.PutEntries(ctx, one, two, three))
		for _, tt := range []struct {
			f    fetch.Filter
			want []fetch.Entry
		}{
			{fetch.Filter{}, []fetch.Entry{three, two, one}},
			{fetch.Filter{Limit: 1, After: three.Mark().String()}, []fetch.Entry{two}},
			{fetch.Filter{UID: "1"}, []fetch.Entry{one}},
			{fetch.Filter{Folder: "Archive_1"}, []fetch.Entry{two}},
			{fetch.Filter{States: []fetch.EntryState{fetch.Done, fetch.EntryFailed}}, []fetch.Entry{three, one}},
			{fetch.Filter{Text: "100% SURE"}, []fetch.Entry{two}},
			{fetch.Filter{Text: "a.PDF", Run: "run"}, []fetch.Entry{three, one}},
			{fetch.Filter{Text: "<2@x>"}, []fetch.Entry{two}},
			{fetch.Filter{UID: "1", States: []fetch.EntryState{fetch.Parked}}, nil},
		} {
			tt.f.Task = "invoices"
			got(t, tt.want)(s.Entries(ctx, tt.f))
		}
		ok(t, s.DropEntries(ctx, one.Key, three.Key, entry(9, "").Key))
		got(t, []fetch.Entry{two})(s.Entries(ctx, fetch.Filter{Task: "invoices"}))
	})
}

func TestStopTask(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		failed(t, s.StopTask(ctx, "nothing", "anna", t0), fault.NotFound)
		failed(t, s.StopTask(ctx, "invoices", "anna", t0), fault.Conflict, "not running")
		ok(t, s.LockTask(ctx, "invoices", "me", t0, after(time.Minute)))
		got(t, "")(s.StopWanted(ctx, "invoices"))
		ok(t, s.StopTask(ctx, "invoices", "anna", t0))
		ok(t, s.LockTask(ctx, "invoices", "me", t0, after(2*time.Minute))) // the heartbeat keeps the wish
		got(t, "anna")(s.StopWanted(ctx, "invoices"))
		ok(t, s.UnlockTask(ctx, "invoices", "me"))
		ok(t, s.LockTask(ctx, "invoices", "you", t0, after(time.Minute))) // the next run knows of none
		got(t, "")(s.StopWanted(ctx, "invoices"))
		failed(t, s.StopTask(ctx, "invoices", "anna", after(time.Hour)), fault.Conflict) // whoever had it is gone
	})
}

func TestRuns(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		one := fetch.Run{ID: "1", Task: "invoices", Started: t0}
		two := fetch.Run{ID: "2", Task: "invoices", Started: after(time.Minute), Ended: after(2 * time.Minute), Looked: 4, Saved: 3, Files: 2, Failed: 1, Error: "\xffno", Counts: fetch.Counts{Total: 9, Left: 5, Stopped: "anna"}}
		ok(t, s.PutRun(ctx, one))
		ok(t, s.PutRun(ctx, two))
		two.Error = "\uFFFDno"
		got(t, []fetch.Run{two, one})(s.Runs(ctx, "invoices", 0))
		got(t, []fetch.Run{two})(s.Runs(ctx, "invoices", 1))
		one.Ended, one.Looked = after(time.Hour), 9
		ok(t, s.PutRun(ctx, one))
		got(t, []fetch.Run{two, one})(s.Runs(ctx, "invoices", 2))
		got(t, []fetch.Run(nil))(s.Runs(ctx, "other", 2))

		lines := []fetch.Line{{At: t0, Text: "uid 1 saved"}, {At: after(time.Second), Text: "uid 2 failed"}}
		ok(t, s.PutLines(ctx, "1", 0, lines[0]))
		ok(t, s.PutLines(ctx, "1", 1, lines[1]))
		ok(t, s.PutLines(ctx, "1", 1, lines[1])) // an answer that was lost
		got(t, lines)(s.Lines(ctx, "1"))
		got(t, []fetch.Line(nil))(s.Lines(ctx, "2"))
	})
}
