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

// Every way to go through the ledger in pages comes to the same: nothing twice, nothing
// left out, the newest first; also where many entries changed at the same moment.
func TestTheLedgerIsPaged(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		more, err := s.Task(ctx, "invoices")
		ok(t, err)
		more.Name = "letters"
		ok(t, s.PutTask(ctx, more))
		var all []fetch.Entry
		for i := range 60 {
			e := entry(1, fetch.States()[i%len(fetch.States())])
			e.Task, e.UID, e.Updated = []string{"invoices", "letters"}[i%2], fmt.Sprint(i), e.Updated.Add(time.Duration(i/7)*time.Millisecond)
			e.Subject = []string{"an offer", "an invoice"}[min(i%5, 1)]
			all = append(all, e)
		}
		for _, task := range []string{"invoices", "letters"} {
			ok(t, s.PutEntries(ctx, slices.DeleteFunc(slices.Clone(all), func(e fetch.Entry) bool { return e.Task != task })...))
		}
		for _, f := range []fetch.Filter{
			{},
			{Task: "letters"},
			{Task: "invoices", States: []fetch.EntryState{fetch.Parked, fetch.Done}},
			{States: []fetch.EntryState{fetch.Parked, fetch.EntryFailed}},
			{Text: "OFFER"},
			{Task: "letters", Text: "offer", States: []fetch.EntryState{fetch.Done, fetch.Seen, fetch.Saved}},
			{Task: "letters", Text: "nowhere"},
		} {
			want := func(e fetch.Entry) bool {
				return (f.Task == "" || e.Task == f.Task) && (len(f.States) == 0 || slices.Contains(f.States, e.State)) &&
					(f.Text == "" || f.Text != "nowhere" && e.Subject == "an offer")
			}
			for _, limit := range []int{1, 7, 100} {
				for _, patience := range []time.Duration{0, time.Hour} {
					seen := pages(t, s, f, limit, patience)
					if n := len(slices.DeleteFunc(slices.Clone(all), func(e fetch.Entry) bool { return !want(e) })); n != len(seen) {
						t.Errorf("%s %v by %d: %d entries, want %d", f.Task, f, limit, len(seen), n)
					}
					if !slices.IsSortedFunc(seen, func(a, b fetch.Entry) int { return b.Updated.Compare(a.Updated) }) || slices.ContainsFunc(seen, func(e fetch.Entry) bool { return !want(e) }) {
						t.Errorf("%s %v by %d: %v", f.Task, f, limit, seen)
					}
				}
			}
		}
		_, _, err = s.SearchEntries(ctx, fetch.Filter{After: "nonsense"}, 0)
		failed(t, err, fault.Invalid)
	})
}

// pages goes through a listing to its end; no entry may come twice.
func pages(t *testing.T, s *store.Store, f fetch.Filter, limit int, patience time.Duration) (seen []fetch.Entry) {
	t.Helper()
	keys := map[fetch.Key]bool{}
	for f.Limit = limit; ; {
		found, next, err := s.SearchEntriesBy(t.Context(), f, patience, 5)
		ok(t, err)
		if len(found) > limit {
			t.Fatalf("%d on a page of %d", len(found), limit)
		}
		for _, e := range found {
			if keys[e.Key] {
				t.Fatalf("%v came twice", e.Key)
			}
			keys[e.Key] = true
		}
		seen = append(seen, found...)
		if f.After = next; next == "" {
			return seen
		}
	}
}

func TestStandings(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx, now := t.Context(), time.Now()
		first, err := s.Standings(ctx, now, "")
		ok(t, err)
		if len(first) != 1 || first[0].Task.Name != "invoices" || first[0].Running || first[0].Last.ID != "" || first[0].Parked != 0 {
			t.Fatalf("before: %+v", first)
		}
		ok(t, s.PutEntries(ctx, entry(1, fetch.Parked), entry(2, fetch.Parked), entry(3, fetch.EntryFailed), entry(4, fetch.ActionFailed), entry(5, fetch.Done)))
		for i, id := range []string{"one", "two"} {
			ok(t, s.PutRun(ctx, fetch.Run{ID: id, Task: "invoices", Started: now.Add(time.Duration(i) * time.Minute).Truncate(time.Millisecond), Looked: i}))
		}
		ok(t, s.LockTask(ctx, "invoices", "me", now, now.Add(time.Minute)))
		got, err := s.Standings(ctx, now, "invoices")
		ok(t, err)
		if len(got) != 1 || !got[0].Running || got[0].Last.ID != "two" || got[0].Parked != 2 || got[0].Failed != 1 || got[0].ActionFailed != 1 {
			t.Errorf("now: %+v", got)
		}
		later, err := s.Standings(ctx, now.Add(2*time.Minute), "nobody")
		ok(t, err)
		if len(later) != 0 {
			t.Errorf("nobody: %+v", later)
		}
		run, err := s.Run(ctx, "invoices", "two")
		ok(t, err)
		if run.Looked != 1 {
			t.Errorf("run: %+v", run)
		}
		_, err = s.Run(ctx, "letters", "two")
		failed(t, err, fault.NotFound)
	})
}

// A run looks for what is unfinished several times: that must not take as long as the
// task's ledger is.
func TestUnfinishedEntriesAreFoundByAnIndex(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		if d.name != "sqlite" {
			t.Skip("PostgreSQL reads a small table whole whatever there is")
		}
		ok(t, opened(t, d).Close())
		db, err := d.raw()
		ok(t, err)
		defer db.Close()
		rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+store.UnfinishedQuery, "invoices")
		ok(t, err)
		defer rows.Close()
		var plan string
		for rows.Next() {
			var id, parent, unused int
			var step string
			ok(t, rows.Scan(&id, &parent, &unused, &step))
			plan += step + "\n"
		}
		ok(t, rows.Err())
		if !strings.Contains(plan, "entries_state (task=? AND state=?)") {
			t.Errorf("it goes another way:\n%s", plan)
		}
	})
}

// A word is looked for where it is said to be, whatever letters it has; nothing else of
// an entry is: somebody forgets what a search found.
func TestTheLedgerIsSearched(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		for i, subject := range []string{"Überweisung März", `R&D "quoted" <x>`, `back\slash`, "100% sure_thing", "日本語"} {
			e := entry(uint32(i+1), fetch.Done) //nolint:gosec // five
			e.Subject, e.Folder = subject, []string{"scan/Archive", "scan/Old/Archive"}[i%2]
			e.Files[0].Original, e.Senders = "ÄRGER & <co>.pdf", []string{"Ärzte@fabrikam.com"}
			ok(t, s.PutEntries(ctx, e))
		}
		for text, want := range map[string]int{
			"Überweisung": 1, "überWEISUNG": 1, "MÄRZ": 1, "R&D": 1, `"QUOTED"`: 1, "<x>": 1, `back\slash`: 1, "100%": 1, "sure_t": 1, "surest": 0, "本": 1,
			"ärger & <CO>.pdf": 5, "a.PDF": 5, "anna <ANNA@": 5, "ärzte@": 5, "<3@X>": 1,
			"subject": 0, "sha256": 0, "content_type": 0, "application/pdf": 0, "in@contoso.com": 0, ".postern": 0, "%": 1,
		} {
			for _, limit := range []int{1, 100} {
				if n := len(pages(t, s, fetch.Filter{Task: "invoices", Text: text}, limit, time.Hour)); n != want {
					t.Errorf("%q by %d: %d entries, want %d", text, limit, n, want)
				}
			}
		}
		inbox := entry(9, fetch.Done)
		ok(t, s.PutEntries(ctx, inbox))
		for folder, want := range map[string]int{"inbox": 1, "INBOX": 1, inbox.Folder: 1, "Archive": 3, "Old/Archive": 2, "scan/Archive": 3, "scan/Old/Archive": 2, "chive": 0, "Old": 0, "archive": 0} {
			if n := len(pages(t, s, fetch.Filter{Task: "invoices", Folder: folder}, 100, time.Hour)); n != want {
				t.Errorf("folder %s: %d entries, want %d", folder, n, want)
			}
		}
	})
}
