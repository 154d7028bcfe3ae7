package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"postern/internal/fault"
)

const (
	batchMax       = 64       // writes that share one commit
	checkpointWAL  = 16 << 20 // octets of WAL after which it is folded back
	checkpointIdle = 5 * time.Second
)

// writer is the one goroutine that writes to SQLite. Writes that wait together
// share one transaction and one flush; each has a savepoint of its own, so that
// one that fails takes nobody with it. A lone write is committed at once.
type writer struct {
	conn  *sql.Conn
	wal   string // path of the write-ahead log
	jobs  chan *job
	quit  chan struct{}
	done  chan struct{}
	log   *slog.Logger
	dirty bool // written since the last checkpoint
}

type job struct {
	ctx    context.Context
	f      func(ctx context.Context, q querier) error
	result chan error
}

var errClosed = errors.New("the database is closed")

func startWriter(ctx context.Context, db *sql.DB, path string, log *slog.Logger) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn, wal: path + "-wal", jobs: make(chan *job, batchMax), quit: make(chan struct{}), done: make(chan struct{}), log: log}
	go w.loop()
	return w, nil
}

// do hands f to the writer and waits for its fate. Once taken, a write is not
// abandoned: the caller must know whether it happened.
func (w *writer) do(ctx context.Context, f func(ctx context.Context, q querier) error) error {
	j := &job{ctx: ctx, f: f, result: make(chan error, 1)}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.done:
		return fault.Wrap(fault.Temporary, "write", errClosed)
	}
	select {
	case err := <-j.result:
		return err
	case <-w.done:
		select {
		case err := <-j.result:
			return err
		default:
			return fault.Wrap(fault.Temporary, "write", errClosed)
		}
	}
}

// stop commits what is under way and ends the writer.
func (w *writer) stop() error {
	close(w.quit)
	<-w.done
	return w.conn.Close()
}

func (w *writer) loop() {
	defer close(w.done)
	idle := time.NewTimer(checkpointIdle)
	defer idle.Stop()
	for {
		select {
		case j := <-w.jobs:
			w.commit(w.gather(j))
			w.checkpointIfLarge()
			idle.Reset(checkpointIdle)
		case <-idle.C:
			w.checkpoint("TRUNCATE")
		case <-w.quit:
			w.drain()
			w.checkpoint("TRUNCATE")
			return
		}
	}
}

// drain commits what was handed over before the stop.
func (w *writer) drain() {
	for {
		select {
		case j := <-w.jobs:
			w.commit(w.gather(j))
		default:
			return
		}
	}
}

// gather takes whatever waits beside the first, without waiting for more.
func (w *writer) gather(first *job) []*job {
	batch := []*job{first}
	for len(batch) < batchMax {
		select {
		case j := <-w.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

func (w *writer) commit(batch []*job) {
	ctx := context.Background() // a caller that gives up must not tear a batch apart
	results := make([]error, len(batch))
	err := w.exec(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		for i, j := range batch {
			if results[i], err = w.run(ctx, j); err != nil {
				break
			}
		}
		if err == nil {
			err = w.exec(ctx, "COMMIT")
		}
		if err != nil {
			_ = w.exec(ctx, "ROLLBACK") // SQLite may have done so itself, as on a full disk
		}
	}
	w.dirty = true
	for i, j := range batch {
		if err != nil && results[i] == nil {
			results[i] = err
		}
		j.result <- results[i]
	}
}

// run does one job inside its savepoint. result is the job's own error; broken
// says that the transaction itself cannot go on.
func (w *writer) run(ctx context.Context, j *job) (result, broken error) {
	if err := j.ctx.Err(); err != nil {
		return err, nil
	}
	if err := w.exec(ctx, "SAVEPOINT job"); err != nil {
		return nil, err
	}
	result = j.f(ctx, w.conn)
	if result != nil {
		if err := w.exec(ctx, "ROLLBACK TO job"); err != nil {
			return result, fmt.Errorf("%w (after: %w)", err, result)
		}
	}
	return result, w.exec(ctx, "RELEASE job")
}

func (w *writer) exec(ctx context.Context, query string) error {
	_, err := w.conn.ExecContext(ctx, query)
	return err
}

// checkpointIfLarge folds a large WAL back into the database, here in the writer,
// so that it cannot grow without bound while writes go on. The file shrinks when
// the log starts over (journal_size_limit), so its size tells.
func (w *writer) checkpointIfLarge() {
	if info, err := os.Stat(w.wal); err == nil && info.Size() > checkpointWAL {
		w.checkpoint("PASSIVE")
	}
}

func (w *writer) checkpoint(mode string) {
	if !w.dirty {
		return
	}
	w.dirty = false
	var busy, pages, moved int64
	if err := w.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &pages, &moved); err != nil {
		w.log.Warn("the write-ahead log could not be folded back", "error", err)
	}
}
