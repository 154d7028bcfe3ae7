// Package store keeps everything that must outlive the process: app
// registrations, accounts, grants, devices, tasks, the ledger, and the queue with
// its bodies. It implements [vault.Store], [relay.Store], [fetch.Ledger] and
// [door.Devices] twice, on SQLite in a directory and on PostgreSQL, with one set of
// SQL texts and one conformance suite.
//
// It decides nothing: who may do what, when a message is due, and what a state
// means belong to its callers. It seals nothing: secrets come sealed. A write that
// returned nil is on the disk.
package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"postern/internal/door"
	"postern/internal/fetch"
	"postern/internal/relay"
	"postern/internal/vault"
)

var (
	_ vault.Store  = (*Store)(nil)
	_ relay.Store  = (*Store)(nil)
	_ fetch.Ledger = (*Store)(nil)
	_ door.Devices = (*Store)(nil)
	_ door.Tokens  = (*Store)(nil)
)

// Options are the same for both databases. The zero value is good.
type Options struct {
	Log         *slog.Logger  // nil: silent
	Holder      string        // this process, shown as alive while the store is open; "": it holds nothing
	BusyTimeout time.Duration // SQLite: how long to wait for another process's write; 0: 10 s
	MaxConns    int           // PostgreSQL: connections of this process, at least 2; 0: 16
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 10 * time.Second
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 16
	}
	o.MaxConns = max(o.MaxConns, 2) // a start needs two: one holds the lock
	return o
}

// Store is an open database. It is safe for concurrent use, also by several
// processes on one database.
type Store struct {
	dialect dialect
	db      *sql.DB // reads
	often   querier // reads too; for what every delivery asks
	writes  writes
	bodies  bodies // the large ones
	heads   heads  // and where the others pass through
	life    life
	wall    wall
	log     *slog.Logger
}

// querier is what a *sql.DB, a *sql.Tx and the SQLite writer's connection share.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// change is a unit of work inside a transaction. It may run more than once when
// its transaction has to be repeated, and uses only the context it is given.
type change func(ctx context.Context, tx querier) error

// writes runs changes, each all or none. When do returns nil the change is durable.
// An error that leaves it open whether the commit took place is fault.Error.Ambiguous.
type writes interface {
	do(ctx context.Context, op string, c change) error
	close() error
}

// Close ends the writer and gives the database back. Calls that are under way end
// first; later ones fail.
func (s *Store) Close() error {
	return errors.Join(s.writes.close(), s.life.end(), s.db.Close())
}

// Ping asks the database a trivial question: it is open, and has our tables.
func (s *Store) Ping(ctx context.Context) error {
	_, err := column[int](ctx, s.db, "ask the database", `SELECT count(*) FROM settings WHERE key = ''`)
	return err
}

// write runs one statement as a change and says how many rows it touched.
func (s *Store) write(ctx context.Context, op, query string, args ...any) (int64, error) {
	var n int64
	err := s.writes.do(ctx, op, func(ctx context.Context, tx querier) (err error) {
		n, err = exec(ctx, tx, query, args...)
		return err
	})
	return n, err
}
