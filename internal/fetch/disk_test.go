//go:build !windows

package fetch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"postern/internal/fault"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, staging, final string)
		want    moved
		final   string
	}{
		{"free", func(*testing.T, string, string) {}, movedNow, "ours"},
		{"taken", func(t *testing.T, _, final string) { must(t, os.WriteFile(final, []byte("foreign"), 0o600)) }, nameTaken, "foreign"},
		{"taken by a dangling link", func(t *testing.T, _, final string) { must(t, os.Symlink("nowhere", final)) }, nameTaken, ""},
		{"renamed before", func(t *testing.T, staging, final string) { must(t, os.Rename(staging, final)) }, movedBefore, "ours"},
		{"renamed before and taken away", func(t *testing.T, staging, _ string) { must(t, os.Remove(staging)) }, movedBefore, ""},
		{"linked, not yet unlinked", func(t *testing.T, staging, final string) { must(t, os.Link(staging, final)) }, movedNow, "ours"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(folderTask("t", t.TempDir()), "", func(string) {})
			must(t, d.dropAnchor())
			staging, final := filepath.Join(d.dir, "staging"), filepath.Join(d.dir, "final")
			must(t, os.WriteFile(staging, []byte("ours"), 0o600))
			tt.prepare(t, staging, final)
			got, err := d.place(File{Staging: staging, Name: "final"}, false)
			if err != nil || got != tt.want {
				t.Errorf("%d, %v; want %d", got, err, tt.want)
			}
			if body, _ := os.ReadFile(final); string(body) != tt.final {
				t.Errorf("final holds %q, want %q", body, tt.final)
			}
			if _, err := os.Lstat(staging); (err == nil) != (tt.want == nameTaken) {
				t.Errorf("staging name: %v", err)
			}
		})
	}
}

// File systems without an exclusive rename get the two-step one.
func TestLinkNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	must(t, os.WriteFile(from, []byte("ours"), 0o600))
	must(t, linkNew(from, to))
	if body, err := os.ReadFile(to); err != nil || string(body) != "ours" || exists(dir, "from") {
		t.Errorf("%q, %v", body, err)
	}
	must(t, os.WriteFile(from, []byte("second"), 0o600))
	if err := linkNew(from, to); !errors.Is(err, fs.ErrExist) || !exists(dir, "from") {
		t.Errorf("over a taken name: %v", err)
	}
}

func TestDiskErrors(t *testing.T) {
	t.Parallel()
	d := newDisk(folderTask("t", "/srv/in"), "", nil)
	for cause, want := range map[error]fault.Kind{
		syscall.ENOSPC: fault.Temporary, syscall.EIO: fault.Temporary,
		syscall.ENOENT: fault.NeedsAdmin, syscall.EACCES: fault.NeedsAdmin, syscall.EROFS: fault.NeedsAdmin,
	} {
		err := d.diskError("write", &fs.PathError{Op: "write", Path: "x", Err: cause})
		if fault.KindOf(err) != want || !errors.Is(err, errDisk) || !errors.Is(err, cause) {
			t.Errorf("%v is %s, want %s", cause, fault.KindOf(err), want)
		}
	}
}
