// Package store keeps everything durable, in SQLite or PostgreSQL, behind the
// interfaces that vault, relay, fetch and door declare. One set of queries serves
// both; a dialect holds what differs.
//
// It decides nothing: no back-off, no secret, no name is made here. A write that
// returned nil has reached the disk.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/relay"
	"postern/internal/vault"
)

//go:embed migrations
var migrations embed.FS

// Options are shared by both databases.
type Options struct {
	Log *slog.Logger // nil discards
}

// Store is an open database.
type Store struct {
	db      *sql.DB // readers; on PostgreSQL writers too
	dialect dialect
	writer  *writer // SQLite only: the one writer
	bodies  string  // SQLite only: directory of large bodies
	log     *slog.Logger
}

var (
	_ vault.Store  = (*Store)(nil)
	_ relay.Store  = (*Store)(nil)
	_ fetch.Ledger = (*Store)(nil)
	_ door.Devices = (*Store)(nil)
)

// dialect is what differs between the databases.
type dialect struct {
	goose      goose.Dialect
	dir        string
	claimGuard string // run first in a transaction that claims messages
}

func sqliteDialect() dialect { return dialect{goose: goose.DialectSQLite3, dir: "migrations/sqlite"} }

func postgresDialect() dialect {
	return dialect{goose: goose.DialectPostgres, dir: "migrations/postgres", claimGuard: `SELECT pg_advisory_xact_lock(7095347)`}
}

// querier is what a query runs on: a pool, a connection or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// OpenSQLite opens dir/postern.db, making it when it is new. Several processes
// may have it open; each waits for the others' writes.
func OpenSQLite(ctx context.Context, dir string, opts Options) (*Store, error) {
	path := filepath.Join(dir, "postern.db")
	// Made here, not by SQLite, so that it is never readable by others.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, openFailed(path, err)
	}
	if err := f.Close(); err != nil {
		return nil, openFailed(path, err)
	}
	bodies := filepath.Join(dir, "bodies")
	if err := os.MkdirAll(bodies, 0o700); err != nil {
		return nil, openFailed(bodies, err)
	}
	pragmas := "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=wal_autocheckpoint(0)&_pragma=journal_size_limit(1048576)&_txlock=immediate"
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+pragmas)
	if err != nil {
		return nil, openFailed(path, err)
	}
	db.SetMaxOpenConns(8)
	s := &Store{db: db, dialect: sqliteDialect(), bodies: bodies, log: orDiscard(opts.Log)}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(openFailed(path, classify("open "+path, err)), db.Close())
	}
	if s.writer, err = startWriter(ctx, db, path, s.log); err != nil {
		return nil, errors.Join(openFailed(path, err), db.Close())
	}
	if err := s.sweepBodies(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenPostgres opens the database at url, making its tables when they are missing.
func OpenPostgres(ctx context.Context, address string, opts Options) (*Store, error) {
	db, err := sql.Open("pgx", address)
	if err != nil {
		return nil, fault.New(fault.Invalid, "open PostgreSQL", "the database URL cannot be read").WithHint("database = \"postgres://user@host/name\"")
	}
	db.SetMaxOpenConns(24)
	db.SetMaxIdleConns(24)
	db.SetConnMaxIdleTime(5 * time.Minute)
	s := &Store{db: db, dialect: postgresDialect(), log: orDiscard(opts.Log)}
	if err := db.PingContext(ctx); err != nil {
		e := fault.New(fault.Temporary, "open PostgreSQL", "%w", scrubURL(err)).WithHint("check that the server runs and that the database URL names an existing database and user")
		return nil, errors.Join(e, db.Close())
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(classify("open PostgreSQL", err), db.Close())
	}
	return s, nil
}

func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// migrate brings the schema up to date. Nodes that start together wait for each other.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, s.dialect.dir)
	if err != nil {
		return err
	}
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler))}
	if s.dialect.goose == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(s.dialect.goose, s.db, files, opts...)
	if err != nil {
		return err
	}
	have, want, err := p.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case have > want:
		return fault.New(fault.Invalid, "open database", "it was made by a newer Postern (schema %d, this one knows %d)", have, want).
			WithHint("install the newer version again, or restore the backup made before the upgrade")
	case have == want:
		return nil
	}
	_, err = p.Up(ctx)
	return err
}

// Close waits for writes under way and closes the database.
func (s *Store) Close() error {
	var err error
	if s.writer != nil {
		err = s.writer.stop()
	}
	return errors.Join(err, s.db.Close())
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return classify("reach the database", s.db.QueryRowContext(ctx, `SELECT 1`).Scan(&one))
}

// write runs f in a transaction and returns when it is durable, or rolled back.
// On PostgreSQL f may run again after a serialization conflict.
func (s *Store) write(ctx context.Context, op string, f func(ctx context.Context, q querier) error) error {
	if s.writer != nil {
		return classify(op, s.writer.do(ctx, f))
	}
	for attempt := 0; ; attempt++ {
		err := s.inTx(ctx, f)
		if attempt >= 5 || !isConflict(err) {
			return classify(op, err)
		}
	}
}

func (s *Store) inTx(ctx context.Context, f func(ctx context.Context, q querier) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(ctx, tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// rows runs a query and hands each row to scan.
func rows(ctx context.Context, q querier, scan func(r *sql.Rows) error, query string, args ...any) error {
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rs.Close()
	for rs.Next() {
		if err := scan(rs); err != nil {
			return err
		}
	}
	return rs.Err()
}

// affected runs a statement and says how many rows it touched.
func affected(ctx context.Context, q querier, query string, args ...any) (int64, error) {
	res, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func notFound(kind, name string) error {
	return fault.New(fault.NotFound, "look up "+kind, "there is no %s %q", kind, name)
}

// millis is how times are stored: Unix milliseconds, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// ReleaseHolders frees the leases, claims and locks of every holder for which
// dead is true, and says how many. A process calls it at start for processes that
// are known to have ended.
func (s *Store) ReleaseHolders(ctx context.Context, dead func(holder string) bool) (int, error) {
	var holders []string
	err := rows(ctx, s.db, func(r *sql.Rows) error {
		var h string
		if err := r.Scan(&h); err != nil {
			return err
		}
		if dead(h) {
			holders = append(holders, h)
		}
		return nil
	}, `SELECT DISTINCT holder FROM message WHERE holder <> '' UNION SELECT holder FROM account_grant WHERE holder <> '' UNION SELECT holder FROM task WHERE holder <> ''`)
	if err != nil || len(holders) == 0 {
		return 0, classify("look for holders", err)
	}
	var n int64
	err = s.write(ctx, "release holders", func(ctx context.Context, q querier) error {
		n = 0
		for _, h := range holders {
			for _, query := range []string{
				`UPDATE message SET state = 'queued', holder = '', lease_until = 0 WHERE holder = $1`,
				`UPDATE account_grant SET holder = '', claimed_until = 0 WHERE holder = $1`,
				`UPDATE task SET holder = '', locked_until = 0 WHERE holder = $1`,
			} {
				k, err := affected(ctx, q, query, h)
				if err != nil {
					return err
				}
				n += k
			}
		}
		return nil
	})
	return int(n), err
}

func scrubURL(err error) error {
	// pgx quotes the URL it was given when it cannot parse it; nothing of a URL may
	// stand in a log, because it may hold a password.
	text := err.Error()
	if i := strings.Index(text, "://"); i >= 0 {
		return errors.New("the server cannot be reached with this URL")
	}
	return fmt.Errorf("%s", text)
}
