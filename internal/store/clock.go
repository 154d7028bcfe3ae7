package store

import (
	"context"
	"sync/atomic"
	"time"
)

// wall is how far the database's clock is ahead of this machine's. Leases, lanes and
// send slots are times that several nodes compare, so one clock must decide: that of
// the database they share.
type wall struct{ ahead atomic.Int64 }

// bearable is how far two clocks may be apart before it matters.
const bearable = time.Second

// Now is the time by the database's clock, as of the last [Store.SetClock]. Beside
// SQLite it is this machine's.
func (s *Store) Now() time.Time { return time.Now().Add(time.Duration(s.wall.ahead.Load())) }

// SetClock asks the database what time it is, goes by that from now on, and returns how
// far it is ahead; 0 when the clocks agree to a second.
func (s *Store) SetClock(ctx context.Context) (ahead time.Duration, err error) {
	if s.dialect.clock == "" {
		return 0, nil
	}
	asked := time.Now()
	at, err := column[int64](ctx, s.db, "ask the database for the time", s.dialect.clock)
	if err != nil {
		return 0, err
	}
	answered := time.Now()
	ahead = time.UnixMilli(at).Sub(asked.Add(answered.Sub(asked) / 2))
	if ahead.Abs() < bearable+answered.Sub(asked)/2 { // a slow answer is no clock's fault
		ahead = 0
	}
	s.wall.ahead.Store(int64(ahead))
	return ahead, nil
}
