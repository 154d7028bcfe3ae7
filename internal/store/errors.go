package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"postern/internal/fault"
)

// classify gives a database error its kind, once. What is classified already
// passes through.
func classify(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case fault.As(err) != nil:
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, sql.ErrNoRows):
		return fault.Wrap(fault.NotFound, op, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.Temporary, op, "the disk is full: %w", err).WithHint("free some space under data_dir")
	}
	if e := new(sqlite.Error); errors.As(err, &e) {
		return classifySQLite(op, e)
	}
	if e := new(pgconn.PgError); errors.As(err, &e) {
		return classifyPostgres(op, e)
	}
	return fault.Wrap(fault.Temporary, op, err)
}

func classifySQLite(op string, e *sqlite.Error) error {
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return fault.New(fault.Temporary, op, "the disk is full: %w", e).WithHint("free some space under data_dir")
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fault.New(fault.Temporary, op, "the database is locked by another process: %w", e).
			WithHint("end the program that has postern.db open; backups should use sqlite3's .backup")
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
		return fault.New(fault.Temporary, op, "the database cannot be written: %w", e).WithHint("check the owner and mode of data_dir and of the files in it")
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fault.New(fault.Permanent, op, "the database file is damaged, or is no database: %w", e).
			WithHint("stop, keep a copy of data_dir, and restore postern.db from a backup")
	case sqlite3.SQLITE_CONSTRAINT:
		return fault.Wrap(fault.Conflict, op, e)
	}
	return fault.Wrap(fault.Temporary, op, e)
}

func classifyPostgres(op string, e *pgconn.PgError) error {
	switch e.Code[:2] {
	case "23": // integrity constraint violation
		return fault.Wrap(fault.Conflict, op, e)
	case "53": // insufficient resources
		return fault.New(fault.Temporary, op, "the database server is out of resources: %w", e).WithHint("free disk space or connections on the PostgreSQL server")
	case "28", "3D": // authorization, no such database
		return fault.New(fault.Invalid, op, "%w", e).WithHint("check user and database name in the database URL")
	}
	return fault.Wrap(fault.Temporary, op, e)
}

// isConflict reports whether a PostgreSQL transaction may simply be run again.
func isConflict(err error) bool {
	e := new(pgconn.PgError)
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}

// isForeignKey reports whether a write named a record that is not there, or
// removed one that is in use.
func isForeignKey(err error) bool {
	if e := new(sqlite.Error); errors.As(err, &e) {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY || e.Code() == sqlite3.SQLITE_CONSTRAINT_TRIGGER
	}
	e := new(pgconn.PgError)
	return errors.As(err, &e) && e.Code == "23503"
}

func openFailed(path string, err error) error {
	switch {
	case fault.As(err) != nil:
		return err
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Invalid, "open "+path, "%w", err).WithHint("check the owner and mode of data_dir")
	}
	return classify("open "+path, err)
}
