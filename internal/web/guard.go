package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"postern/internal/secret"
)

// guard asks for the administrator's password (HTTP Basic) and slows down whoever
// does not know it. Checking is costly by design, so one at a time is checked.
type guard struct {
	check func(ctx context.Context, user string, password secret.Text) bool

	mu     sync.Mutex
	failed map[string]attempts // by address
}

type attempts struct {
	count int
	until time.Time
}

const (
	freeAttempts = 5
	penalty      = time.Minute
	forgetAfter  = 1000 // addresses remembered at most
)

func newGuard(check func(ctx context.Context, user string, password secret.Text) bool) *guard {
	return &guard{check: check, failed: map[string]attempts{}}
}

func (g *guard) protect(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		if ok && g.blocked(host) {
			w.Header().Set("Retry-After", "60")
			http.Error(w, "too many wrong passwords from your address; wait a minute", http.StatusTooManyRequests)
			return
		}
		if !ok || !g.check(r.Context(), user, secret.New(password)) {
			if ok {
				g.missed(host)
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="Postern", charset="UTF-8"`)
			http.Error(w, "sign in as admin; make a password with: postern admin password", http.StatusUnauthorized)
			return
		}
		g.forgive(host)
		next(w, r)
	})
}

func (g *guard) blocked(host string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.failed[host]
	return a.count >= freeAttempts && time.Now().Before(a.until)
}

func (g *guard) missed(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.failed) >= forgetAfter {
		clear(g.failed)
	}
	a := g.failed[host]
	if time.Now().After(a.until) {
		a.count = 0
	}
	g.failed[host] = attempts{count: a.count + 1, until: time.Now().Add(penalty)}
}

func (g *guard) forgive(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.failed, host)
}
