package fetch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/fault"
)

// desk counts the runs of each account and does nothing else.
type desk struct {
	mu   sync.Mutex
	runs []string
	do   func(ctx context.Context, account string) error
}

func (d *desk) Open(ctx context.Context, account string, _ Protocol) (Source, error) {
	d.mu.Lock()
	d.runs = append(d.runs, account)
	d.mu.Unlock()
	if d.do != nil {
		if err := d.do(ctx, account); err != nil {
			return nil, err
		}
	}
	return &line{p: newPost()}, nil
}

func (d *desk) count(account string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(d.runs), func(a string) bool { return a != account }))
}

// office runs the loop in synthetic time while do looks at it.
func office(t *testing.T, d *desk, change func(*Config), do func(t *testing.T, ledger *memory), tasks ...Task) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		for i := range tasks {
			tasks[i].Handover.Directory = t.TempDir()
			if tasks[i].Name == "" {
				tasks[i].Name = tasks[i].Account
			}
		}
		ledger := newMemory(tasks...)
		cfg := Config{Ledger: ledger, Sources: d, Holder: "node", Pause: time.Second}
		if change != nil {
			change(&cfg)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- New(cfg).Run(ctx) }()
		do(t, ledger)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for name, l := range ledger.locks {
			t.Errorf("%s is still locked by %s", name, l.holder)
		}
	})
}

func every(d time.Duration) Spec { return Spec{Schedule: Schedule{Every: Duration(d)}} }

// pass lets synthetic time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestTasksRunWhenDue(t *testing.T) {
	t.Parallel()
	d := new(desk)
	office(t, d, nil, func(t *testing.T, ledger *memory) {
		pass(31 * time.Minute)
		for account, want := range map[string]int{"often": 7, "seldom": 1, "manual": 0, "disabled": 0} {
			if got := d.count(account); got != want {
				t.Errorf("%s ran %d times, want %d", account, got, want)
			}
		}
		task, _ := ledger.Task(t.Context(), "manual")
		task.Schedule.Every = Duration(time.Hour)
		if err := ledger.PutTask(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		if err := ledger.DeleteTask(t.Context(), "often"); err != nil {
			t.Fatal(err)
		}
		before := d.count("often")
		pass(10 * time.Minute)
		if d.count("manual") != 1 || d.count("often") != before {
			t.Errorf("a change went unnoticed: %v", d.runs)
		}
	}, Task{Account: "often", Spec: every(5 * time.Minute)}, Task{Account: "seldom", Spec: every(time.Hour)},
		Task{Account: "manual"}, Task{Account: "disabled", Spec: every(time.Minute), Disabled: true})
}

func TestABadTaskStopsNoOther(t *testing.T) {
	t.Parallel()
	d := &desk{do: func(_ context.Context, account string) error {
		if account == "bad" {
			return fault.New(fault.NeedsSignIn, "sign in", "no")
		}
		return nil
	}}
	office(t, d, nil, func(t *testing.T, _ *memory) {
		pass(10*time.Minute + time.Second)
		if d.count("bad") != 11 || d.count("good") != 11 {
			t.Errorf("bad %d, good %d", d.count("bad"), d.count("good"))
		}
	}, Task{Account: "bad", Spec: every(time.Minute)}, Task{Account: "good", Spec: every(time.Minute)})
}

func TestThrottledAccountIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := &desk{do: func(context.Context, string) error {
		return &fault.Error{Kind: fault.Throttled, Op: "search", RetryAfter: time.Hour}
	}}
	office(t, d, nil, func(t *testing.T, _ *memory) {
		pass(30 * time.Minute)
		if d.count("one") > 2 { // both tasks may have begun before the first was told
			t.Errorf("%d sign-ins to a throttled mailbox", d.count("one"))
		}
		if d.count("two") != 1 {
			t.Errorf("%d sign-ins to the other mailbox", d.count("two"))
		}
	}, Task{Name: "a", Account: "one", Spec: every(time.Minute)}, Task{Name: "b", Account: "one", Spec: every(time.Minute)},
		Task{Name: "c", Account: "two", Spec: every(time.Minute)})
}

func TestSlowTaskDoesNotOverlapItself(t *testing.T) {
	t.Parallel()
	d := &desk{do: func(ctx context.Context, account string) error {
		if account == "slow" {
			return sleep(ctx, 10*time.Minute)
		}
		return nil
	}}
	office(t, d, nil, func(t *testing.T, ledger *memory) {
		pass(9 * time.Minute) // far beyond the lock's life: the heartbeat holds it
		if d.count("slow") != 1 || d.count("quick") != 10 {
			t.Errorf("slow %d, quick %d", d.count("slow"), d.count("quick"))
		}
		other := New(Config{Ledger: ledger, Sources: d, Holder: "other node"})
		if _, err := other.RunTask(t.Context(), "slow", Options{}); fault.KindOf(err) != fault.Conflict {
			t.Errorf("another node ran it too: %v", err)
		}
	}, Task{Account: "slow", Spec: every(time.Minute)}, Task{Account: "quick", Spec: every(time.Minute)})
}

func TestStopWaitsForRunsUnderWay(t *testing.T) {
	t.Parallel()
	stopped := make(chan struct{})
	d := &desk{do: func(ctx context.Context, _ string) error {
		<-ctx.Done()
		close(stopped)
		return context.Cause(ctx)
	}}
	office(t, d, nil, func(t *testing.T, _ *memory) { pass(time.Minute) }, Task{Account: "slow", Spec: every(time.Minute)})
	select {
	case <-stopped:
	default:
		t.Error("Run returned before its task")
	}
}

func TestNoMoreThanTheWorkers(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, most := 0, 0
	d := &desk{do: func(ctx context.Context, _ string) error {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		err := sleep(ctx, time.Minute)
		mu.Lock()
		now--
		mu.Unlock()
		return err
	}}
	var tasks []Task
	for i := range 7 {
		tasks = append(tasks, Task{Account: fmt.Sprint("task", i), Spec: every(24 * time.Hour)})
	}
	office(t, d, func(c *Config) { c.Workers = 2 }, func(t *testing.T, _ *memory) {
		pass(time.Hour)
		if most != 2 || len(d.runs) != 7 {
			t.Errorf("%d at a time, %d runs", most, len(d.runs))
		}
	}, tasks...)
}

func TestBusyWorkersServeEveryTaskInTurn(t *testing.T) {
	t.Parallel()
	d := &desk{do: func(ctx context.Context, _ string) error { return sleep(ctx, 10*time.Minute) }}
	office(t, d, func(c *Config) { c.Workers = 1 }, func(t *testing.T, _ *memory) {
		pass(65 * time.Minute)
		for _, account := range []string{"a", "b", "c"} {
			if d.count(account) < 2 {
				t.Errorf("%s ran %d times: %v", account, d.count(account), d.runs)
			}
		}
	}, Task{Account: "a", Spec: every(time.Minute)}, Task{Account: "b", Spec: every(time.Minute)}, Task{Account: "c", Spec: every(time.Minute)})
}

// lapsed is a ledger whose locks cannot be extended.
type lapsed struct {
	*memory
	err   error
	asked int
}

func (l *lapsed) LockTask(ctx context.Context, task, holder string, now, until time.Time) error {
	l.mu.Lock()
	l.asked++
	again := l.asked > 1
	l.mu.Unlock()
	if again {
		return l.err
	}
	return l.memory.LockTask(ctx, task, holder, now, until)
}

func TestLostLockEndsTheRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    error
		within time.Duration
	}{
		{"somebody has it", fault.Conflict, time.Minute},
		{"the ledger is away", fault.New(fault.Temporary, "lock", "database is away"), 2 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ledger := &lapsed{memory: newMemory(folderTask("t", t.TempDir())), err: tt.err}
				d := &desk{do: func(ctx context.Context, _ string) error { return sleep(ctx, time.Hour) }}
				start := time.Now()
				_, err := New(Config{Ledger: ledger, Sources: d, Holder: "node"}).RunTask(t.Context(), "t", Options{})
				if fault.KindOf(err) != fault.Temporary || time.Since(start) > tt.within {
					t.Errorf("%v after %s", err, time.Since(start))
				}
			})
		})
	}
}
