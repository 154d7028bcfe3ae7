package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"postern/internal/fault"
)

// maxBatch is how many changes share one commit, so one sync of the disk.
const maxBatch = 64

// walLimit is the size of the write-ahead log at which it is copied back into the
// database; idleAfter the pause after which that happens in any case. Until so long after
// as many changes as crowd came together, the log may grow to crowdLimit first: copying
// holds everybody up, and much of what came in a rush is gone again after it.
const (
	walLimit   = 16 << 20
	idleAfter  = time.Second
	crowd      = 4
	crowdLimit = 128 << 20
)

// linger is how long a commit in a crowd waits for those that were in the last one: it
// costs a flush, and the same pages at the ends of tables, for one as for many.
const linger = time.Millisecond

// writer is the one goroutine of this process that writes to SQLite. It commits
// whatever changes wait, together; a lone change is committed at once. It also
// checkpoints, so that no second goroutine competes for the disk.
type writer struct {
	db     *sql.DB
	conn   *preparing
	wal    string
	busy   time.Duration
	log    *slog.Logger
	queue  chan *pending // unbuffered: what is taken gets an answer
	quit   chan struct{}
	ended  chan struct{}
	once   sync.Once
	limit  int64     // size of the log at which to checkpoint next
	before int       // size of the batch before
	rushed time.Time // when a crowd was last seen
}

// pending is a change that waits for its commit.
type pending struct {
	run    func(tx querier) error
	gone   func() error // why the caller no longer waits for it to begin
	answer chan error
	err    error
}

// newWriter takes a connection for itself. Somebody has to start its loop.
func newWriter(ctx context.Context, db *sql.DB, wal string, opts Options) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &writer{
		db: db, conn: newPreparing(conn), wal: wal, busy: opts.BusyTimeout, log: opts.Log,
		queue: make(chan *pending), quit: make(chan struct{}), ended: make(chan struct{}), limit: walLimit,
	}, nil
}

// do hands c to the writer and waits until it is committed or has failed. Once the
// writer has taken it, the end of ctx no longer stops it: an interrupted statement
// would roll back its neighbours, and the caller must learn what became of it.
func (w *writer) do(ctx context.Context, op string, c change) error {
	p := &pending{
		run:    func(tx querier) error { return c(context.WithoutCancel(ctx), tx) },
		gone:   ctx.Err,
		answer: make(chan error, 1),
	}
	select {
	case w.queue <- p:
		return classify(op, <-p.answer)
	case <-ctx.Done():
		return classify(op, ctx.Err())
	case <-w.quit:
		return fault.New(fault.Temporary, op, "the database is closed")
	}
}

// close ends the writer once; later calls do nothing.
func (w *writer) close() (err error) {
	w.once.Do(func() {
		close(w.quit)
		<-w.ended
		err = errors.Join(w.conn.close(), w.db.Close())
	})
	return err
}

func (w *writer) loop() {
	defer close(w.ended)
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	batch := make([]*pending, 0, maxBatch)
	for {
		select {
		case p := <-w.queue:
			batch = w.gather(append(batch[:0], p))
			w.commit(batch)
			for _, p := range batch {
				p.answer <- p.err
			}
			w.before = len(batch)
			w.checkpoint(w.due(len(batch), time.Now()))
			idle.Reset(idleAfter)
		case <-idle.C:
			w.checkpoint(1)
		case <-w.quit:
			w.checkpoint(1)
			return
		}
	}
}

// due is the size at which the log is copied back now.
func (w *writer) due(batch int, now time.Time) int64 {
	if batch >= crowd {
		w.rushed = now
	}
	if now.Sub(w.rushed) < idleAfter {
		return max(w.limit, crowdLimit)
	}
	return w.limit
}

// gather takes what waits. When fewer are there than last time it yields the processor
// once: those that were just answered are about to come back, and without them every
// second batch would be a batch of one. For a crowd it waits.
func (w *writer) gather(batch []*pending) []*pending {
	if w.before >= crowd {
		batch = w.await(batch)
	}
	for yielded := false; len(batch) < maxBatch; {
		select {
		case p := <-w.queue:
			batch = append(batch, p)
		default:
			if yielded || len(batch) >= w.before {
				return batch
			}
			yielded = true
			runtime.Gosched()
		}
	}
	return batch
}

// await waits until as many are there as last time, but for no longer than linger.
func (w *writer) await(batch []*pending) []*pending {
	late := time.NewTimer(linger)
	defer late.Stop()
	for len(batch) < w.before {
		select {
		case p := <-w.queue:
			batch = append(batch, p)
		case <-late.C:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction and leaves each one's outcome in its err.
func (w *writer) commit(batch []*pending) {
	ctx := context.Background()
	if err := w.exec(ctx, `BEGIN IMMEDIATE`); err != nil {
		fail(batch, err)
		return
	}
	err := w.apply(ctx, batch)
	if err == nil {
		if err = w.exec(ctx, `COMMIT`); err != nil && !definite(err) {
			err = ambiguous(classify("commit", err))
		}
	}
	if err != nil {
		_ = w.exec(ctx, `ROLLBACK`) // fails when SQLite has rolled back already
		fail(batch, err)
	}
}

// fail gives err to every change that has none of its own.
func fail(batch []*pending, err error) {
	for _, p := range batch {
		if p.err == nil {
			p.err = err
		}
	}
}

// definite reports whether a failed commit has surely left nothing behind.
func definite(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff != sqlite3.SQLITE_IOERR
}

// apply runs every change, at first as if none could fail: most batches are of
// messages coming in, and a savepoint costs as much as an insert. A change that does
// fail takes its neighbours back with it, and they are run again. A change must
// return every error that its statements have.
func (w *writer) apply(ctx context.Context, batch []*pending) error {
	if len(batch) == 1 {
		return w.applyGuarded(ctx, batch) // nothing to run again for
	}
	for _, p := range batch {
		if p.err = p.gone(); p.err != nil {
			continue
		}
		if p.err = p.run(w.conn); p.err != nil {
			_ = w.exec(ctx, `ROLLBACK`) // fails when SQLite has rolled back already
			if err := w.exec(ctx, `BEGIN IMMEDIATE`); err != nil {
				return fmt.Errorf("another change in the same commit failed: %w", errors.Join(p.err, err))
			}
			return w.applyGuarded(ctx, batch)
		}
	}
	return nil
}

// applyGuarded runs every change in a savepoint of its own, so that one that fails
// takes nobody with it. An error of its own means that the transaction is gone.
func (w *writer) applyGuarded(ctx context.Context, batch []*pending) error {
	for _, p := range batch {
		if p.err = p.gone(); p.err != nil {
			continue
		}
		if err := w.exec(ctx, `SAVEPOINT one`); err != nil {
			return err
		}
		p.err = p.run(w.conn)
		if p.err != nil {
			if err := w.exec(ctx, `ROLLBACK TO one`); err != nil {
				return fmt.Errorf("another change in the same commit failed: %w", p.err)
			}
		}
		if err := w.exec(ctx, `RELEASE one`); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) exec(ctx context.Context, query string) error {
	_, err := w.conn.ExecContext(ctx, query)
	return err
}
