package bridge

import "syscall"

// wakeAt has a connection's reader woken when so many octets are there (socket(7),
// SO_RCVLOWAT).
func wakeAt(c syscall.RawConn, octets int) {
	_ = c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, octets)
	})
}
