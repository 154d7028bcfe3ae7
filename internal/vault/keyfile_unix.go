//go:build !windows

package vault

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

var errLocked = errors.New("it is locked")

// lockBeside locks the directory of a file: a lock that needs no file of its own and
// ends with the process.
func lockBeside(path string) (unlock func() error, err error) {
	dir, err := os.Open(filepath.Dir(path)) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir.Close, nil
}

// sameOwner gives a file to whom another belongs: root may rotate the key of a service
// that runs as somebody else.
func sameOwner(f *os.File, like fs.FileInfo) error {
	was, ok := like.Sys().(*syscall.Stat_t)
	if !ok || int(was.Uid) == os.Geteuid() {
		return nil
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}
