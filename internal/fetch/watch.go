package fetch

import (
	"context"
	"time"

	"postern/internal/fault"
)

// watch is a connection that waits for mail to arrive, for one task.
type watch struct {
	task  Task
	stop  context.CancelFunc
	woken bool

	missed bool // mail may have come since the last connection broke; keepWatch's own
}

// watchAgain is how long a watch that broke waits before the next; polling goes on.
const watchAgain = time.Minute

// watchOver has every task watched that wants it, as it is now.
func (s *schedule) watchOver(ctx context.Context, tasks []Task) {
	wanted := make(map[string]Task)
	for _, t := range tasks {
		if t.Schedule.Watch && !t.Disabled {
			wanted[t.Name] = t
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, w := range s.watched {
		if t, still := wanted[name]; !still || t.Account != w.task.Account || t.protocol() != w.task.protocol() || t.watchedFolder() != w.task.watchedFolder() {
			w.stop()
			delete(s.watched, name)
		}
	}
	for name, t := range wanted {
		if s.watched[name] != nil {
			continue
		}
		own, stop := context.WithCancel(ctx)
		w := &watch{task: t, stop: stop, woken: true} // by what came while nobody watched
		s.watched[name] = w
		s.running.Go(func() { s.keepWatch(own, w) })
	}
}

// watchedFolder is the one a server can tell about; the others are polled.
func (t Task) watchedFolder() string {
	for _, f := range t.Source.Folders {
		if c := newChoice([]string{f}); len(c.words) > 0 {
			return f
		}
	}
	return "INBOX"
}

// keepWatch waits for mail again and again. Where a server cannot tell, polling is all.
func (s *schedule) keepWatch(ctx context.Context, w *watch) {
	for ctx.Err() == nil {
		began := s.cfg.Now()
		able, err := s.watchOnce(ctx, w)
		if ctx.Err() != nil {
			return
		}
		// One that breaks at once never watched: it is no reason to poll more often.
		w.missed = w.missed || s.cfg.Now().Sub(began) >= watchAgain
		if err != nil {
			s.cfg.Log.DebugContext(ctx, "watch_ended", "task", w.task.Name, "error", err)
		}
		pause := watchAgain
		if e := fault.As(err); e != nil && e.RetryAfter > pause {
			pause = e.RetryAfter
		}
		if !able && err == nil {
			s.cfg.Log.InfoContext(ctx, "watch_not_offered", "task", w.task.Name, "poll", watchPoll)
			pause = 24 * time.Hour
		}
		if err := sleep(ctx, pause); err != nil {
			return
		}
	}
}

// watchOnce watches over one connection until that breaks.
func (s *schedule) watchOnce(ctx context.Context, w *watch) (able bool, err error) {
	src, err := s.cfg.Sources.Open(ctx, w.task.Account, w.task.protocol())
	if err != nil {
		return true, err
	}
	defer func() { _ = src.Close() }() // nothing depends on how it ends
	watcher, ok := src.(Watcher)
	if !ok || !src.Can().Watch {
		return false, nil
	}
	src.Use(w.task.watchedFolder())
	if w.missed {
		w.missed = false
		s.wake(w)
	}
	for {
		if err := watcher.Watch(ctx); err != nil {
			return true, err
		}
		s.wake(w)
	}
}

// wake has a task run as soon as there is room.
func (s *schedule) wake(w *watch) {
	s.mu.Lock()
	w.woken = true
	s.mu.Unlock()
	s.hurry()
}

// woken reports that mail may have arrived for a task since its last run began.
func (s *schedule) woken(task string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watched[task]
	return w != nil && w.woken
}
