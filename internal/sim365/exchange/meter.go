package exchange

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// meter counts what the limits of a mailbox are about.
type meter struct {
	mu       sync.Mutex
	sessions map[string][]string    // signed in, first come first
	sent     map[string][]time.Time // messages within the last minute
	reached  map[string][]reached   // recipients within the last day
}

type reached struct {
	at time.Time
	n  int
}

func newMeter() *meter {
	return &meter{sessions: map[string][]string{}, sent: map[string][]time.Time{}, reached: map[string][]reached{}}
}

func (m *meter) enter(mailbox, session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.ToLower(mailbox)
	m.sessions[key] = append(m.sessions[key], session)
}

func (m *meter) leave(mailbox, session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.ToLower(mailbox)
	m.sessions[key] = slices.DeleteFunc(m.sessions[key], func(s string) bool { return s == session })
}

// crowded reports whether a session came after the limit of sessions was reached.
func (m *meter) crowded(mailbox, session string, limit int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return limit > 0 && slices.Index(m.sessions[strings.ToLower(mailbox)], session) >= limit
}

// slot takes a place within the rate; when there is none, it says how long to wait.
func (m *meter) slot(mailbox string, limit int, now time.Time, window time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.ToLower(mailbox)
	recent := slices.DeleteFunc(m.sent[key], func(at time.Time) bool { return now.Sub(at) >= window })
	if limit > 0 && len(recent) >= limit {
		m.sent[key] = recent
		return window - now.Sub(recent[len(recent)-limit])
	}
	m.sent[key] = append(recent, now)
	return 0
}

// reach counts n more recipients, if the day's limit allows them.
func (m *meter) reach(mailbox string, n, limit int, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.ToLower(mailbox)
	recent := slices.DeleteFunc(m.reached[key], func(r reached) bool { return now.Sub(r.at) >= 24*time.Hour })
	m.reached[key] = recent
	total := n
	for _, r := range recent {
		total += r.n
	}
	if limit > 0 && total > limit {
		return false
	}
	m.reached[key] = append(recent, reached{now, n})
	return true
}
