package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// reached counts how often each recipient got the message, and how many went together.
type reached struct {
	mu    sync.Mutex
	times map[string]int
	sizes []int
}

func (r *reached) take(env mail.Envelope, refused ...smtp.RecipientReply) smtp.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.times == nil {
		r.times = map[string]int{}
	}
	r.sizes = append(r.sizes, len(env.To))
	for _, a := range env.To {
		if !slices.ContainsFunc(refused, func(x smtp.RecipientReply) bool { return x.Address == a }) {
			r.times[a.String()]++
		}
	}
	return taken(refused...)
}

func (r *reached) got(t *testing.T, times int, to ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range to {
		if r.times[a] != times {
			t.Errorf("%s got it %d times, want %d", a, r.times[a], times)
		}
	}
}

func (r *reached) once(t *testing.T, to []string) {
	t.Helper()
	r.got(t, 1, to...)
}

func people(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("r%d@example.net", i)
	}
	return all
}

func TestManyRecipientsGoInParts(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.limits = mail.Limits{RecipientsPerMessage: 3}
		got := &reached{}
		s.sendAs = func(_ context.Context, _ int, env mail.Envelope) (smtp.Result, error) { return got.take(env), nil }
		s.run()
		to := people(8)
		id := s.accept("scan", to...)
		s.after(time.Second)
		s.end()
		got.once(t, to)
		if m := s.message(id); !slices.Equal(got.sizes, []int{3, 3, 2}) || m.State != relay.Delivered || m.Attempts != 1 {
			t.Errorf("sizes %v, %+v", got.sizes, m)
		}
		s.history.inOrder(t, "taken", "finish queued", "taken", "finish queued", "taken", "finish delivered")
	})
}

// Each part is committed before the next one goes: whoever dies in between leaves it to
// another process, which goes on with those who have nothing yet.
func TestPartsOutliveTheirProcess(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.limits = mail.Limits{RecipientsPerMessage: 2}
		got := &reached{}
		s.sendAs = func(ctx context.Context, n int, env mail.Envelope) (smtp.Result, error) {
			if n == 2 { // the process dies here
				<-ctx.Done()
				return smtp.Result{}, ctx.Err()
			}
			return got.take(env), nil
		}
		s.run()
		to := people(6)
		id := s.accept("scan", to...)
		s.after(time.Second)
		s.store.fail("ExtendLeases", errors.New("gone")) // nobody hears of the first process any more
		s.store.fail("FinishMessage", errors.New("gone"))
		go s.end()
		s.after(3 * time.Minute)
		s.store.fail("ExtendLeases", nil)
		s.store.fail("FinishMessage", nil)
		s.relay = s.build("holder-2")
		s.run()
		s.after(10 * time.Minute)
		got.once(t, to)
		if m := s.message(id); m.State != relay.Delivered {
			t.Errorf("%+v", m)
		}
	})
}

// Recipients who must wait do not keep the message from those nobody has tried yet.
func TestWaitingRecipientsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.limits = mail.Limits{RecipientsPerMessage: 2}
		got, busy := &reached{}, &atomic.Bool{}
		busy.Store(true)
		s.sendAs = func(_ context.Context, _ int, env mail.Envelope) (smtp.Result, error) {
			var later []smtp.RecipientReply
			for _, a := range env.To {
				if busy.Load() && (a.Local == "r0" || a.Local == "r1") {
					later = append(later, smtp.RecipientReply{Address: a, Err: told(fault.Temporary, "450", "4.2.1")})
				}
			}
			if len(later) == len(env.To) {
				return smtp.Result{Recipients: later}, nil
			}
			return got.take(env, later...), nil
		}
		s.run()
		to := people(6)
		id := s.accept("scan", to...)
		s.after(5 * time.Minute)
		got.once(t, to[2:])
		got.got(t, 0, to[:2]...)
		busy.Store(false)
		s.after(2 * time.Hour)
		got.once(t, to)
		if m := s.message(id); m.State != relay.Delivered {
			t.Errorf("%+v", m)
		}
	})
}

// A server with a lower limit than we know of says so recipient by recipient.
func TestServersOwnLimitSplitsToo(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		got := &reached{}
		s.sendAs = func(_ context.Context, _ int, env mail.Envelope) (smtp.Result, error) {
			var over []smtp.RecipientReply
			for _, a := range env.To[min(2, len(env.To)):] {
				f := told(fault.Temporary, "452", "4.5.3")
				f.Reply.Stage = smtp.StageRCPT
				over = append(over, smtp.RecipientReply{Address: a, Err: f})
			}
			return got.take(env, over...), nil
		}
		s.run()
		to := people(5)
		s.accept("scan", to...)
		s.after(time.Second)
		got.once(t, to)
	})
}

// Whoever is handed a part that may have been sent is told so.
func TestPartInDoubtIsSaidToBe(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		var told []bool
		s.sendAs = func(_ context.Context, n int, env mail.Envelope) (smtp.Result, error) {
			told = append(told, env.InDoubt)
			if n == 1 {
				return smtp.Result{InDoubt: true}, &fault.Error{Kind: fault.Temporary, Op: "graph sendMail", Err: errors.New("EOF"), Ambiguous: true}
			}
			return taken(), nil
		}
		s.run()
		s.accept("scan", people(2)...)
		s.after(time.Minute)
		if !slices.Equal(told, []bool{false, true}) {
			t.Errorf("told %v", told)
		}
	})
}

func TestFlukeIsTriedOnceMore(t *testing.T) {
	t.Parallel()
	for name, flukes := range map[string]int{"passes": 1, "stays": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				s.sendAs = func(_ context.Context, n int, _ mail.Envelope) (smtp.Result, error) {
					if n > flukes {
						return taken(), nil
					}
					f := told(fault.Permanent, "554", "5.2.252")
					f.RetryAfter, f.Hint = 30*time.Second, "give it Send As"
					return smtp.Result{}, f
				}
				s.run()
				id := s.accept("scan", "bob@example.net")
				s.after(20 * time.Second)
				if m := s.message(id); m.State != relay.Queued || m.Hint != "give it Send As" {
					t.Errorf("after the first: %+v", m)
				}
				s.after(time.Hour)
				want := map[int]relay.State{1: relay.Delivered, 2: relay.Failed}[flukes]
				if m := s.message(id); m.State != want || m.Attempts != 2 || (m.Hint != "") != (want == relay.Failed) {
					t.Errorf("in the end: %+v", m)
				}
			})
		})
	}
}

// A message that was cut to what the day has room for goes to those, keeps its place in
// the queue, and goes to the others in its next try.
func TestCutMessageGoesOn(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		got := &reached{}
		var id string
		var place time.Time
		s.sendAs = func(_ context.Context, n int, env mail.Envelope) (smtp.Result, error) {
			if n == 2 {
				place = s.message(id).NotBefore
				return smtp.Result{}, told(fault.Temporary, "450", "4.2.1")
			}
			return got.take(env), nil
		}
		to := people(5)
		id = s.accept("scan", to...)
		s.store.messages[id].Cut(2)
		accepted := s.message(id).NotBefore
		time.Sleep(time.Minute)
		s.run()
		s.after(time.Second)
		got.once(t, to[:2])
		got.got(t, 0, to[2:]...)
		if m := s.message(id); m.State != relay.Queued || m.IsCut() || m.Attempts != 1 || !place.Equal(accepted) {
			t.Errorf("after a part and a refusal: %+v", m)
		}
		s.after(time.Hour)
		got.once(t, to)
		if m := s.message(id); !slices.Equal(got.sizes, []int{2, 3}) || m.State != relay.Delivered {
			t.Errorf("sizes %v, %+v", got.sizes, m)
		}
	})
}
