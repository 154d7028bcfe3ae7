package fetch

import (
	"os"

	"golang.org/x/sys/unix"
)

// beginSync has the kernel begin to write a file out. What goes wrong, the sync tells.
func beginSync(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}
