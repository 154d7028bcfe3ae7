package store

import (
	"context"
	"database/sql"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"

	"postern/internal/fetch"
	"postern/internal/relay"
)

// MigrateTo makes a database as an older Postern left it.
func MigrateTo(ctx context.Context, db *sql.DB, kind string, version int64) error {
	files, err := fs.Sub(migrations, "migrations/"+kind)
	if err != nil {
		return err
	}
	dialect := map[string]goose.Dialect{"sqlite": goose.DialectSQLite3, "postgres": goose.DialectPostgres}[kind]
	p, err := goose.NewProvider(dialect, db, files, goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.UpTo(ctx, version)
	return err
}

// Querier is what a change runs its statements on.
type Querier = querier

// Do runs a change of a test's own.
func (s *Store) Do(ctx context.Context, op string, c func(ctx context.Context, tx Querier) error) error {
	return s.writes.do(ctx, op, c)
}

// SearchBy is Search with steps of another length.
func (s *Store) SearchBy(ctx context.Context, f relay.Filter, patience time.Duration, step int) ([]relay.Message, string, error) {
	return s.search(ctx, f, patience, step)
}

// SearchEntriesBy is SearchEntries with steps of another length.
func (s *Store) SearchEntriesBy(ctx context.Context, f fetch.Filter, patience time.Duration, step int) ([]fetch.Entry, string, error) {
	return s.searchEntries(ctx, f, patience, step)
}

// UnfinishedQuery is what Unfinished asks.
const UnfinishedQuery = unfinished
