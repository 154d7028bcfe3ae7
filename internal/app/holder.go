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

// node is how pages name this process to those that came to another one: a part that is
// its own, and its host. There is one node only where the database is no server's.
func (a *App) node() string {
	parts := strings.Split(a.holder, "/")
	if a.Config.Database == "" || len(parts) != 3 {
		return ""
	}
	return parts[2] + "." + parts[0]
}
