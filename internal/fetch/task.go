package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Config is what tasks work with.
type Config struct {
	Ledger  Ledger
	Sources Sources
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
	Holder  string           // names this process among the nodes; must differ between them

	MaxMessage int64         // largest message read, octets; 0: 512 MiB
	Workers    int           // tasks run at a time; 0: 4
	Poll       time.Duration // how soon a new or changed task is noticed; 0: 5 s
	Lease      time.Duration // life of a task's lock unless extended; 0: 2 min
	Pause      time.Duration // before the first reconnect; doubles; 0: 2 s
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.MaxMessage = orDefault(c.MaxMessage, 512<<20)
	c.Workers = orDefault(c.Workers, 4)
	c.Poll = orDefault(c.Poll, 5*time.Second)
	c.Lease = orDefault(c.Lease, 2*time.Minute)
	c.Pause = orDefault(c.Pause, 2*time.Second)
	return c
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Fetcher runs tasks.
type Fetcher struct {
	cfg  Config
	step func(string) // called between any two durable steps; tests cut runs there
}

// New makes a Fetcher; it starts nothing.
func New(cfg Config) *Fetcher {
	return &Fetcher{cfg: cfg.withDefaults(), step: func(string) {}}
}

// Options of one run.
type Options struct {
	// DryRun reads and reports, and changes nothing: not the mailbox, the directory
	// or the ledger.
	DryRun bool
	// Progress is told about each message once it is dealt with; nil: nobody is.
	Progress func(Event)
}

// Event is what became, or in a dry run would become, of a message.
type Event struct {
	UID       string     `json:"uid"`
	MessageID string     `json:"message_id,omitempty"`
	Subject   string     `json:"subject,omitempty"`
	State     EntryState `json:"state"`
	Files     []File     `json:"files,omitempty"` // without the manifest
	Reason    string     `json:"reason,omitempty"`
}

// RunTask runs a task now, whether or not it is disabled or due. It is
// fault.Conflict while the task is running, here or on another node. The run and
// its error are in the ledger too, unless it was a dry run or never began.
func (f *Fetcher) RunTask(ctx context.Context, name string, opts Options) (Run, error) {
	task, err := f.cfg.Ledger.Task(ctx, name)
	if err != nil {
		return Run{}, fmt.Errorf("fetch %s: %w", name, err)
	}
	if task.Folder == "" {
		task.Folder = "INBOX"
	}
	now := f.cfg.Now()
	r := &run{
		Fetcher: f, task: task, opts: opts, disk: newDisk(task, f.step),
		rec: Run{ID: mail.NewID(now), Task: name, Started: now}, stumbled: make(map[string]bool), settled: make(map[string]bool),
	}
	if opts.DryRun {
		err = r.all(ctx)
	} else {
		err = r.locked(ctx)
	}
	if err != nil {
		return r.rec, fmt.Errorf("fetch %s: %w", name, err)
	}
	return r.rec, nil
}

// errLockLost ends a run whose lock could not be extended in time.
var errLockLost = errors.New("the task's lock was lost")

// locked runs the task while holding its lock. The holder is the run's own, so
// that not even this process can run the task twice at a time.
func (r *run) locked(ctx context.Context) error {
	holder := r.cfg.Holder + "/" + r.rec.ID
	if err := r.lock(ctx, holder); err != nil {
		return err
	}
	err := r.held(ctx, holder)
	r.rec.Ended = r.cfg.Now()
	if err != nil {
		r.rec.Error = bounded(err.Error())
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, r.putRun(rest), ledgerError(r.cfg.Ledger.UnlockTask(rest, r.task.Name, holder)))
}

func (r *run) lock(ctx context.Context, holder string) error {
	now := r.cfg.Now()
	return r.cfg.Ledger.LockTask(ctx, r.task.Name, holder, now, now.Add(r.cfg.Lease))
}

func (r *run) putRun(ctx context.Context) error { return ledgerError(r.cfg.Ledger.PutRun(ctx, r.rec)) }

func (r *run) held(ctx context.Context, holder string) error {
	if err := r.putRun(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var heart sync.WaitGroup
	heart.Go(func() { r.beat(ctx, holder, cancel) })
	defer heart.Wait()
	defer cancel(nil)
	err := r.all(ctx)
	if errors.Is(context.Cause(ctx), errLockLost) {
		return fault.Wrap(fault.Temporary, "keep the task locked", errLockLost)
	}
	return err
}

// beat extends the lock until ctx ends, and ends the run when the lock is lost.
func (r *run) beat(ctx context.Context, holder string, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(r.cfg.Lease / 3)
	defer tick.Stop()
	until := r.cfg.Now().Add(r.cfg.Lease)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := r.cfg.Now()
		err := r.lock(ctx, holder)
		switch {
		case err == nil:
			until = asked.Add(r.cfg.Lease)
		case errors.Is(err, fault.Conflict), !r.cfg.Now().Before(until.Add(-r.cfg.Lease / 3)):
			cancel(errLockLost)
			return
		}
	}
}

// ledgerError marks the ledger's failures, which end a run.
func ledgerError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ledger: %w", err)
}
