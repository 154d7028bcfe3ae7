package app

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

// newHolder names this process in leases, claims and locks: host/pid/random, which
// no other process ever has. A fetch run adds a fourth part of its own.
func newHolder() string {
	host, err := os.Hostname()
	if err != nil || strings.Contains(host, "/") {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:8])
}
