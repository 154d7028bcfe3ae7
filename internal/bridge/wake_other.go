//go:build !linux

package bridge

import "syscall"

// wakeAt does nothing here: readers are woken by what there is.
func wakeAt(syscall.RawConn, int) {}
