package vault

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

var errLocked = errors.New("it is locked")

// What package syscall does not name: the system's number for a file somebody else has
// open, and the wish that a file go with its last handle.
const (
	sharingViolation = syscall.Errno(32)
	deleteOnClose    = 0x04000000
)

// lockBeside opens a file next to path that nobody else may open meanwhile. It ends
// with the process.
func lockBeside(path string) (unlock func() error, err error) {
	name, err := syscall.UTF16PtrFromString(path + ".lock")
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, deleteOnClose, 0)
	if errors.Is(err, sharingViolation) {
		err = errLocked
	}
	if err != nil {
		return nil, err
	}
	return func() error { return syscall.CloseHandle(h) }, nil
}

// sameOwner has nothing to do: a file inherits who may read it from its directory.
func sameOwner(*os.File, fs.FileInfo) error { return nil }
