package store

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"postern/internal/fault"
)

// OpenPostgres connects to the database a URL names and brings its schema up to
// date. Several nodes may start at the same time.
func OpenPostgres(ctx context.Context, url string, opts Options) (*Store, error) {
	const op = "open the database"
	opts = opts.withDefaults()
	cfg, err := parsePostgres(url)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(opts.MaxConns + 1) // one shows that we live
	db.SetMaxIdleConns(opts.MaxConns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	s := &Store{dialect: postgresDialect(), db: db, often: db, writes: transactions{db}, log: opts.Log, life: life{signs: advisory{db, opts.Log}}}
	s.bodies = rows{db: db, now: s.Now}
	err = migrateLocked(ctx, db)
	if err == nil {
		_, err = s.SetClock(ctx)
	}
	if err == nil {
		err = s.bodies.sweep(ctx, s.Now().Add(-orphanAge))
	}
	if berr := s.life.begin(ctx, opts.Holder); err == nil {
		err = classify(op, berr)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// CheckPostgres says what is wrong with the URL of a database, without connecting.
func CheckPostgres(url string) error {
	_, err := parsePostgres(url)
	return err
}

func parsePostgres(url string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(url) // its errors hide the password
	if err != nil {
		return nil, fault.New(fault.Invalid, "open the database", "the database URL cannot be read: %w", err).
			WithHint("it looks like postgres://user:password@host:5432/name")
	}
	return cfg, nil
}

// migrateLocked lets one node at a time migrate. The lock belongs to a connection
// and ends with it, so a node that dies here holds nobody up.
func migrateLocked(ctx context.Context, db *sql.DB) error {
	const op = "open the database"
	conn, err := db.Conn(ctx)
	if err != nil {
		return classify(op, err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return classify(op, err)
	}
	err = migrate(ctx, db, goose.DialectPostgres, "postgres")
	_, uerr := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrationLock))
	return errors.Join(err, classify(op, uerr))
}

// Bounds of a transaction.
const (
	attempts = 8
	txLimit  = 30 * time.Second
)

// transactions runs each change in a transaction of its own on the pool.
type transactions struct{ db *sql.DB }

func (t transactions) close() error { return nil } // the pool is closed as Store.db

// do repeats a change that lost against a concurrent one.
func (t transactions) do(ctx context.Context, op string, c change) error {
	for n := 1; ; n++ {
		err := t.try(ctx, c)
		if err == nil || n == attempts || !lostRace(err) {
			return classify(op, err)
		}
		select {
		case <-ctx.Done():
			return classify(op, ctx.Err())
		case <-time.After(rand.N(time.Duration(n) * 10 * time.Millisecond)): //nolint:gosec // jitter
		}
	}
}

// try runs a change once. The end of ctx stops its statements but not its commit,
// whose outcome the caller must learn.
func (t transactions) try(ctx context.Context, c change) error {
	conn, err := t.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), txLimit)
	defer cancel()
	tx, err := conn.BeginTx(whole, nil)
	if err != nil {
		return err
	}
	if err := c(ctx, tx); err != nil {
		_ = tx.Rollback() // a broken connection has rolled back already
		return err
	}
	if err = tx.Commit(); err != nil && !refused(err) {
		return ambiguous(classify("commit", err))
	}
	return err
}

// refused reports a commit that PostgreSQL itself turned down. When the connection
// or the server went away instead, the commit may have been made.
func refused(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	class := e.Code[:min(2, len(e.Code))]
	return class != "08" && class != "57" && class != "58" && class != "XX"
}

// lostRace reports a serialization failure or a deadlock: nothing was done, and the
// same again may work.
func lostRace(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}
