package relay_test

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

// memory is a Store in memory, with the leases of the real one.
type memory struct {
	mu       sync.Mutex
	messages map[string]*kept
	failing  map[string]error // method name → error it returns
	history  *history
}

type kept struct {
	relay.Message
	body   []byte
	holder string
	until  time.Time
}

func newMemory(h *history) *memory {
	return &memory{messages: make(map[string]*kept), failing: make(map[string]error), history: h}
}

func (s *memory) fail(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing[method] = err
}

func (s *memory) failure(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing[method]
}

func (s *memory) PutMessage(_ context.Context, m *relay.Message, body io.Reader) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing["PutMessage"]; err != nil {
		return err
	}
	if about := s.messages[m.About]; about != nil {
		of := about.Message
		of.Recipients = slices.Clone(of.Recipients)
		switch {
		case m.Late && !of.TellBy.IsZero() && of.State == relay.Queued:
			of.TellBy = time.Time{}
		case !m.Late && of.Tell(m.Tells):
		default:
			return fault.New(fault.Conflict, "queue message", "%s was reported on", m.About)
		}
		about.Message = of
	}
	m.Size = int64(len(b))
	c := *m
	c.Recipients = slices.Clone(m.Recipients)
	s.messages[m.ID] = &kept{Message: c, body: b}
	return nil
}

func (s *memory) ClaimMessages(_ context.Context, c relay.Claim) ([]relay.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing["ClaimMessages"]; err != nil {
		return nil, err
	}
	flying := make(map[string]int)
	var due []*kept
	for _, k := range s.messages {
		if k.State == relay.Delivering {
			flying[k.Account]++
		} else if k.State == relay.Queued && !k.NotBefore.After(c.Now) && !slices.Contains(c.Skip, k.Account) && !slices.Contains(c.Leave, k.ID) {
			due = append(due, k)
		}
	}
	slices.SortFunc(due, func(a, b *kept) int {
		if c := a.NotBefore.Compare(b.NotBefore); c != 0 {
			return c
		}
		return bytes.Compare([]byte(a.ID), []byte(b.ID))
	})
	var out []relay.Message
	for _, k := range due {
		if len(out) < c.Most && flying[k.Account] < c.PerAccount {
			flying[k.Account]++
			k.State, k.holder, k.until = relay.Delivering, c.Holder, c.Until
			m := k.Message
			m.Recipients = slices.Clone(k.Recipients)
			out = append(out, m)
		}
	}
	return out, s.failing["ClaimMessages after its commit"]
}

func (s *memory) Paces(context.Context, time.Time) ([]relay.Pace, error) { return nil, nil }

func (s *memory) ForgetSends(context.Context, time.Time) error { return nil }

func (s *memory) DueBounces(_ context.Context, now time.Time, behind string) ([]relay.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []relay.Message
	for _, k := range s.messages {
		late := k.State == relay.Queued && !k.TellBy.IsZero() && !k.TellBy.After(now)
		if k.ID > behind && (late || k.Bounce == relay.BounceDue && k.State != relay.Delivering) {
			m := k.Message
			m.Recipients = slices.Clone(k.Recipients)
			due = append(due, m)
		}
	}
	slices.SortFunc(due, func(a, b relay.Message) int { return cmp.Compare(a.ID, b.ID) })
	return due[:min(len(due), 100)], s.failing["DueBounces"]
}

// about finds the report on a message.
func (s *memory) about(id string) []*kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*kept
	for _, k := range s.messages {
		if k.About == id {
			found = append(found, k)
		}
	}
	return found
}

func (s *memory) DropBounce(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages[id].Bounce = relay.BounceNone
	return nil
}

func (s *memory) leased(do func(*kept) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, k := range s.messages {
		if k.State == relay.Delivering && do(k) {
			n++
		}
	}
	return n
}

func (s *memory) ExtendLeases(_ context.Context, holder string, ids []string, until time.Time) error {
	if err := s.failure("ExtendLeases"); err != nil {
		return err
	}
	s.leased(func(k *kept) bool {
		if k.holder == holder && slices.Contains(ids, k.ID) {
			k.until = until
		}
		return true
	})
	return nil
}

func (s *memory) HoldsLease(_ context.Context, holder, id string) (bool, error) {
	err := s.failure("HoldsLease")
	return err == nil && s.leased(func(k *kept) bool { return k.ID == id && k.holder == holder }) > 0, err
}

func (s *memory) ExpireLeases(_ context.Context, now time.Time, _ func(string) mail.Limits) (int, error) {
	return s.leased(func(k *kept) bool {
		if k.until.Before(now) {
			k.State, k.holder = relay.Queued, ""
			return true
		}
		return false
	}), nil
}

func (s *memory) ReleaseLeases(_ context.Context, holder string) error {
	s.leased(func(k *kept) bool {
		if k.holder == holder {
			k.State, k.holder = relay.Queued, ""
		}
		return true
	})
	return nil
}

func (s *memory) FinishMessage(_ context.Context, holder string, m relay.Message, _ relay.Spent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing["FinishMessage"]; err != nil {
		return err
	}
	k := s.messages[m.ID]
	if k == nil || k.State != relay.Delivering || k.holder != holder {
		return fault.New(fault.Conflict, "finish message", "%s is not leased to %s", m.ID, holder)
	}
	k.Message, k.holder = m, ""
	if m.State == relay.Delivered {
		k.body = nil
	}
	s.history.add("finish " + string(m.State))
	return nil
}

func (s *memory) Body(_ context.Context, id string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing["Body"]; err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(s.messages[id].body)), nil
}

func (s *memory) Message(_ context.Context, id string) (relay.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.messages[id]
	if k == nil {
		return relay.Message{}, fault.New(fault.NotFound, "find message", "%s", id)
	}
	return k.Message, nil
}

func (s *memory) Messages(context.Context, relay.Filter) ([]relay.Message, error) { return nil, nil }

func (s *memory) Counts(context.Context) (map[relay.State]int, error) { return nil, nil }

func (s *memory) RequeueMessage(context.Context, string, time.Time) error { return nil }

func (s *memory) DeleteMessage(context.Context, string) error { return nil }

func (s *memory) HoldMessage(context.Context, string) error { return nil }

func (s *memory) ReleaseMessage(context.Context, string, time.Time) error { return nil }

func (s *memory) RequeueAccount(context.Context, string, time.Time) error { return nil }

// history is the order in which things happened.
type history struct {
	mu    sync.Mutex
	lines []string
}

func (h *history) add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
}

func (h *history) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

func (h *history) count(line string) int {
	n := 0
	for _, l := range h.all() {
		if l == line {
			n++
		}
	}
	return n
}
