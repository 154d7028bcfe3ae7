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

// A message that is claimed while an earlier try goes on is worked on by nobody: the end
// of the try says so, and its lease is given back.
func TestClaimedAnew(t *testing.T) {
	t.Parallel()
	var l leases
	if !l.add("a") || !l.add("b") || l.add("a") || l.add("a") {
		t.Error("one message is worked on twice, or one not at all")
	}
	if !l.drop("a") || l.drop("b") {
		t.Error("it is not known which was claimed anew")
	}
	if !l.add("a") || l.drop("a") {
		t.Error("what was claimed anew once is taken for it again")
	}
}
