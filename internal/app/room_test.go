package app

import (
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
)

// A thousand messages a second do not ask the disk a thousand times; one that was full is
// asked each time, so that mail is taken as soon as there is room.
func TestRoomIsLookedForNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks, full := 0, error(nil)
		r := &room{look: func() error { looks++; return full }}
		for i, step := range []struct {
			after   time.Duration
			full    error
			looks   int
			refused bool
		}{
			{0, nil, 1, false},
			{roomAgain / 2, relay.ErrFull, 1, false},
			{roomAgain / 2, relay.ErrFull, 2, true},
			{0, relay.ErrFull, 3, true},
			{0, nil, 4, false},
			{0, relay.ErrFull, 4, false},
		} {
			time.Sleep(step.after)
			full = step.full
			if err := r.left(); looks != step.looks || (err != nil) != step.refused {
				t.Errorf("step %d: %d looks, %v", i, looks, err)
			}
		}
	})
}
