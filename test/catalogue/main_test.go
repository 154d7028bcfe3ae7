package main

import (
	"strings"
	"testing"
)

// TestEveryKnownFaultIsNamedWithItsFix is `make check-catalogue`.
func TestEveryKnownFaultIsNamedWithItsFix(t *testing.T) {
	t.Parallel()
	r, err := prove(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if r.share() != 100 || r.known < 280 || r.known != r.provoked+len(r.unprovoked) || len(r.unprovoked) > 3 {
		var b strings.Builder
		r.print(&b)
		t.Error(b.String())
	}
}

func TestTheShareCountsWhatWasNamedWrong(t *testing.T) {
	t.Parallel()
	r := result{provoked: 4, wrong: []string{"one"}}
	if r.share() != 75 || (result{}).share() != 0 {
		t.Errorf("share %v, of nothing %v", r.share(), result{}.share())
	}
}
