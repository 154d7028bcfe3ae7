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
// does not know it.
type guard struct {
	check func(ctx context.Context, user string, password secret.Text) bool
	now   func() time.Time
	turn  chan struct{} // checking is costly by design: one at a time

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
	remembered   = 1000 // addresses at most
)

func newGuard(check func(ctx context.Context, user string, password secret.Text) bool, now func() time.Time) *guard {
	return &guard{check: check, now: now, turn: make(chan struct{}, 1), failed: map[string]attempts{}}
}

func (g *guard) protect(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok {
			refuse(w)
			return
		}
		select { // taken before the count is read, so that a flood cannot slip in beside it
		case g.turn <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		known, blocked := g.judge(r.Context(), address(r), user, secret.New(password))
		<-g.turn
		switch {
		case blocked:
			w.Header().Set("Retry-After", "60")
			http.Error(w, "too many wrong passwords from your address; wait a minute", http.StatusTooManyRequests)
		case !known:
			refuse(w)
		default:
			next(w, r)
		}
	})
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="Postern", charset="UTF-8"`)
	http.Error(w, "sign in as admin; make a password with: postern admin password", http.StatusUnauthorized)
}

func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// judge checks a password, unless too many from that address were wrong lately.
func (g *guard) judge(ctx context.Context, host, user string, password secret.Text) (known, blocked bool) {
	if g.blocked(host) {
		return false, true
	}
	known = g.check(ctx, user, password)
	g.mu.Lock()
	defer g.mu.Unlock()
	if known {
		delete(g.failed, host)
		return true, false
	}
	if len(g.failed) >= remembered {
		clear(g.failed)
	}
	a, now := g.failed[host], g.now()
	if now.After(a.until) {
		a.count = 0
	}
	g.failed[host] = attempts{count: a.count + 1, until: now.Add(penalty)}
	return false, false
}

func (g *guard) blocked(host string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.failed[host]
	return a.count >= freeAttempts && g.now().Before(a.until)
}
