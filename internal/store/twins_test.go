package store_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
)

// handed is a message that is known by its sum for ten minutes.
func handed(n int, sum string, at time.Time) relay.Message {
	m := message(n, "scan")
	m.Accepted, m.Resend = at, &relay.Twin{For: 10 * time.Minute, Sum: func() []byte { return []byte(sum) }}
	return m
}

func putHanded(t *testing.T, s *store.Store, m relay.Message, body string) (first string) {
	t.Helper()
	err := s.PutMessage(t.Context(), &m, strings.NewReader(body))
	var again relay.Again
	if errors.As(err, &again) {
		failed(t, err, fault.Conflict, again.ID)
		return again.ID
	}
	ok(t, err)
	return m.ID
}

func TestTwinsMeet(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 100<<10)
	each(t, func(t *testing.T, d database) {
		ctx := t.Context()
		s := opened(t, d)
		is := func(what, want, have string) {
			t.Helper()
			if have != want {
				t.Errorf("%s: %s, want %s", what, have, want)
			}
		}
		is("the first", "m00001", putHanded(t, s, handed(1, "a", t0), "x"))
		is("another", "m00002", putHanded(t, s, handed(2, "b", t0), large))
		is("its twin", "m00001", putHanded(t, s, handed(3, "a", after(time.Minute)), "x"))
		is("a large one's", "m00002", putHanded(t, s, handed(4, "b", after(time.Minute)), large))
		failed(t, second(s.Message(ctx, "m00003")), fault.NotFound)
		again := opened(t, d) // another process, or this one after a restart
		is("after a restart", "m00001", putHanded(t, again, handed(3, "a", after(2*time.Minute)), "x"))
		is("late", "m00005", putHanded(t, s, handed(5, "a", after(10*time.Minute)), "x"))

		ok(t, s.DeleteMessage(ctx, "m00005"))
		is("of a deleted one", "m00006", putHanded(t, s, handed(6, "a", after(11*time.Minute)), "x"))
		for _, m := range claim(t, s, "me") {
			m.State = map[string]relay.State{"m00006": relay.Failed}[m.ID]
			if m.State == "" {
				m.State = relay.Delivered
			}
			ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
		}
		is("of a failed one", "m00007", putHanded(t, s, handed(7, "a", after(12*time.Minute)), "x"))
		is("of a delivered one", "m00002", putHanded(t, s, handed(8, "b", after(9*time.Minute)), large))

		ok(t, s.ForgetSends(ctx, after(21*time.Minute))) // "a" is remembered until 22
		is("that is not forgotten", "m00007", putHanded(t, s, handed(9, "a", after(21*time.Minute)), "x"))
	})
}

// Of many at once exactly one is queued, and the others learn its id.
func TestTwinsAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		nodes := []*store.Store{opened(t, d), opened(t, d)}
		for round, expired := range []bool{false, true} { // first to a free place, then to one whose time is over
			var all sync.Map
			var wg sync.WaitGroup
			at := t0
			if expired {
				at = after(time.Hour)
			}
			for n := range 12 {
				wg.Go(func() { all.Store(putHanded(t, nodes[n%2], handed(100*round+n, "same", at), "x"), true) })
			}
			wg.Wait()
			ids := 0
			all.Range(func(any, any) bool { ids++; return true })
			if ids != 1 {
				t.Errorf("expired %t: %d different ids", expired, ids)
			}
		}
		queued, err := nodes[0].Messages(t.Context(), relay.Filter{})
		ok(t, err)
		if len(queued) != 2 {
			t.Errorf("%d messages are queued", len(queued))
		}
	})
}
