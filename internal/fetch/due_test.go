package fetch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestWhenTasksAreDue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		schedule   Schedule
		last, want string
	}{
		{"interval", Schedule{Every: Duration(time.Hour)}, "2026-03-04T05:00:00Z", "2026-03-04T06:00:00Z"},
		{"workdays", Schedule{Cron: "0 6 * * 1-5"}, "2026-03-06T06:00:00Z", "2026-03-09T06:00:00Z"},
		{"daily in a zone", Schedule{Cron: "@daily", Zone: "Europe/Berlin"}, "2026-03-04T12:00:00Z", "2026-03-04T23:00:00Z"},
		{"the hour that is skipped in spring", Schedule{Cron: "30 2 * * *", Zone: "Europe/Berlin"}, "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"},
		{"the day after it", Schedule{Cron: "30 2 * * *", Zone: "Europe/Berlin"}, "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		{"quarters are not moved by it", Schedule{Cron: "*/15 * * * *", Zone: "Europe/Berlin"}, "2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z"},
		{"a midnight that is skipped", Schedule{Cron: "@daily", Zone: "America/Santiago"}, "2026-09-05T12:00:00Z", "2026-09-06T04:00:00Z"},
		{"the midnight after it", Schedule{Cron: "@daily", Zone: "America/Santiago"}, "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"},
		{"half past a midnight that is skipped", Schedule{Cron: "30 0 * * *", Zone: "Africa/Cairo"}, "2026-04-23T12:00:00Z", "2026-04-23T22:30:00Z"},
		{"watched", Schedule{Watch: true}, "2026-03-04T05:00:00Z", "2026-03-04T05:05:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := tt.schedule.check(); err != nil {
				t.Fatal(err)
			}
			got := tt.schedule.Next(at(tt.last))
			if !got.Equal(at(tt.want)) {
				t.Errorf("due %s, want %s", got.UTC(), tt.want)
			}
		})
	}
	if next := (Task{Created: epoch, Spec: Spec{Schedule: Schedule{Cron: "0 6 * * *"}}}).next(time.Time{}); !next.Equal(at("2026-03-04T06:00:00Z")) {
		t.Errorf("the first time: %s", next)
	}
	if !(Schedule{}).Next(epoch).IsZero() {
		t.Error("a task that is run by hand is due")
	}
}

func TestCronRunsOnTime(t *testing.T) {
	t.Parallel()
	d := new(desk)
	task := Task{Account: "hourly", Spec: Spec{Schedule: Schedule{Cron: "0 * * * *"}}}
	task.Created = time.Date(2000, 1, 1, 0, 0, 30, 0, time.UTC) // synthetic time begins a moment earlier
	office(t, d, nil, func(t *testing.T, _ *memory) {
		pass(59 * time.Minute)
		if n := d.count("hourly"); n != 0 {
			t.Errorf("ran %d times before the hour", n)
		}
		pass(3*time.Hour + 2*time.Minute)
		if n := d.count("hourly"); n != 4 {
			t.Errorf("ran %d times in four hours", n)
		}
	}, task)
}

func TestRunSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(desk)
		task := folderTask("t", t.TempDir())
		task.Disabled = true
		f := New(Config{Ledger: newMemory(task), Sources: d, Holder: "node"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		synctest.Wait()
		if err := f.RunSoon(t.Context(), "none"); !errors.Is(err, fault.NotFound) {
			t.Errorf("%v", err)
		}
		must(t, f.RunSoon(t.Context(), "t"))
		synctest.Wait()
		if d.count("a") != 1 {
			t.Errorf("ran %d times at once", d.count("a"))
		}
		pass(time.Hour)
		if d.count("a") != 1 {
			t.Errorf("ran %d times in all", d.count("a"))
		}
		cancel()
		must(t, <-done)
	})
}

// tower is a mailbox that tells when mail arrives.
type tower struct {
	mu      sync.Mutex
	opens   int
	able    bool
	arrived chan struct{}
	broken  error      // what the next watch ends with
	cut     chan error // ends a watch
}

func (w *tower) Open(context.Context, string, Protocol) (Source, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opens++
	return &watchedLine{line{p: newPost()}, w}, nil
}

type watchedLine struct {
	line
	tower *tower
}

func (l *watchedLine) Can() mailbox.Abilities { return mailbox.Abilities{Watch: l.tower.able} }

func (l *watchedLine) Watch(ctx context.Context) error {
	l.tower.mu.Lock()
	err := l.tower.broken
	l.tower.broken = nil
	l.tower.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.tower.arrived:
		return nil
	case err := <-l.tower.cut:
		return err
	}
}

func runsOf(ledger *memory) int {
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	return len(ledger.runs)
}

func TestWatchedTasksRunWhenMailArrives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &tower{able: true, arrived: make(chan struct{}), cut: make(chan error), broken: fault.New(fault.Temporary, "idle", "hung up")}
		task := folderTask("t", t.TempDir())
		task.Schedule = Schedule{Watch: true, Every: Duration(time.Hour)}
		ledger := newMemory(task)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- New(Config{Ledger: ledger, Sources: w, Holder: "node"}).Run(ctx) }()
		pass(2 * watchAgain) // the first run, and a watch that broke and is taken up again
		if n := runsOf(ledger); n != 1 {
			t.Fatalf("%d runs before any mail", n)
		}
		w.arrived <- struct{}{}
		synctest.Wait()
		if n := runsOf(ledger); n != 2 {
			t.Errorf("%d runs after mail arrived", n)
		}
		pass(30 * time.Minute)
		if n := runsOf(ledger); n != 2 {
			t.Errorf("%d runs although nothing happened", n)
		}
		w.cut <- fault.New(fault.Temporary, "idle", "hung up")
		pass(watchAgain + time.Second)
		if n := runsOf(ledger); n != 3 {
			t.Errorf("%d runs after a minute in which nobody watched", n)
		}
		off := task
		off.Disabled = true
		must(t, ledger.PutTask(t.Context(), off))
		pass(time.Minute)
		select {
		case w.arrived <- struct{}{}:
			t.Error("a disabled task is still watched")
		default:
		}
		cancel()
		must(t, <-done)
	})
}

// TestAWatchThatBeginsLooks is for mail that came while no process was there to watch.
func TestAWatchThatBeginsLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		task := folderTask("t", t.TempDir())
		task.Schedule = Schedule{Watch: true, Every: Duration(time.Hour)}
		ledger := newMemory(task)
		for starts := 1; starts <= 3; starts++ {
			w := &tower{able: true, arrived: make(chan struct{})}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- New(Config{Ledger: ledger, Sources: w, Holder: "node"}).Run(ctx) }()
			pass(2 * watchAgain)
			if n := runsOf(ledger); n != starts {
				t.Errorf("%d runs after %d starts", n, starts)
			}
			cancel()
			must(t, <-done)
		}
	})
}

func TestServerThatCannotTellIsPolled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &tower{arrived: make(chan struct{})}
		task := folderTask("t", t.TempDir())
		task.Schedule.Watch = true
		ledger := newMemory(task)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- New(Config{Ledger: ledger, Sources: w, Holder: "node"}).Run(ctx) }()
		pass(31 * time.Minute)
		if n := runsOf(ledger); n != 7 {
			t.Errorf("%d runs in half an hour", n)
		}
		if w.opens != 8 {
			t.Errorf("%d connections: asked again and again whether it can tell", w.opens)
		}
		cancel()
		must(t, <-done)
	})
}

func TestRunThatIsStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ledger := newMemory(folderTask("t", t.TempDir()))
		d := &desk{do: func(ctx context.Context, _ string) error { return sleep(ctx, time.Hour) }}
		f := New(Config{Ledger: ledger, Sources: d, Holder: "node"})
		if err := f.Stop(t.Context(), "t", "anna"); !errors.Is(err, fault.Conflict) {
			t.Errorf("stopping what does not run: %v", err)
		}
		type result struct {
			run Run
			err error
		}
		ended := make(chan result, 1)
		go func() {
			r, err := f.RunTask(t.Context(), "t", Options{})
			ended <- result{r, err}
		}()
		synctest.Wait()
		other := New(Config{Ledger: ledger, Sources: d, Holder: "other node"})
		must(t, other.Stop(t.Context(), "t", "anna"))
		got := <-ended
		if got.err != nil || got.run.Stopped != "anna" || got.run.Ended.IsZero() || len(ledger.locks) != 0 {
			t.Errorf("%+v, %v", got.run, got.err)
		}
	})
}

func TestSchedulesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]Schedule{
		"every: shorter":     {Every: Duration(time.Millisecond)},
		"cron: every is":     {Every: Duration(time.Hour), Cron: "@daily"},
		"five fields":        {Cron: "CRON_TZ=UTC 0 0 * * *"},
		"not five fields":    {Cron: "@every 1h"},
		"allowed: minute":    {Cron: "61 * * * *"},
		"never comes":        {Cron: "0 0 30 2 *"},
		"zone: it is only":   {Zone: "Europe/Berlin"},
		"zone: \"Atlantis\"": {Cron: "@daily", Zone: "Atlantis"},
	} {
		if err := s.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
}
