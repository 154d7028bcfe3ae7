package app

import (
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// newHolder names this process in leases, claims and locks: host/pid/random.
// A fetch run adds a fourth part of its own.
func newHolder() string {
	host, err := os.Hostname()
	if err != nil || strings.Contains(host, "/") {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:8])
}

// deadHolder reports whether the process that a holder names ran on this host and
// is gone. Of other hosts' holders nothing is known: their leases end by time.
func deadHolder(self, holder string) bool {
	mine, other := strings.Split(self, "/"), strings.Split(holder, "/")
	if len(mine) < 3 || len(other) < 3 || mine[0] != other[0] {
		return false
	}
	if mine[1] == other[1] {
		return mine[2] != other[2] // our number, another life: a container's pid 1, or reuse
	}
	pid, err := strconv.Atoi(other[1])
	return err == nil && pid > 0 && !alive(pid)
}

func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false // Windows opens the process to find it
	}
	defer func() { _ = p.Release() }()
	if runtime.GOOS == "windows" {
		return true
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || os.IsPermission(err)
}
