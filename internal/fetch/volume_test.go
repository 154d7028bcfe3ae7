//go:build linux

package fetch

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVolume wants syncfs only where it is known to flush the disk.
func TestVolume(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	known := tellsErrors() && (fs.Type == unix.EXT4_SUPER_MAGIC || fs.Type == unix.XFS_SUPER_MAGIC || fs.Type == unix.BTRFS_SUPER_MAGIC)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := openVolume(dir)
	if done, err := v.flush(dir); done != known || err != nil {
		t.Errorf("flush: %v, %v; want %v", done, err, known)
	}
	if done, _ := v.flush("/proc"); done {
		t.Error("another file system was taken for flushed")
	}
	v.close()
	if done, err := v.flush(dir); done || err != nil {
		t.Errorf("flush after the end: %v, %v", done, err)
	}
	other := openVolume("/proc")
	defer other.close()
	if done, _ := other.flush("/proc"); done {
		t.Error("a file system without a disk was taken for flushed")
	}
	var none *volume
	if done, err := none.flush(dir); done || err != nil {
		t.Errorf("flush of none: %v, %v", done, err)
	}
}
