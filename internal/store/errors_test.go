package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	sqlite3 "modernc.org/sqlite/lib"

	"postern/internal/fault"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	pg := func(code string) error { return classify("op", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		name string
		err  error
		kind fault.Kind
		hint string
	}{
		{"sqlite busy", classifySQLite("op", sqlite3.SQLITE_BUSY|2<<8, cause), fault.Temporary, hintBusy},
		{"sqlite locked", classifySQLite("op", sqlite3.SQLITE_LOCKED, cause), fault.Temporary, hintBusy},
		{"sqlite full", classifySQLite("op", sqlite3.SQLITE_FULL, cause), fault.Temporary, hintDisk},
		{"sqlite read-only", classifySQLite("op", sqlite3.SQLITE_READONLY|1<<8, cause), fault.Temporary, hintWrite},
		{"sqlite cannot open", classifySQLite("op", sqlite3.SQLITE_CANTOPEN, cause), fault.Temporary, hintWrite},
		{"sqlite corrupt", classifySQLite("op", sqlite3.SQLITE_CORRUPT|1<<8, cause), fault.Permanent, hintRestore},
		{"sqlite not a database", classifySQLite("op", sqlite3.SQLITE_NOTADB, cause), fault.Permanent, hintRestore},
		{"sqlite disk error", classifySQLite("op", sqlite3.SQLITE_IOERR|4<<8, cause), fault.Temporary, "look into the system log for disk errors"},
		{"sqlite unique", classifySQLite("op", sqlite3.SQLITE_CONSTRAINT_UNIQUE, cause), fault.Conflict, ""},
		{"sqlite foreign key", classifySQLite("op", sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, cause), fault.Conflict, ""},
		{"sqlite too big", classifySQLite("op", sqlite3.SQLITE_TOOBIG, cause), fault.Invalid, ""},
		{"sqlite other", classifySQLite("op", sqlite3.SQLITE_ERROR, cause), fault.Temporary, ""},
		{"postgres full", pg("53100"), fault.Temporary, hintDisk},
		{"postgres too many connections", pg("53300"), fault.Temporary, hintReach},
		{"postgres shutting down", pg("57P01"), fault.Temporary, hintReach},
		{"postgres standby", pg("25006"), fault.Temporary, "point the database URL at the primary, not at a standby"},
		{"postgres password", pg("28P01"), fault.Invalid, hintLogin},
		{"postgres no database", pg("3D000"), fault.Invalid, hintLogin},
		{"postgres no right", pg("42501"), fault.Invalid, "make the user the owner of the database"},
		{"postgres damaged", pg("XX001"), fault.Permanent, hintRestore},
		{"postgres unique", pg("23505"), fault.Conflict, ""},
		{"postgres foreign key", pg("23503"), fault.Conflict, ""},
		{"postgres other", pg("42601"), fault.Temporary, ""},
		{"postgres without a code", pg(""), fault.Temporary, ""},
		{"file on a full disk", classify("op", &fs.PathError{Err: syscall.ENOSPC}), fault.Temporary, hintDisk},
		{"file on a read-only disk", classify("op", &os.LinkError{Err: syscall.EROFS}), fault.Temporary, hintWrite},
		{"file of somebody else", classify("op", &fs.PathError{Err: syscall.EACCES}), fault.Temporary, hintWrite},
		{"anything", classify("op", cause), fault.Temporary, ""},
		{"classified before", classify("op", fault.New(fault.Denied, "x", "y")), fault.Denied, ""},
	} {
		if fault.KindOf(c.err) != c.kind || fault.HintOf(c.err) != c.hint {
			t.Errorf("%s: %v, %v, hint %q", c.name, c.err, fault.KindOf(c.err), fault.HintOf(c.err))
		}
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if err := classify("op", end); fault.As(err) != nil || !errors.Is(err, end) {
			t.Errorf("%v became %v", end, err)
		}
	}
	if classify("op", nil) != nil {
		t.Error("nil became an error")
	}
}

func TestAmbiguousCommit(t *testing.T) {
	t.Parallel()
	if e := fault.As(ambiguous(classify("commit", syscall.ECONNRESET))); e == nil || !e.Ambiguous || e.Kind != fault.Temporary {
		t.Errorf("have %+v", e)
	}
	if e := fault.As(ambiguous(context.DeadlineExceeded)); e == nil || !e.Ambiguous {
		t.Errorf("have %+v", e)
	}
	for code, want := range map[string]bool{"40001": true, "23503": true, "57P01": false, "08006": false, "XX000": false, "": true} {
		if refused(&pgconn.PgError{Code: code}) != want {
			t.Errorf("%q: refused is %v", code, !want)
		}
	}
	if refused(syscall.EPIPE) || definite(syscall.EIO) {
		t.Error("a lost connection, or an error of the system, leaves it open")
	}
}
