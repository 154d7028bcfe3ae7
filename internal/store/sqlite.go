package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

// The files in the data directory.
const (
	databaseFile = "postern.db"
	startLock    = "postern.lock" // held while a process starts, empty otherwise and always
	bodiesDir    = "bodies"
	holdersDir   = "holders" // a lock of each process that has this open
)

// readers is how many reads run at the same time.
const readers = 8

// OpenSQLite opens or makes dir/postern.db, brings its schema up to date, and
// starts its writer. Several processes may have it open.
func OpenSQLite(ctx context.Context, dir string, opts Options) (*Store, error) {
	const op = "open the database"
	opts = opts.withDefaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, classify(op, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, bodiesDir), 0o700); err != nil {
		return nil, classify(op, err)
	}
	path := filepath.Join(dir, databaseFile)
	for _, file := range []string{path, filepath.Join(dir, startLock)} {
		if err := makePrivate(file); err != nil {
			return nil, classify(op, err)
		}
	}
	unlock, err := lockStart(ctx, dir, opts.BusyTimeout)
	if err != nil {
		return nil, classify(op, err)
	}
	defer unlock()
	return openSQLite(ctx, dir, path, opts)
}

// openSQLite does the rest of OpenSQLite while no other process starts.
func openSQLite(ctx context.Context, dir, path string, opts Options) (*Store, error) {
	const op = "open the database"
	db, err := connectSQLite(path, opts.BusyTimeout, "synchronous(FULL)", "foreign_keys(ON)", "wal_autocheckpoint(0)", "journal_mode(WAL)")
	if err != nil {
		return nil, classify(op, err)
	}
	if err := migrate(ctx, db, goose.DialectSQLite3, "sqlite"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	reads, err := connectSQLite(path, opts.BusyTimeout, "query_only(ON)", "wal_autocheckpoint(0)")
	if err != nil {
		return nil, errors.Join(classify(op, err), db.Close())
	}
	reads.SetMaxOpenConns(readers)
	reads.SetMaxIdleConns(readers)
	w, err := newWriter(ctx, db, path+"-wal", opts)
	if err != nil {
		return nil, errors.Join(classify(op, err), reads.Close(), db.Close())
	}
	go w.loop()
	s := &Store{dialect: sqliteDialect(), db: reads, often: newPreparing(reads), writes: w, log: opts.Log, bodies: files{dir: filepath.Join(dir, bodiesDir), db: reads},
		life: life{signs: lockFiles{filepath.Join(dir, holdersDir)}}}
	err = s.bodies.sweep(ctx, time.Now().Add(-orphanAge))
	if berr := s.life.begin(ctx, opts.Holder); err == nil {
		err = classify(op, berr)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// makePrivate makes file if there is none, and takes it from other users' eyes.
// SQLite gives its -wal and -shm the same mode.
func makePrivate(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !isWindows && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	return err
}

// connectSQLite opens no connection yet; each one gets the pragmas when it is made.
func connectSQLite(path string, busy time.Duration, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds())}, pragmas...)}
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // file:///C:/…
	}
	dsn := url.URL{Scheme: "file", Path: p, RawQuery: q.Encode()}
	c, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// lockStart lets one process at a time turn a new file into a database and migrate
// it.
func lockStart(ctx context.Context, dir string, busy time.Duration) (unlock func(), err error) {
	return lockExclusive(ctx, filepath.Join(dir, startLock), busy)
}

// lockExclusive takes SQLite's own lock on an empty database, waiting for at most
// busy. It works on every system and dies with its process.
func lockExclusive(ctx context.Context, path string, busy time.Duration) (unlock func(), err error) {
	db, err := connectSQLite(path, busy, "journal_mode(MEMORY)") // nothing is ever written
	if err != nil {
		return nil, err
	}
	tx, err := db.Conn(ctx)
	if err == nil {
		_, err = tx.ExecContext(ctx, `BEGIN EXCLUSIVE`)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return func() {
		_ = tx.Close() // nothing was written, so nothing can be lost
		_ = db.Close()
	}, nil
}
