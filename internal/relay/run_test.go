package relay

import (
	"testing"
	"time"
)

func TestRushIsToldByTheRate(t *testing.T) {
	t.Parallel()
	begun := time.Unix(1_800_000_000, 0)
	u := rush{at: begun}
	for _, c := range []struct {
		name      string
		accepted  uint64 // in all
		after     time.Duration
		on, young bool
	}{
		{"nothing yet", 0, time.Second, false, true},
		{"two at once", 2, time.Second + time.Microsecond, false, true},
		{"an even flow", 52, 2 * time.Second, false, true},
		{"a rush", 152, 2*time.Second + 100*time.Millisecond, true, true},
		{"its end", 153, 3 * time.Second, false, true},
		{"more of it", 1200, 4 * time.Second, true, true},
		{"too much of it", 1900, 4*time.Second + 200*time.Millisecond, true, false},
		{"it takes breath", 1950, 5 * time.Second, false, false},
		{"and goes on", 2950, 6 * time.Second, true, false},
		{"another", 9950, 9 * time.Second, true, true},
	} {
		if got := u.on(c.accepted, begun.Add(c.after)); got != c.on {
			t.Errorf("%s: %v", c.name, got)
		}
		if got := u.young(); got != c.young {
			t.Errorf("%s: young is %v", c.name, got)
		}
	}
}
