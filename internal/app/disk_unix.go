//go:build !windows

package app

import "golang.org/x/sys/unix"

// freeSpace is how many octets may still be written at a path.
func freeSpace(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil //nolint:gosec,unconvert // their types differ between systems, and neither is below 0
}
