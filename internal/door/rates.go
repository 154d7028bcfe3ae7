package door

import (
	"slices"
	"sync"
	"time"
)

// Rates keeps devices to their cap of messages a minute, on this node. All its doors
// share one.
type Rates struct {
	mu   sync.Mutex
	sent map[string][]time.Time // by device, within the last minute
}

// NewRates counts from nothing.
func NewRates() *Rates {
	return &Rates{sent: map[string][]time.Time{}}
}

// over says how long a device must wait before its next message; 0 when it need not.
func (r *Rates) over(d Device) time.Duration {
	if d.Policy.PerMinute <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wait(d, time.Now())
}

// wait is over, locked.
func (r *Rates) wait(d Device, now time.Time) time.Duration {
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

// take counts a message that is about to come in, if there is room for it: other sessions
// of the device may have begun theirs at the same time. back is for one that was not
// accepted.
func (r *Rates) take(d Device) (back func(), wait time.Duration) {
	if d.Policy.PerMinute <= 0 {
		return func() {}, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if wait := r.wait(d, now); wait > 0 {
		return nil, wait
	}
	r.sent[d.Name] = append(r.sent[d.Name], now)
	return func() { r.forget(d.Name, now) }, 0
}

func (r *Rates) forget(device string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.sent[device], at); i >= 0 {
		r.sent[device] = slices.Delete(r.sent[device], i, i+1)
	}
}
