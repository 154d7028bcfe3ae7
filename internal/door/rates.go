package door

import (
	"slices"
	"sync"
	"time"
)

// rates keeps devices to their cap of messages a minute, on this node.
type rates struct {
	now func() time.Time

	mu   sync.Mutex
	sent map[string][]time.Time // by device, within the last minute
}

func newRates(now func() time.Time) *rates {
	return &rates{now: now, sent: map[string][]time.Time{}}
}

// over says how long a device must wait before its next message; 0 when it need not.
func (r *rates) over(d Device) time.Duration {
	if d.Policy.PerMinute <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	recent := slices.DeleteFunc(r.sent[d.Name], func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	if len(recent) == 0 {
		delete(r.sent, d.Name)
		return 0
	}
	r.sent[d.Name] = recent
	if len(recent) < d.Policy.PerMinute {
		return 0
	}
	return time.Minute - now.Sub(recent[len(recent)-d.Policy.PerMinute])
}

// count notes a message that was accepted.
func (r *rates) count(d Device) {
	if d.Policy.PerMinute <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent[d.Name] = append(r.sent[d.Name], r.now())
}
