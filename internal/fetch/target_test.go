package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/handover"
)

// shelf is a target that remembers what it was given, by delivery.
type shelf struct {
	mu    sync.Mutex
	got   map[string]string // by ID: names and contents
	tries int
	lists int // manifests
	check func(content string) error
}

func (s *shelf) Deliver(_ context.Context, d handover.Delivery) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	var content []string
	for _, f := range d.Files {
		b, err := os.ReadFile(f.Path)
		if err != nil {
			return "", err
		}
		content = append(content, f.Name+"="+string(b))
	}
	text := strings.Join(content, " ")
	if s.check != nil {
		if err := s.check(text); err != nil {
			return "", err
		}
	}
	if had, again := s.got[d.ID]; again && had != text {
		return "", fault.New(fault.Permanent, "deliver", "%s was %q and is %q", d.ID, had, text)
	}
	if s.got == nil {
		s.got = make(map[string]string)
	}
	s.got[d.ID] = text
	if d.Manifest != nil {
		s.lists++
	}
	return "taken " + d.ID, nil
}

func (s *shelf) Check(context.Context) error { return nil }
func (s *shelf) Close() error                { return nil }

func (s *shelf) contents() []string {
	var out []string
	for _, c := range s.got {
		out = append(out, c)
	}
	slices.Sort(out)
	return out
}

// targetBench is a bench whose task has a target, alone or behind its directory.
func targetBench(t *testing.T, p *post, s *shelf, alone bool, change func(*Task)) *bench {
	t.Helper()
	b := newBench(t, p, nil)
	b.task.Handover.Webhook = &handover.Webhook{URL: "https://127.0.0.1/hook"}
	if alone {
		b.task.Handover.Directory = ""
	}
	if change != nil {
		change(&b.task)
	}
	b.ledger.tasks[b.task.Name] = b.task
	b.cfg.Spool = t.TempDir()
	b.cfg.Targets = func(context.Context, Task) (handover.Target, error) { return s, nil }
	b.Fetcher = New(b.cfg)
	if err := b.task.Check(); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPowerCutAtEveryStepWithATarget(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{true, false} {
		for _, each := range []Each{EachMessage, EachAttachment} {
			for _, act := range []Act{ActHandedOver, ActSaved} {
				if alone && act == ActSaved {
					continue
				}
				t.Run(fmt.Sprintf("alone=%t/%s/%s", alone, each, act), func(t *testing.T) {
					t.Parallel()
					steps := 0
					for n := 1; cutWithTarget(t, n, alone, each, act) != ""; n++ {
						steps = n
					}
					if steps < 15 {
						t.Fatalf("only %d steps", steps)
					}
				})
			}
		}
	}
}

func cutWithTarget(t *testing.T, n int, alone bool, each Each, act Act) string {
	t.Helper()
	p, s := newPost(message("1", "a.pdf", "alpha", "b.pdf", "beta"), message("2", "a.pdf", "gamma")), &shelf{}
	b := targetBench(t, p, s, alone, func(task *Task) {
		task.After, task.Handover.Each, task.Handover.Act = Action{Move, "Archive"}, each, act
		if alone {
			task.Handover.Act = ""
		}
	})
	cut := b.until(t, n)
	b.revive()
	b.run(t)
	want := []string{"a.pdf=alpha b.pdf=beta", "a.pdf=gamma"}
	if each == EachAttachment {
		want = []string{"a.pdf=alpha", "a.pdf=gamma", "b.pdf=beta"}
	}
	if got := s.contents(); !slices.Equal(got, want) {
		t.Fatalf("cut at step %d (%s): delivered %q, want %q", n, cut, got, want)
	}
	if len(p.moved["Archive"]) != 2 || len(p.inbox) != 0 {
		t.Fatalf("cut at step %d (%s): %d moved, %d left", n, cut, len(p.moved["Archive"]), len(p.inbox))
	}
	for _, e := range b.ledger.find(func(Entry) bool { return true }) {
		if e.State != Done {
			t.Fatalf("cut at step %d (%s): message %s is %s: %s", n, cut, e.UID, e.State, e.Reason)
		}
	}
	tries := s.tries
	b.now = b.now.Add(2 * orphanAge)
	b.run(t)
	if s.tries != tries {
		t.Fatalf("cut at step %d (%s): a settled message was delivered again", n, cut)
	}
	return cut
}

func TestSpoolIsEmptyAfterwards(t *testing.T) {
	t.Parallel()
	p, s := newPost(message("1", "a.pdf", "alpha"), message("2", "b.pdf", "beta")), &shelf{}
	b := targetBench(t, p, s, true, nil)
	if r := b.run(t); r.Saved != 2 || r.Files != 2 || s.lists != 2 {
		t.Errorf("%+v, %d manifests", r, s.lists)
	}
	var left []string
	must(t, filepath.WalkDir(b.cfg.Spool, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			left = append(left, path)
		}
		return err
	}))
	if len(left) != 0 {
		t.Errorf("left in the spool: %q", left)
	}
	for _, e := range b.ledger.find(func(Entry) bool { return true }) {
		if !strings.HasPrefix(e.Receipt, "taken ") {
			t.Errorf("receipt %q", e.Receipt)
		}
	}
}

// A webhook that answers 500 for a day.
func TestTargetThatIsDown(t *testing.T) {
	t.Parallel()
	var raws []string
	for i := range 3*targetDown + groupMessages {
		raws = append(raws, message(fmt.Sprint(i), "a.pdf", fmt.Sprint("content", i)))
	}
	down := true
	s := &shelf{check: func(string) error {
		if down {
			return &fault.Error{Kind: fault.Temporary, Op: "deliver", Err: errors.New("500"), RetryAfter: time.Minute}
		}
		return nil
	}}
	p := newPost(raws...)
	b := targetBench(t, p, s, true, func(task *Task) { task.After = Action{Do: Delete} })
	for range 24 {
		_, err := b.RunTask(t.Context(), b.task.Name, Options{})
		if !errors.Is(err, fault.Temporary) || !errors.Is(err, errTarget) || fault.As(err).RetryAfter != time.Minute {
			t.Fatalf("%v", err)
		}
		b.now = b.now.Add(time.Hour)
	}
	if p.bodies > groupMessages || s.tries != 24*targetDown || p.changes != 0 {
		t.Errorf("%d downloads, %d tries, %d changes", p.bodies, s.tries, p.changes)
	}
	down = false
	b.run(t)
	if len(s.got) != len(raws) || len(p.inbox) != 0 || p.bodies != len(raws) {
		t.Errorf("%d of %d delivered, %d left, %d downloads", len(s.got), len(raws), len(p.inbox), p.bodies)
	}
}

// One message that makes the target fail stops no other, and is parked at last.
func TestMessageThatATargetCannotTake(t *testing.T) {
	t.Parallel()
	for _, kind := range []fault.Kind{fault.Temporary, fault.Permanent} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			s := &shelf{check: func(content string) error {
				if strings.Contains(content, "poison") {
					return fault.New(kind, "deliver", "no")
				}
				return nil
			}}
			p := newPost(message("1", "a.pdf", "poison"), message("2", "b.pdf", "beta"))
			b := targetBench(t, p, s, true, func(task *Task) { task.Failure.Do, task.After = Action{Move, "Bad"}, Action{Do: Delete} })
			for i := range 6 {
				_, _ = b.RunTask(t.Context(), b.task.Name, Options{})
				p.deliver(message(fmt.Sprint("more", i), "c.pdf", "more"), epoch)
			}
			e, err := b.ledger.Entry(t.Context(), Key{b.task.Name, Place(p.address, "INBOX"), 14, "1"})
			if err != nil || e.State != Parked || e.Attempts != defaultTries || len(e.Files) != 0 {
				t.Errorf("%+v, %v", e, err)
			}
			if len(p.moved["Bad"]) != 1 || len(s.got) != 6 {
				t.Errorf("%d moved, %d delivered", len(p.moved["Bad"]), len(s.got))
			}
		})
	}
}

func TestLostSpoolStartsOver(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	p := newPost(message("1", "a.pdf", "alpha"))
	b := targetBench(t, p, s, true, nil)
	down := true
	s.check = func(string) error {
		if down {
			return fault.New(fault.Temporary, "deliver", "away")
		}
		return nil
	}
	_, _ = b.RunTask(t.Context(), b.task.Name, Options{})
	must(t, os.RemoveAll(b.cfg.Spool))
	down = false
	if r := b.run(t); r.Saved != 1 || !slices.Equal(s.contents(), []string{"a.pdf=alpha"}) {
		t.Errorf("%+v, %q", r, s.contents())
	}
}

// The folder has the files; somebody takes them away before the target was told.
func TestFilesTakenBeforeTheTarget(t *testing.T) {
	t.Parallel()
	s := &shelf{check: func(string) error { return fault.New(fault.Temporary, "deliver", "away") }}
	p := newPost(message("1", "a.pdf", "alpha"))
	b := targetBench(t, p, s, false, nil)
	_, _ = b.RunTask(t.Context(), b.task.Name, Options{})
	c := &consumer{dir: b.task.Handover.Directory}
	c.collect(t)
	s.check = nil
	b.run(t)
	e := b.ledger.find(func(Entry) bool { return true })[0]
	if e.State != Parked || !strings.Contains(e.Reason, "taken away") || len(s.got) != 0 {
		t.Errorf("%s: %s; delivered %v", e.State, e.Reason, s.got)
	}
}

// Several messages that make a command fail do not block those behind them.
func TestMessagesThatATargetCannotTakeDoNotBlockIt(t *testing.T) {
	t.Parallel()
	s := &shelf{check: func(content string) error {
		if strings.Contains(content, "poison") {
			return fault.New(fault.Temporary, "deliver", "exit code 1")
		}
		return nil
	}}
	p := newPost()
	for i := range targetDown + 1 {
		p.deliver(message(fmt.Sprint("p", i), "a.pdf", fmt.Sprint("poison", i)), epoch)
	}
	b := targetBench(t, p, s, true, nil)
	for i := range 3 * defaultTries {
		_, _ = b.RunTask(t.Context(), b.task.Name, Options{})
		p.deliver(message(fmt.Sprint("good", i), "b.pdf", fmt.Sprint("good", i)), epoch)
		b.now = b.now.Add(time.Minute)
	}
	b.run(t)
	if len(s.got) != 3*defaultTries {
		t.Errorf("%d of %d good messages delivered", len(s.got), 3*defaultTries)
	}
	parked := b.ledger.find(func(e Entry) bool { return e.State == Parked })
	if len(parked) != targetDown+1 {
		t.Errorf("%d parked", len(parked))
	}
}
