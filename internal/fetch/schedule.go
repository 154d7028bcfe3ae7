package fetch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"postern/internal/fault"
)

// schedule is what the loop remembers between looks at the ledger.
type schedule struct {
	*Fetcher
	running sync.WaitGroup
	slots   chan struct{}

	mu      sync.Mutex
	busy    map[string]bool
	hold    map[string]time.Time // by account: a server asked for patience; by task: its target did
	watched map[string]*watch    // by task
}

// Run runs tasks as they become due until ctx ends, then waits for those under way,
// which stop at their next step and are resumed later. When a task is due is read
// from its last run in the ledger, so nodes and restarts do not run it twice in an
// interval. Tasks that are added, changed, disabled or deleted are noticed within
// Config.Poll. A failing task is logged and stops no other.
func (f *Fetcher) Run(ctx context.Context) error {
	s := &schedule{
		Fetcher: f,
		slots:   make(chan struct{}, f.cfg.Workers),
		busy:    make(map[string]bool),
		hold:    make(map[string]time.Time),
		watched: make(map[string]*watch),
	}
	defer s.running.Wait()
	for {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Log.ErrorContext(ctx, "tasks_unknown", "error", err)
		}
		tick := time.NewTimer(f.cfg.Poll)
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-s.news:
			tick.Stop()
		case <-tick.C:
		}
	}
}

// look starts the tasks that are due, those first that waited longest, as far as
// there are free slots.
func (s *schedule) look(ctx context.Context) error {
	tasks, err := s.cfg.Ledger.Tasks(ctx)
	if err != nil {
		return ledgerError(err)
	}
	s.watchOver(ctx, tasks)
	last := make(map[string]time.Time, len(tasks))
	var due []Task
	for _, t := range tasks {
		started, wait, err := s.due(ctx, t)
		if err != nil {
			return err
		}
		if !wait {
			last[t.Name] = started
			due = append(due, t)
		}
	}
	slices.SortStableFunc(due, func(a, b Task) int { return last[a.Name].Compare(last[b.Name]) })
	for _, t := range due {
		select {
		case s.slots <- struct{}{}:
			s.answered(t.Name)
			s.start(ctx, t)
		default:
			return nil // the rest is as due at the next look
		}
	}
	return nil
}

// due tells when a task last ran and whether it must wait now.
func (s *schedule) due(ctx context.Context, t Task) (started time.Time, wait bool, err error) {
	now := s.cfg.Now()
	s.mu.Lock()
	wait = s.busy[t.Name] || now.Before(s.hold[t.Account]) || now.Before(s.hold[taskHold(t)])
	s.mu.Unlock()
	if wait {
		return time.Time{}, true, nil
	}
	if s.isAsked(t.Name) {
		return time.Time{}, false, nil
	}
	if t.Disabled || t.Schedule.manual() {
		return time.Time{}, true, nil
	}
	last, err := s.cfg.Ledger.Runs(ctx, t.Name, 1)
	if err != nil {
		return time.Time{}, false, ledgerError(err)
	}
	if len(last) > 0 {
		started = last[0].Started
	}
	return started, !s.woken(t.Name) && now.Before(t.next(started)), nil
}

// taskHold is what a task's own patience is kept under; account names have no NUL.
func taskHold(t Task) string { return "\x00" + t.Name }

// next is when a task is due that last ran at a time, zero for never: at once then, or
// when its expression says so for the first time.
func (t Task) next(last time.Time) time.Time {
	if last.IsZero() {
		if t.Schedule.Cron == "" {
			return last
		}
		last = t.Created
	}
	return t.Schedule.Next(last)
}

func (s *schedule) start(ctx context.Context, t Task) {
	s.mu.Lock()
	s.busy[t.Name] = true
	s.mu.Unlock()
	s.running.Go(func() {
		rec, err := s.RunTask(ctx, t.Name, Options{})
		s.note(ctx, t, rec, err)
		s.mu.Lock()
		delete(s.busy, t.Name)
		s.mu.Unlock()
		<-s.slots
	})
}

// note logs how a run ended, and keeps the whole account quiet for as long as the
// server asked.
func (s *schedule) note(ctx context.Context, t Task, rec Run, err error) {
	switch {
	case err == nil:
		s.cfg.Log.InfoContext(ctx, "task_run", "task", t.Name, "run", rec.ID,
			"looked", rec.Looked, "saved", rec.Saved, "files", rec.Files, "failed", rec.Failed)
	case ctx.Err() != nil:
		s.cfg.Log.InfoContext(ctx, "task_stopped", "task", t.Name, "run", rec.ID)
	case rec.ID == "" || errors.Is(err, fault.Conflict) && rec.Ended.IsZero():
		s.cfg.Log.DebugContext(ctx, "task_not_started", "task", t.Name, "error", err)
	default:
		s.cfg.Log.WarnContext(ctx, "task_failed", "task", t.Name, "run", rec.ID,
			"kind", fault.KindOf(err).String(), "error", err, "hint", fault.HintOf(err))
	}
	if e := fault.As(err); e != nil && e.RetryAfter > 0 {
		who := t.Account
		if errors.Is(err, errTarget) {
			who = taskHold(t)
		}
		s.mu.Lock()
		s.hold[who] = s.cfg.Now().Add(e.RetryAfter)
		s.mu.Unlock()
	}
}

// RunSoon has the loop run a task as soon as there is room, whether or not it is due or
// disabled. It is fault.NotFound when there is no such task.
func (f *Fetcher) RunSoon(ctx context.Context, task string) error {
	if _, err := f.cfg.Ledger.Task(ctx, task); err != nil {
		return err
	}
	f.mu.Lock()
	f.asked[task] = true
	f.mu.Unlock()
	f.hurry()
	return nil
}

// hurry has the loop look now.
func (f *Fetcher) hurry() {
	select {
	case f.news <- struct{}{}:
	default: // it knows already
	}
}

func (f *Fetcher) isAsked(task string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[task]
}

// answered forgets why a task was to run before its time.
func (s *schedule) answered(task string) {
	s.Fetcher.mu.Lock()
	delete(s.asked, task)
	s.Fetcher.mu.Unlock()
	s.mu.Lock()
	if w := s.watched[task]; w != nil {
		w.woken = false
	}
	s.mu.Unlock()
}
