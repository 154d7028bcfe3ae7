package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// signs tell which holders live. A holder shows that it does by a lock that dies
// with its process, so nobody has to guess by process numbers or clocks.
type signs interface {
	// show locks for a holder until the returned function is called.
	show(ctx context.Context, holder string) (hide func() error, err error)
	// alive reports whether somebody shows that sign.
	alive(ctx context.Context, holder string) (bool, error)
	// patience is how long a sign must be away before its holder counts as dead.
	patience() time.Duration
}

// life is what a store knows of holders: its own sign, and whose were not seen.
type life struct {
	signs
	hide func() error

	mu     sync.Mutex
	missed map[string]time.Time // when a sign was first found gone
}

// begin shows a holder's sign; "" shows none.
func (l *life) begin(ctx context.Context, holder string) (err error) {
	l.missed, l.hide = map[string]time.Time{}, func() error { return nil }
	if holder != "" {
		l.hide, err = l.show(ctx, holder)
	}
	return err
}

// end hides the sign.
func (l *life) end() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hide == nil {
		return nil
	}
	hide := l.hide
	l.hide = nil
	return hide()
}

// dead reports whether the process that a holder is part of ended. The parts of a
// process are named below it: "process/part".
func (l *life) dead(ctx context.Context, holder string, now time.Time) (bool, error) {
	for name, more := holder, true; more; name, more = parent(name) {
		if living, err := l.alive(ctx, name); living || err != nil {
			l.mu.Lock()
			delete(l.missed, holder)
			l.mu.Unlock()
			return false, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	since, before := l.missed[holder]
	if !before {
		since = now
		l.missed[holder] = now
	}
	if now.Sub(since) < l.patience() {
		return false, nil
	}
	delete(l.missed, holder)
	return true, nil
}

func parent(holder string) (string, bool) {
	i := strings.LastIndexByte(holder, '/')
	return holder[:max(i, 0)], i > 0
}

// lockFiles are the signs beside an SQLite database: an empty database each, locked
// by SQLite's own means, which work on every system.
type lockFiles struct{ dir string }

func (f lockFiles) patience() time.Duration { return 0 }

func (f lockFiles) path(holder string) string {
	return filepath.Join(f.dir, url.PathEscape(holder))
}

func (f lockFiles) show(ctx context.Context, holder string) (func() error, error) {
	path := f.path(holder)
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, err
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	unlock, err := lockExclusive(ctx, path, time.Second)
	if err != nil {
		return nil, err
	}
	f.sweep(ctx, time.Now().Add(-startsWithin))
	return func() error {
		unlock()
		return gone(os.Remove(path))
	}, nil
}

// startsWithin is longer than a process needs between making its file and locking it.
const startsWithin = time.Minute

// sweep removes the files of processes that ended without doing so. One that cannot be
// looked at is left for the next start.
func (f lockFiles) sweep(ctx context.Context, before time.Time) {
	files, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	for _, file := range files {
		info, err := file.Info()
		if err != nil || info.ModTime().After(before) {
			continue
		}
		if holder, err := url.PathUnescape(file.Name()); err == nil {
			_, _ = f.alive(ctx, holder) // which removes the file of a dead one
		}
	}
}

func (f lockFiles) alive(ctx context.Context, holder string) (bool, error) {
	path := f.path(holder)
	if _, err := os.Stat(path); err != nil {
		return false, gone(err)
	}
	unlock, err := lockExclusive(ctx, path, 0)
	if isBusy(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	unlock()
	return false, gone(os.Remove(path))
}

func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// gone takes it as done that a file is not there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// advisory are the signs in PostgreSQL: locks that belong to a connection.
type advisory struct {
	db  *sql.DB
	log *slog.Logger
}

// A connection that broke is replaced well before its sign counts as gone.
const (
	missedFor  = 10 * time.Second
	lookAfter  = 2 * time.Second
	holderLock = `hashtextextended('postern holder ' || $1, 0)`
)

func (a advisory) patience() time.Duration { return missedFor }

func (a advisory) show(ctx context.Context, holder string) (func() error, error) {
	conn, err := a.lock(ctx, holder)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.keep(ctx, holder, conn)
	}()
	return func() error {
		cancel()
		<-done
		return nil
	}, nil
}

// lock takes a connection and the lock with it. Keep-alives let the server notice
// within seconds that a machine is gone.
func (a advisory) lock(ctx context.Context, holder string) (*sql.Conn, error) {
	conn, err := a.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	_, err = conn.ExecContext(ctx, `SELECT set_config('tcp_keepalives_idle', '5', false),
		set_config('tcp_keepalives_interval', '3', false), set_config('tcp_keepalives_count', '3', false)`)
	if err == nil {
		_, err = conn.ExecContext(ctx, `SELECT pg_advisory_lock(`+holderLock+`)`, holder)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// keep holds the lock until ctx ends, on new connections where old ones break.
func (a advisory) keep(ctx context.Context, holder string, conn *sql.Conn) {
	tick := time.NewTicker(lookAfter)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if conn != nil {
				// The lock is the connection's, and a pool keeps connections.
				_, _ = conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(`+holderLock+`)`, holder)
				_ = conn.Close()
			}
			return
		case <-tick.C:
		}
		look, cancel := context.WithTimeout(ctx, lookAfter)
		if conn != nil {
			if _, err := conn.ExecContext(look, `SELECT 1`); err != nil {
				_ = conn.Close() // broken: the pool drops it, and its lock is gone with it
				conn = nil
			}
		}
		if conn == nil {
			var err error
			if conn, err = a.lock(look, holder); err != nil && ctx.Err() == nil {
				a.log.WarnContext(ctx, "this process cannot show other nodes that it lives", "error", err)
			}
		}
		cancel()
	}
}

func (a advisory) alive(ctx context.Context, holder string) (bool, error) {
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // which gives the lock back
	var free bool
	err = tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock(`+holderLock+`)`, holder).Scan(&free)
	return !free, err
}
