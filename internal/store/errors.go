package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"postern/internal/fault"
	"postern/internal/relay"
)

// The operator's next steps.
const (
	hintDisk    = "free space on the disk that holds the database; nothing that was accepted is lost"
	hintBusy    = "another process holds the database: end a backup or a database browser that keeps it open"
	hintWrite   = "give the user that runs Postern the right to write to the data directory and the files in it"
	hintRestore = "stop Postern, keep a copy of the database files, and restore from a backup"
	hintReach   = "is PostgreSQL running, and are host and port in the database URL right?"
	hintLogin   = "check user, password and database name in the database URL"
)

// classify gives an error of a database or a disk its kind. What is classified
// already, and the end of a context, stay what they are.
func classify(op string, err error) error {
	if err == nil || fault.As(err) != nil {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", op, err)
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return classifySQLite(op, lite.Code(), err)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return classifyPostgres(op, pg.Code, err)
	}
	if onDisk(err) {
		return classifyDisk(op, err)
	}
	var network net.Error
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.As(err, &network) {
		return explain(fault.Temporary, op, "PostgreSQL does not answer", hintReach, err)
	}
	return fault.Wrap(fault.Temporary, op, err)
}

func explain(kind fault.Kind, op, sentence, hint string, err error) error {
	return &fault.Error{Kind: kind, Op: op, Err: fmt.Errorf("%s: %w", sentence, err), Hint: hint}
}

func full(op string, err error) error {
	return &fault.Error{Kind: fault.Temporary, Op: op, Err: fmt.Errorf("%w: %w", relay.ErrFull, err), Hint: hintDisk}
}

// Sentences that both databases need.
const (
	saysExists = "it exists already"
	saysNeeded = "something else depends on it, or what it depends on is gone"
)

// classifySQLite reads https://sqlite.org/rescode.html; the low octet of an extended
// code is the primary one.
func classifySQLite(op string, code int, err error) error {
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return explain(fault.Conflict, op, saysExists, "", err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return explain(fault.Conflict, op, saysNeeded, "", err)
	}
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return explain(fault.Temporary, op, "another process holds the database", hintBusy, err)
	case sqlite3.SQLITE_FULL:
		return full(op, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
		return explain(fault.Temporary, op, "the database cannot be written to", hintWrite, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return explain(fault.Permanent, op, "the database file is damaged", hintRestore, err)
	case sqlite3.SQLITE_IOERR:
		return explain(fault.Temporary, op, "the disk refused to read or write", "look into the system log for disk errors", err)
	case sqlite3.SQLITE_TOOBIG:
		return explain(fault.Invalid, op, "it is too long", "", err)
	}
	return fault.Wrap(fault.Temporary, op, err)
}

// classifyPostgres reads https://www.postgresql.org/docs/current/errcodes-appendix.html.
func classifyPostgres(op, code string, err error) error {
	switch code {
	case "23505":
		return explain(fault.Conflict, op, saysExists, "", err)
	case "23503":
		return explain(fault.Conflict, op, saysNeeded, "", err)
	case "53100":
		return full(op, err)
	case "25006":
		return explain(fault.Temporary, op, "PostgreSQL is read-only", "point the database URL at the primary, not at a standby", err)
	case "XX001", "XX002":
		return explain(fault.Permanent, op, "the database is damaged", hintRestore, err)
	case "3D000":
		return explain(fault.Invalid, op, "PostgreSQL does not know this database", hintLogin, err)
	case "42501":
		return explain(fault.Invalid, op, "PostgreSQL does not let this user do that", "make the user the owner of the database", err)
	}
	switch code[:min(2, len(code))] {
	case "28":
		return explain(fault.Invalid, op, "PostgreSQL refuses the login", hintLogin, err)
	case "08", "53", "57":
		return explain(fault.Temporary, op, "PostgreSQL is not ready to work", hintReach, err)
	}
	return fault.Wrap(fault.Temporary, op, err)
}

// onDisk reports an error of a file operation of ours.
func onDisk(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

// windowsDiskFull is ERROR_DISK_FULL, which Go does not count as ENOSPC.
const windowsDiskFull = syscall.Errno(112)

func classifyDisk(op string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), isWindows && errors.Is(err, windowsDiskFull):
		return full(op, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return explain(fault.Temporary, op, "the data directory cannot be written to", hintWrite, err)
	}
	return fault.Wrap(fault.Temporary, op, err)
}

// ambiguous marks an error after which the commit may have taken place: the answer
// to it was cut off, or the disk failed while it was written.
func ambiguous(err error) error {
	if e := fault.As(err); e != nil {
		marked := *e
		marked.Ambiguous = true
		return &marked
	}
	return &fault.Error{Kind: fault.Temporary, Op: "commit", Err: err, Ambiguous: true}
}
