package fetch

import (
	"cmp"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// volume is the file system that files are staged on. One syncfs(2) makes many of them
// durable: what they share, tables of inodes above all, is written once, and the disk
// flushes its cache once. Everybody else's changes are written with them, so it is given
// up for the run when that takes long.
type volume struct {
	mu   sync.Mutex
	root *os.File // nil: files are made durable one by one
	dev  uint64
	err  error // the first of them

	files atomic.Int64 // written so far
}

// ahead is how many files are written out while the next ones are being read.
const ahead = 64

// tooLong is how long others' changes may hold a run up.
const tooLong = 2 * time.Second

// openVolume opens a directory's file system, before anything is written there: what
// fails to be written is told to those who had it open then. Where syncfs is not known to
// flush the disk and to tell of errors (Linux 5.8), it is not used.
func openVolume(dir string) *volume {
	root, err := os.Open(dir) //nolint:gosec // the task's own directory
	if err != nil {
		return nil
	}
	v := &volume{root: root}
	var here unix.Stat_t
	if !tellsErrors() || !flushes(root) || unix.Fstat(int(root.Fd()), &here) != nil {
		v.close()
		return v
	}
	v.dev = here.Dev
	return v
}

func tellsErrors() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 8)
}

func flushes(root *os.File) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(int(root.Fd()), &fs) != nil {
		return false
	}
	switch uint32(fs.Type) { //nolint:gosec // 32 bits on every system, whatever the field's type
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
		return true
	}
	return false
}

// flush makes durable what was written to the directory's file system; done is false
// where the files have to be made durable one by one.
func (v *volume) flush(dir string) (done bool, err error) {
	if v == nil {
		return false, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		var there unix.Stat_t
		if v.root == nil || unix.Stat(dir, &there) != nil || there.Dev != v.dev { // something was mounted over it
			return false, nil
		}
		v.sync()
	}
	if v.err != nil {
		return false, &os.PathError{Op: "syncfs", Path: dir, Err: v.err}
	}
	return true, nil
}

// sync has v.mu. What goes wrong is told once by the kernel, and kept.
func (v *volume) sync() {
	began := time.Now()
	v.err = cmp.Or(v.err, unix.Syncfs(int(v.root.Fd())))
	if time.Since(began) > tooLong {
		v.shut()
	}
}

// written notes that a file was. Every so often what there is goes to the disk at once,
// while more is being read.
func (v *volume) written() {
	if v == nil || v.files.Add(1)%ahead != 0 {
		return
	}
	go func() {
		if !v.mu.TryLock() { // it is being written
			return
		}
		defer v.mu.Unlock()
		if v.root != nil {
			v.sync()
		}
	}()
}

func (v *volume) close() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut()
}

func (v *volume) shut() {
	if v.root != nil {
		_ = v.root.Close() // nothing was written through it
		v.root = nil
	}
}
