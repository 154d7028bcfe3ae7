package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
)

func TestSecondRunDownloadsNothing(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"), message("2"), message("3", "b.pdf", "beta"))
	b := newBench(t, p, nil)
	r := b.run(t)
	if r.Looked != 3 || r.Saved != 2 || r.Files != 2 || r.Failed != 0 {
		t.Errorf("first run: %+v", r)
	}
	bodies := p.bodies
	if r := b.run(t); r.Looked != 0 || p.bodies != bodies {
		t.Errorf("second run: %+v, %d more downloads", r, p.bodies-bodies)
	}
	if p.changes != 0 {
		t.Errorf("the mailbox was changed %d times by a task that leaves it", p.changes)
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		after             Deed
		seen, gone, moved bool
	}{{Nothing, false, false, false}, {MarkRead, true, false, false}, {Move, false, true, true}, {Delete, false, true, false}} {
		t.Run(string(tt.after), func(t *testing.T) {
			t.Parallel()
			p := newPost(message("1", "a.pdf", "alpha"), message("2"))
			b := newBench(t, p, func(task *Task) { task.After = action(tt.after) })
			b.run(t)
			m := p.inbox["1"]
			if (m == nil) != tt.gone || (m != nil && m.seen) != tt.seen || (len(p.moved["Archive"]) == 1) != tt.moved {
				t.Errorf("message: %+v, moved: %d", m, len(p.moved["Archive"]))
			}
			if other := p.inbox["2"]; other == nil || other.seen {
				t.Error("a message without attachments was touched")
			}
		})
	}
}

func TestWhichMessages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Task)
		want   int
	}{
		{"all", func(*Task) {}, 3},
		{"unread", func(task *Task) { task.Source.Which = Unread }, 2},
		{"new", func(task *Task) { task.Source.Start, task.Created = StartNew, epoch.Add(400*time.Millisecond) }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost()
			p.deliver(message("1", "a.pdf", "alpha"), epoch.Add(-time.Second))
			p.deliver(message("2", "b.pdf", "beta"), epoch)
			p.deliver(message("3", "c.pdf", "gamma"), epoch.Add(time.Hour))
			p.inbox["3"].seen = true
			b := newBench(t, p, tt.change)
			if r := b.run(t); r.Saved != tt.want || p.bodies != tt.want {
				t.Errorf("saved %d with %d downloads, want %d", r.Saved, p.bodies, tt.want)
			}
		})
	}
}

func TestDryRunTouchesNothing(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "../../a.pdf", "alpha", "CON", "beta"), message("2"))
	b := newBench(t, p, func(task *Task) { task.After = Action{Do: Delete} })
	var events []Event
	r, err := b.RunTask(t.Context(), b.task.Name, Options{DryRun: true, Progress: func(e Event) { events = append(events, e) }})
	if err != nil || r.Saved != 1 || r.Files != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	if len(events) != 2 || events[0].Files[0].Name != "a.pdf" || events[0].Files[1].Name != "_CON" || events[0].Files[0].Size != 5 || events[1].State != NoMatch {
		t.Errorf("events: %+v", events)
	}
	if names := snapshot(t, b.task.Handover.Directory); len(names) != 0 {
		t.Errorf("files: %q", names)
	}
	if len(b.ledger.entries)+len(b.ledger.runs)+len(b.ledger.locks)+p.changes != 0 {
		t.Error("the ledger or the mailbox was changed")
	}
}

func TestBrokenConnectionsAreResumed(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"), message("2", "b.pdf", strings.Repeat("b", 4000)), message("3", "c.pdf", "gamma"))
	p.cutAfter, p.cuts = 900, 1
	b := newBench(t, p, func(task *Task) { task.After = Action{Move, "Archive"} })
	r := b.run(t)
	if r.Looked != 3 || r.Total != 3 || r.Saved != 3 || r.Failed != 0 || p.opens < 2 || len(p.moved["Archive"]) != 3 {
		t.Errorf("%+v, %d connections, %d moved", r, p.opens, len(p.moved["Archive"]))
	}
	if names := snapshot(t, b.task.Handover.Directory); len(names) != 7 { // 3 files, 3 manifests, the anchor
		t.Errorf("files: %q", names)
	}
}

func TestAMessageThatBreaksConnectionsIsParkedAtLast(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"), message("2", "b.pdf", "beta"))
	p.fail = func(op string, uid string) error {
		if op == "body" && uid == "1" {
			return fault.New(fault.Temporary, op, "connection reset")
		}
		return nil
	}
	b := newBench(t, p, nil)
	for i, want := range []EntryState{EntryFailed, EntryFailed, Parked, Parked} {
		b.run(t)
		e, err := b.ledger.Entry(t.Context(), Key{b.task.Name, Place(p.address, "INBOX"), 14, "1"})
		if err != nil || e.State != want || e.Reason == "" {
			t.Fatalf("run %d: %+v, %v; want %s", i+1, e, err, want)
		}
	}
	if e, err := b.ledger.Entry(t.Context(), Key{b.task.Name, Place(p.address, "INBOX"), 14, "2"}); err != nil || e.State != Done {
		t.Errorf("the message behind it: %+v, %v", e, err)
	}
}

func TestWhatEndsARun(t *testing.T) {
	t.Parallel()
	throttled := &fault.Error{Kind: fault.Throttled, Op: "search", RetryAfter: time.Minute}
	for _, tt := range []struct {
		name  string
		op    string
		err   error
		kind  fault.Kind
		opens int
	}{
		{"throttled", "search", throttled, fault.Throttled, 1},
		{"throttled in a body", "body", throttled, fault.Throttled, 1},
		{"grant gone", "open", fault.New(fault.NeedsSignIn, "sign in", "no"), fault.NeedsSignIn, 1},
		{"server away", "open", fault.New(fault.Temporary, "connect", "refused"), fault.Temporary, 1 + maxReconnects},
		{"no folder", "search", fault.New(fault.NotFound, "examine", "no such folder"), fault.NotFound, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost(message("1", "a.pdf", "alpha"))
			p.fail = func(op string, _ string) error {
				if op == tt.op {
					return tt.err
				}
				return nil
			}
			b := newBench(t, p, nil)
			r, err := b.RunTask(t.Context(), b.task.Name, Options{})
			if fault.KindOf(err) != tt.kind || p.opens != tt.opens || r.Error == "" {
				t.Errorf("%v (%s), %d connections, recorded %q", err, fault.KindOf(err), p.opens, r.Error)
			}
			if len(b.ledger.entries) != 0 || len(b.ledger.locks) != 0 {
				t.Errorf("entries %v, locks %v", b.ledger.entries, b.ledger.locks)
			}
			p.fail = nil
			if r := b.run(t); r.Saved != 1 {
				t.Errorf("afterwards: %+v", r)
			}
		})
	}
}

func TestRefusedActionDoesNotStopFetching(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"))
	refuse := true
	p.fail = func(op string, _ string) error {
		if op == "mark" && refuse {
			return fault.New(fault.NeedsAdmin, "store", "read-only folder")
		}
		return nil
	}
	b := newBench(t, p, func(task *Task) { task.After = Action{Do: MarkRead} })
	for range 2 {
		if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, fault.NeedsAdmin) {
			t.Fatalf("a refused action goes unsaid: %v", err)
		}
		p.deliver(message("2", "b.pdf", "beta"), epoch)
	}
	bodies := p.bodies
	refuse = false
	b.run(t)
	for _, e := range b.ledger.find(func(Entry) bool { return true }) {
		if e.State != Done || !p.inbox[e.UID].seen {
			t.Errorf("message %s is %s", e.UID, e.State)
		}
	}
	if p.bodies != bodies+1 {
		t.Errorf("%d downloads for one new message", p.bodies-bodies)
	}
}

// A message that the server will not move is no reason to leave the others where they are,
// nor to read no more. A server that moves none is not asked about each of them.
func TestOneMessageThatIsNotMoved(t *testing.T) {
	t.Parallel()
	no := func(kind fault.Kind, code string) error {
		return &fault.Error{Kind: kind, Op: "imap MOVE", Reply: &fault.Reply{Protocol: "imap", Code: code, Text: "Server Unavailable. 15"}}
	}
	for name, refusal := range map[string]error{"no": no(fault.Temporary, "NO"), "cannot": no(fault.Permanent, "NO")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const count = 40
			p := newPost()
			for i := range count {
				p.deliver(message(fmt.Sprint(i), "a.pdf", fmt.Sprint("content ", i)), epoch)
			}
			bad := map[string]bool{"17": true, "18": true}
			p.fail = func(op, uid string) error {
				if op == "move" && bad[uid] {
					return refusal
				}
				return nil
			}
			b := newBench(t, p, func(task *Task) { task.After = Action{Move, "Archive"} })
			_, err := b.RunTask(t.Context(), b.task.Name, Options{})
			if !errors.Is(err, refusal) || len(p.moved["Archive"]) != count-len(bad) {
				t.Errorf("%d moved: %v", len(p.moved["Archive"]), err)
			}
			p.deliver(message("new", "a.pdf", "new"), epoch)
			if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, refusal) {
				t.Errorf("%v", err)
			}
			if left := b.ledger.find(func(e Entry) bool { return e.State != Done }); len(left) != len(bad) || left[0].State != ActionFailed || len(p.inbox) != len(bad) || p.bodies != count+1 {
				t.Errorf("%d downloads, left %+v", p.bodies, left)
			}
			bad = nil
			if b.run(t); len(p.inbox) != 0 {
				t.Errorf("%d are left when the server moves them", len(p.inbox))
			}
			for i := range count {
				uid := p.deliver(message(fmt.Sprint("second ", i), "a.pdf", fmt.Sprint("second ", i)), epoch)
				if bad == nil {
					bad = map[string]bool{}
				}
				bad[uid] = true
			}
			before := p.changes
			if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, refusal) || p.changes-before > 30 {
				t.Errorf("a server that moves none was asked %d times: %v", p.changes-before, err)
			}
		})
	}
}

func TestMissingTargetStopsBeforeTheFirstDownload(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"))
	b := newBench(t, p, func(task *Task) { task.After = Action{Move, "Nowhere"} })
	_, err := b.RunTask(t.Context(), b.task.Name, Options{})
	if !errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "" || p.bodies != 0 {
		t.Errorf("%v, %d downloads", err, p.bodies)
	}
}

func TestRenumberedFolder(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"), message("2", "b.pdf", "beta"))
	b := newBench(t, p, func(task *Task) { task.After = Action{Do: MarkRead} })
	b.run(t)
	p.validity = 15
	p.inbox = map[string]*letter{"7": {raw: message("1", "a.pdf", "alpha"), arrived: epoch}, "8": {raw: message("3", "a.pdf", "gamma"), arrived: epoch}}
	b.run(t)
	c := &consumer{dir: b.task.Handover.Directory}
	c.collect(t)
	slices.Sort(c.contents)
	if !slices.Equal(c.contents, []string{"alpha", "beta", "gamma"}) {
		t.Errorf("handed over %q", c.contents)
	}
	if !p.inbox["7"].seen || !p.inbox["8"].seen {
		t.Error("the action is missing under the new numbers")
	}
}

func TestAnotherMailboxIsAnotherMemory(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"))
	b := newBench(t, p, nil)
	b.run(t)
	b.task.Account = "other@contoso.com"
	if err := b.ledger.PutTask(t.Context(), b.task); err != nil {
		t.Fatal(err)
	}
	if r := b.run(t); r.Looked != 0 {
		t.Errorf("the same mailbox under another account was read again: %+v", r)
	}
	p.address = b.task.Account
	p.inbox["1"].raw = message("9", "z.pdf", "omega")
	if r := b.run(t); r.Saved != 1 {
		t.Errorf("UID 1 of another mailbox was taken for the one known: %+v", r)
	}
}

func TestDirectoryTrouble(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		hurt func(t *testing.T, dir string)
	}{
		{"missing", func(t *testing.T, dir string) { must(t, os.Remove(dir)) }},
		{"a file", func(t *testing.T, dir string) { must(t, os.Remove(dir)); must(t, os.WriteFile(dir, nil, 0o600)) }},
		{"not writable", func(t *testing.T, dir string) {
			if os.Getuid() == 0 {
				t.Skip("root may write anywhere")
			}
			must(t, os.Chmod(dir, 0o500))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost(message("1", "a.pdf", "alpha"))
			b := newBench(t, p, func(task *Task) { task.After = Action{Do: Delete} })
			tt.hurt(t, b.task.Handover.Directory)
			_, err := b.RunTask(t.Context(), b.task.Name, Options{})
			if !errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "" {
				t.Errorf("%v (%s)", err, fault.KindOf(err))
			}
			if p.changes != 0 || p.inbox["1"] == nil || len(b.ledger.entries) != 0 {
				t.Error("the mailbox or the ledger was changed")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryVanishesBetweenMessages(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"), message("2", "b.pdf", "beta"))
	b := newBench(t, p, func(task *Task) { task.After = Action{Do: Delete} })
	p.fail = func(op string, uid string) error {
		if op == "body" && uid == "2" {
			return os.Rename(b.task.Handover.Directory, b.task.Handover.Directory+"-aside")
		}
		return nil
	}
	if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, fault.NeedsAdmin) {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
	if p.changes != 0 {
		t.Error("the mailbox was changed")
	}
	must(t, os.Rename(b.task.Handover.Directory+"-aside", b.task.Handover.Directory))
	p.fail = nil
	b.run(t)
	c := &consumer{dir: b.task.Handover.Directory}
	c.collect(t)
	slices.Sort(c.contents)
	if !slices.Equal(c.contents, []string{"alpha", "beta"}) || len(p.inbox) != 0 {
		t.Errorf("handed over %q, %d messages left", c.contents, len(p.inbox))
	}
}

func TestFailingLedgerLeavesTheMailAlone(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"))
	b := newBench(t, p, func(task *Task) { task.After = Action{Do: Delete} })
	b.ledger.broken = fault.New(fault.Temporary, "put entries", "disk full")
	if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); err == nil {
		t.Fatal("no error")
	}
	if p.changes != 0 || exists(b.task.Handover.Directory, "a.pdf") {
		t.Error("went on without the ledger")
	}
}

func TestOneRunAtATime(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"))
	b := newBench(t, p, nil)
	var inner error
	p.fail = func(op string, _ string) error {
		if op == "body" {
			p.mu.Unlock()
			_, inner = b.RunTask(t.Context(), b.task.Name, Options{})
			p.mu.Lock()
		}
		return nil
	}
	b.run(t)
	if !errors.Is(inner, fault.Conflict) {
		t.Errorf("a second run beside the first: %v", inner)
	}
}

func TestCancelledRunIsResumed(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"), message("2", "b.pdf", "beta"))
	b := newBench(t, p, nil)
	ctx, cancel := context.WithCancel(t.Context())
	p.fail = func(op string, uid string) error {
		if op == "body" && uid == "2" {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	if _, err := b.RunTask(ctx, b.task.Name, Options{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(b.ledger.locks) != 0 || b.ledger.runs[0].Ended.IsZero() {
		t.Errorf("locks %v, run %+v", b.ledger.locks, b.ledger.runs[0])
	}
	p.fail = nil
	if r := b.run(t); r.Looked != 2 || r.Saved != 2 {
		t.Errorf("%+v", r)
	}
}

func TestManyMessages(t *testing.T) {
	t.Parallel()
	const count = 3*groupMessages + 7
	var raws []string
	for i := range count {
		raws = append(raws, message(fmt.Sprint(i), "same name.pdf", fmt.Sprint("content ", i)))
	}
	p := newPost(raws...)
	b := newBench(t, p, func(task *Task) { task.After = Action{Move, "Archive"} })
	if r := b.run(t); r.Saved != count {
		t.Fatalf("%+v", r)
	}
	seen := make(map[string]bool)
	files, err := filepath.Glob(filepath.Join(b.task.Handover.Directory, "same name*.pdf"))
	must(t, err)
	for _, f := range files {
		body, err := os.ReadFile(f)
		must(t, err)
		seen[string(body)] = true
	}
	if len(seen) != count {
		t.Errorf("%d different files of %d", len(seen), count)
	}
}

// Headers are asked for where they decide, and of what a person will have to look at.
func TestHeadersThatMatter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Task)
		fail   string // the UID whose text the server does not give
		runs   int
		headed int
		parked string // UID of the entry that has a subject all the same
	}{
		"none":           {func(*Task) {}, "", 1, 0, ""},
		"a rule by them": {func(task *Task) { task.Rules = []Rule{{Match: Match{Subject: pattern(t, "Invoice*")}}} }, "", 1, 2, ""},
		"too large":      {func(task *Task) { task.Limits.Message = 1000 }, "", 1, 1, "2"},
		"failed before":  {func(*Task) {}, "2", 2, 1, "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(message("1", "a.pdf", "alpha"), message("2", "b.pdf", strings.Repeat("beta", 1000)))
			p.fail = func(op, uid string) error {
				if op == "text" && uid == c.fail {
					return fault.New(fault.Permanent, op, "no text")
				}
				return nil
			}
			b := newBench(t, p, c.change)
			for range c.runs {
				b.run(t)
			}
			if p.headed != c.headed {
				t.Errorf("%d headers asked for, want %d", p.headed, c.headed)
			}
			if c.parked == "" {
				return
			}
			e, err := b.ledger.Entry(t.Context(), Key{b.task.Name, Place(p.address, "INBOX"), 14, c.parked})
			if err != nil || e.About.Subject == "" || e.State == Done {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

// Messages are committed while the server sends the next ones, where nothing is to be
// done in the mailbox; else each group is dealt with before another is asked for.
func TestCommitsWhileMoreComes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after  Action
		breaks bool
		asked  int // for bodies, at most
	}{
		"nothing to do":       {Action{}, false, 2},
		"messages to move":    {Action{Move, "Archive"}, false, groupsAhead + 1},
		"a broken connection": {Action{}, true, groupMessages + 3}, // whose fault it was is found out one by one
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const count = groupsAhead*groupMessages + 7
			p := newPost()
			for i := range count {
				p.deliver(message(fmt.Sprint(i), fmt.Sprint(i, ".pdf"), fmt.Sprint("content ", i)), epoch)
			}
			b := newBench(t, p, func(task *Task) { task.After = c.after })
			saved := func() int {
				files, err := filepath.Glob(filepath.Join(b.task.Handover.Directory, "*.pdf"))
				must(t, err)
				return len(files)
			}
			looked := false
			p.fail = func(op, uid string) error {
				if op != "body" || uid != fmt.Sprint(groupMessages+50) || looked {
					return nil
				}
				looked = true
				for began := time.Now(); saved() != groupMessages; time.Sleep(time.Millisecond) {
					if time.Since(began) > 20*time.Second {
						t.Errorf("%d files are there while more comes", saved())
						return nil
					}
				}
				if c.breaks {
					return fault.New(fault.Temporary, op, "connection reset")
				}
				return nil
			}
			if r := b.run(t); r.Saved != count || r.Failed != 0 || saved() != count || !looked {
				t.Errorf("%+v; %d files", r, saved())
			}
			if p.asked > c.asked {
				t.Errorf("asked %d times for bodies, want %d at most", p.asked, c.asked)
			}
		})
	}
}

// When a commit fails that is under way while more is read, the run ends with its error;
// of what was read meanwhile nothing stays.
func TestCommitFailsWhileMoreComes(t *testing.T) {
	t.Parallel()
	p := newPost()
	for i := range groupsAhead * groupMessages {
		p.deliver(message(fmt.Sprint(i), fmt.Sprint(i, ".pdf"), fmt.Sprint("content ", i)), epoch)
	}
	b := newBench(t, p, nil)
	whole := b.Fetcher
	cfg := b.cfg
	cfg.Ledger = &brittle{b.ledger, 1}
	b.Fetcher = New(cfg)
	if r, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, errBrittle) || r.Saved != groupMessages {
		t.Errorf("%+v, %v", r, err)
	}
	staged, err := filepath.Glob(filepath.Join(b.task.Handover.Directory, stagingPrefix+"*"+stagingSuffix))
	must(t, err)
	if len(staged) != 2*groupMessages { // files and manifests: their promise may have been kept
		t.Errorf("%d files stay staged", len(staged))
	}
	b.Fetcher = whole
	if r := b.run(t); r.Saved != (groupsAhead-1)*groupMessages || r.Failed != 0 {
		t.Errorf("%+v", r)
	}
}

// An account may be given another mailbox while its task stays. Servers number the
// folders of both alike.
func TestAnotherMailboxUnderTheSameAccount(t *testing.T) {
	t.Parallel()
	first, second := newPost(message("1", "a.pdf", "alpha")), newPost(message("2", "b.pdf", "beta"))
	second.address = "other@contoso.com"
	b := newBench(t, first, func(task *Task) { task.After = Action{Move, "Done"} })
	first.fail = func(op string, _ string) error {
		if op == "move" {
			return fault.New(fault.NeedsAdmin, op, "not now")
		}
		return nil
	}
	if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, fault.NeedsAdmin) {
		t.Fatalf("the move should stay owed: %v", err)
	}
	b.cfg.Sources = second
	b.run(t)
	names := strings.Join(snapshot(t, b.task.Handover.Directory), " ")
	if !strings.Contains(names, "a.pdf") || !strings.Contains(names, "b.pdf") {
		t.Errorf("files: %s", names)
	}
}
