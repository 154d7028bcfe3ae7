package door

import (
	"sync"
	"time"
)

// recent keeps what was read from the store for a moment, so that a thousand messages a
// second do not read a thousand times what changes once a year. What could not be read
// is asked for again. It is safe for concurrent use.
type recent[T any] struct {
	keep time.Duration // 0 keeps nothing

	mu   sync.Mutex
	kept map[string]reading[T]
}

type reading[T any] struct {
	value T
	until time.Time
}

func newRecent[T any](keep time.Duration) *recent[T] {
	return &recent[T]{keep: keep, kept: make(map[string]reading[T])}
}

// get returns what is kept under a key, or reads it.
func (r *recent[T]) get(key string, read func() (T, error)) (T, error) {
	if r.keep <= 0 {
		return read()
	}
	r.mu.Lock()
	have, ok := r.kept[key]
	r.mu.Unlock()
	if ok && time.Now().Before(have.until) {
		return have.value, nil
	}
	return r.renew(key, read)
}

// renew reads, whatever is kept.
func (r *recent[T]) renew(key string, read func() (T, error)) (T, error) {
	now := time.Now()
	value, err := read()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.kept, key)
		return value, err
	}
	if len(r.kept) >= maxKnown {
		clear(r.kept)
	}
	r.kept[key] = reading[T]{value, now.Add(r.keep)}
	return value, nil
}
