package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/fault"
	"postern/internal/handover"
	"postern/internal/mail"
	"postern/internal/mailbox"
)

// Config is what tasks work with.
type Config struct {
	Ledger  Ledger
	Sources Sources
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
	Holder  string           // names this process among the nodes; must differ between them
	Spool   string           // directory for what is on its way to targets
	// Targets makes a task's target, with its key.
	Targets func(ctx context.Context, t Task) (handover.Target, error)

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
	step func(string)  // called between any two durable steps; tests cut runs there
	news chan struct{} // has room for one: the loop is to look now

	handed atomic.Uint64 // messages handed over

	mu    sync.Mutex
	asked map[string]bool // tasks somebody wants to run now
}

// New makes a Fetcher; it starts nothing.
func New(cfg Config) *Fetcher {
	return &Fetcher{cfg: cfg.withDefaults(), step: func(string) {}, news: make(chan struct{}, 1), asked: map[string]bool{}}
}

// HandedOver is how many messages were since this process began.
func (f *Fetcher) HandedOver() uint64 { return f.handed.Load() }

// Options of one run.
type Options struct {
	// DryRun reads and reports, and changes nothing: not the mailbox, the directory
	// or the ledger.
	DryRun bool
	// Everything also looks at messages that were dealt with, the newest first; only
	// for dry runs.
	Everything bool
	// Messages is how many are looked at, 0 for as many as the task says.
	Messages int
	// Progress is told about each message once it is dealt with; nil: nobody is.
	Progress func(Event)
}

// Event is what became, or in a dry run would become, of a message.
type Event struct {
	Folder    string     `json:"folder"`
	UID       string     `json:"uid"`
	MessageID string     `json:"message_id,omitempty"`
	From      string     `json:"from,omitempty"`
	Subject   string     `json:"subject,omitempty"`
	State     EntryState `json:"state"`
	Files     []File     `json:"files,omitempty"` // without the manifest
	Reason    string     `json:"reason,omitempty"`
	Run       Run        `json:"-"` // as far as it is
}

// RunTask runs a task now, whether or not it is disabled or due. It is
// fault.Conflict while the task is running, here or on another node. The run and
// its error are in the ledger too, unless it was a dry run or never began.
func (f *Fetcher) RunTask(ctx context.Context, name string, opts Options) (Run, error) {
	task, err := f.cfg.Ledger.Task(ctx, name)
	if err != nil {
		return Run{}, fmt.Errorf("fetch %s: %w", name, err)
	}
	return f.runTask(ctx, task, opts)
}

// Try is a dry run of a task that need not be saved. Before a task is, nothing is known
// of its messages: it looks at whatever is there, the newest first.
func (f *Fetcher) Try(ctx context.Context, task Task, opts Options) (Run, error) {
	opts.DryRun = true
	if task.Created.IsZero() {
		opts.Everything, task.Source.Start = true, StartAll
	}
	if err := task.Check(); err != nil {
		return Run{}, err
	}
	return f.runTask(ctx, task, opts)
}

func (f *Fetcher) runTask(ctx context.Context, task Task, opts Options) (_ Run, err error) {
	now := f.cfg.Now()
	r := &run{
		Fetcher: f, task: task, opts: opts, reader: newReader(), disk: newDisk(task, f.cfg.Spool, f.step),
		rec: Run{ID: mail.NewID(now), Task: task.Name, Started: now}, stumbled: make(map[Key]bool), settled: make(map[Key]mailbox.IDs), suspect: make(map[Key]bool),
	}
	defer func() { r.disk.volume.close() }()
	r.opts.Everything = opts.Everything && opts.DryRun
	if opts.DryRun {
		err = r.all(ctx)
	} else {
		err = r.locked(ctx)
	}
	if err != nil {
		return r.rec, fmt.Errorf("fetch %s: %w", task.Name, err)
	}
	return r.rec, nil
}

// What ends a run from outside.
var (
	errLockLost = errors.New("the task's lock was lost")
	errStopped  = errors.New("stopped by hand")
)

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
		r.rec.Error = oneLine(err.Error())
	}
	r.log.add(r.rec.Ended, r.rec.ending())
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, r.tell(rest), ledgerError(r.cfg.Ledger.UnlockTask(rest, r.task.Name, holder)))
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
	heart.Go(func() { r.listen(ctx, cancel) })
	defer heart.Wait()
	defer cancel(nil)
	err := r.all(ctx)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errLockLost):
		return fault.Wrap(fault.Temporary, "keep the task locked", errLockLost)
	case errors.Is(cause, errStopped):
		r.rec.Stopped = strings.TrimPrefix(cause.Error(), errStopped.Error()+": ")
		return nil
	}
	return err
}

// listenEvery is how soon a run hears that somebody wants it to stop.
const listenEvery = time.Second

// listen ends the run when somebody asks for it, on whatever node.
func (r *run) listen(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(listenEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if who, err := r.cfg.Ledger.StopWanted(ctx, r.task.Name); err == nil && who != "" {
			cancel(fmt.Errorf("%w: %s", errStopped, who))
			return
		}
	}
}

// ending sums a run up.
func (r Run) ending() string {
	text := fmt.Sprintf("%d looked at, %d taken, %d files, %d without a match, %d failed", r.Looked, r.Saved, r.Files, r.NoMatch, r.Failed)
	switch {
	case r.Stopped != "":
		return text + "; stopped by " + r.Stopped
	case r.Error != "":
		return text + "; " + r.Error
	case r.Left > 0:
		return text + fmt.Sprintf("; %d left for the next run", r.Left)
	}
	return text
}

// Stop ends a run of the task, on whatever node it is. It is fault.Conflict when the task
// does not run.
func (f *Fetcher) Stop(ctx context.Context, task, who string) error {
	return ledgerError(f.cfg.Ledger.StopTask(ctx, task, who, f.cfg.Now()))
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

// errLedger marks the ledger's failures, which end a run.
var errLedger = errors.New("ledger")

func ledgerError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errLedger, err)
}

// KeyName is what the key of a task's target is kept under.
func KeyName(task string) string { return "task/" + task }
