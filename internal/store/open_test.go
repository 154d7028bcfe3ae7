package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
)

func TestReopen(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s, err := d.open(t.Context(), store.Options{})
		ok(t, err)
		furnished(t, s)
		small, large := put(t, s, message(1, "scan")), message(2, "scan")
		ok(t, s.PutMessage(t.Context(), &large, bytes.NewReader(octets(1<<20))))
		ok(t, s.Close())
		ok(t, s.Close()) // twice is once
		for _, err := range []error{s.Ping(t.Context()), s.PutApp(t.Context(), contoso()), second(s.Apps(t.Context()))} {
			if err == nil {
				t.Error("a closed database answers")
			}
		}
		s = opened(t, d)
		ok(t, s.Ping(t.Context()))
		got(t, contoso())(s.App(t.Context(), "contoso"))
		got(t, []relay.Message{small, large})(s.Messages(t.Context(), relay.Filter{}))
		if body(t, s, small.ID) != "body of m00001" || body(t, s, large.ID) != string(octets(1<<20)) {
			t.Error("other bodies")
		}
	})
}

// Several processes may meet at an empty database.
func TestConcurrentStart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		const n = 6
		if started := winners(n, func(int) bool {
			s, err := d.open(t.Context(), store.Options{MaxConns: 4})
			if err != nil {
				t.Error(err)
				return false
			}
			err = errors.Join(s.Ping(t.Context()), s.PutApp(t.Context(), contoso()), s.Close())
			if err != nil {
				t.Error(err)
			}
			return err == nil
		}); started != n {
			t.Errorf("%d of %d started", started, n)
		}
	})
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s, err := d.open(t.Context(), store.Options{})
		ok(t, err)
		ok(t, s.Close())
		execute(t, d, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
		_, err = d.open(t.Context(), store.Options{})
		failed(t, err, fault.Invalid, "newer Postern", "9999")
		if fault.HintOf(err) == "" {
			t.Error("no hint")
		}
	})
}

func TestSQLiteFilesArePrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps no Unix modes")
	}
	d := sqliteIn(filepath.Join(t.TempDir(), "a dir?#%20&"))
	s, err := d.open(t.Context(), store.Options{})
	ok(t, err)
	m := message(1, "scan")
	ok(t, s.PutMessage(t.Context(), &m, bytes.NewReader(octets(100<<10))))
	seen := 0
	ok(t, filepath.WalkDir(d.dir, func(path string, e os.DirEntry, err error) error {
		ok(t, err)
		info, err := e.Info()
		ok(t, err)
		seen++
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	}))
	if seen < 5 {
		t.Errorf("only %d files: is the database elsewhere?", seen)
	}
	ok(t, s.Close())
	ok(t, os.Chmod(filepath.Join(d.dir, "postern.db"), 0o644))
	opened(t, d)
	info, err := os.Stat(filepath.Join(d.dir, "postern.db"))
	ok(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestDamagedSQLite(t *testing.T) {
	t.Parallel()
	damage := map[string]func(b []byte) []byte{
		"not a database": func(b []byte) []byte { return append([]byte("this is a text\n"), b...) },
		"holes": func(b []byte) []byte {
			for i := 200; i < len(b); i++ {
				b[i] = 0xa5
			}
			return b
		},
	}
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSQLite(t)
			s, err := d.open(t.Context(), store.Options{})
			ok(t, err)
			furnished(t, s)
			ok(t, s.Close())
			path := filepath.Join(d.dir, "postern.db")
			b, err := os.ReadFile(path)
			ok(t, err)
			ok(t, os.WriteFile(path, spoil(b), 0o600))
			_, err = d.open(t.Context(), store.Options{})
			failed(t, err, fault.Permanent, "damaged")
			if !strings.Contains(fault.HintOf(err), "restore") {
				t.Errorf("hint %q", fault.HintOf(err))
			}
		})
	}
}

func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(file, nil, 0o600))
	_, err := store.OpenSQLite(t.Context(), file, store.Options{})
	failed(t, err, fault.Temporary, "open the database")
}

func TestPostgresOutOfReach(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]fault.Kind{
		"postgres://u:hunter2secret@127.0.0.1:1/x?connect_timeout=5": fault.Temporary,
		"postgres://u:hunter2secret@127.0.0.1:port/x":                fault.Invalid,
	} {
		_, err := store.OpenPostgres(t.Context(), url, store.Options{})
		failed(t, err, want)
		if all := fmt.Sprintf("%v %+v %s", err, err, fault.HintOf(err)); strings.Contains(all, "hunter2secret") {
			t.Errorf("shows the password: %s", all)
		}
		if fault.HintOf(err) == "" {
			t.Error("no hint")
		}
	}
}
