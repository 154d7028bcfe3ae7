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
		name     string
		accepted uint64 // in all
		after    time.Duration
		want     bool
	}{
		{"nothing yet", 0, time.Second, false},
		{"two at once", 2, time.Second + time.Microsecond, false},
		{"an even flow", 52, 2 * time.Second, false},
		{"a rush", 152, 2*time.Second + 100*time.Millisecond, true},
		{"its end", 153, 3 * time.Second, false},
	} {
		if got := u.on(c.accepted, begun.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
