package relay_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

// yields is a store that remembers who let go of an account.
type yields struct {
	*memory
	mu  sync.Mutex
	all []bool
}

func (y *yields) FinishMessage(ctx context.Context, holder string, m relay.Message, spent relay.Spent) error {
	y.mu.Lock()
	y.all = append(y.all, spent.Yields)
	y.mu.Unlock()
	return y.memory.FinishMessage(ctx, holder, m, spent)
}

// Who cannot reach the server of an account that one node at a time delivers for leaves
// it to others for a moment; a server that answers is reached.
func TestAccountOutOfReachIsLeftToOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		caps   map[string]int
		err    *fault.Error
		yields bool
	}{
		"no connection":   {map[string]int{"scan": 3}, fault.New(fault.Temporary, "connect", "no route to host"), true},
		"it answers":      {map[string]int{"scan": 3}, told(fault.Temporary, "421", "4.3.2"), false},
		"nobody is bound": {nil, fault.New(fault.Temporary, "connect", "no route to host"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				y := &yields{memory: s.store}
				s.relay = relay.New(relay.Config{Store: y, Sender: s, Accounts: s, Caps: func() map[string]int { return c.caps }})
				s.openAs = func(int) error { return c.err }
				s.run()
				s.accept("scan", "bob@example.net")
				s.after(2 * time.Second)
				s.accept("scan", "bob@example.net")
				s.after(2 * time.Second)
				if got := s.history.count("open scan"); (got == 1) != c.yields {
					t.Errorf("%d tries to connect", got)
				}
				s.after(3 * time.Second)
				if got := s.history.count("open scan"); got != 2 {
					t.Errorf("%d tries to connect in the end", got)
				}
				s.end()
				if len(y.all) != 2 || y.all[0] != c.yields {
					t.Errorf("yields: %v", y.all)
				}
			})
		})
	}
}
