package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// TestMessageTakenOverIsNotSent lets a process stand still while it signs in, and others
// do with its message what they do then.
func TestMessageTakenOverIsNotSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stood time.Duration
		then  func(t *testing.T, s *setting)
		taken int
		state relay.State
	}{
		"still ours":               {time.Minute, func(*testing.T, *setting) {}, 1, relay.Delivered},
		"in the hands of another":  {time.Minute, func(t *testing.T, s *setting) { s.store.takenOver(t) }, 0, relay.Delivering},
		"sent by another":          {time.Minute, sentByAnother, 0, relay.Delivered},
		"given back, and ours":     {3 * time.Minute, givenBack, 1, relay.Delivered},
		"nobody can say whose":     {time.Minute, func(_ *testing.T, s *setting) { s.store.fail("HoldsLease", errors.New("away")) }, 0, relay.Queued},
		"a moment, not asked then": {time.Second, func(_ *testing.T, s *setting) { s.store.fail("HoldsLease", errors.New("away")) }, 1, relay.Delivered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				goOn := make(chan struct{})
				s.openAs = func(n int) error {
					if n == 1 {
						<-goOn
					}
					return nil
				}
				s.run()
				id := s.accept("office", "a@example.net")
				s.after(c.stood)
				c.then(t, s)
				close(goOn)
				s.after(10 * time.Second)
				if m := s.message(id); s.history.count("taken") != c.taken || m.State != c.state {
					t.Errorf("it was sent %d times, and is %s", s.history.count("taken"), m.State)
				}
				s.store.fail("HoldsLease", nil)
				if c.state != relay.Queued {
					return
				}
				s.after(time.Minute)
				if m := s.message(id); s.history.count("taken") != 1 || m.State != relay.Delivered {
					t.Errorf("afterwards it was sent %d times, and is %s", s.history.count("taken"), m.State)
				}
			})
		})
	}
}

// TestOldTryDoesNotTakeANewClaimForItsOwn: while a try stands still, another process sends a
// part of its message and leaves the rest, which comes back to the process that stood.
func TestOldTryDoesNotTakeANewClaimForItsOwn(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.limits = mail.Limits{RecipientsPerMessage: 1}
		goOn := make(chan struct{})
		s.openAs = func(n int) error {
			if n == 1 {
				<-goOn
			}
			return nil
		}
		got := &reached{}
		s.sendAs = func(_ context.Context, _ int, env mail.Envelope) (smtp.Result, error) { return got.take(env), nil }
		s.run()
		to := people(3)
		id := s.accept("office", to...)
		s.after(time.Minute)
		m := s.store.takenOver(t)
		m.State, m.NotBefore, m.Recipients[0].State = relay.Queued, time.Now(), relay.Accepted
		if err := s.store.FinishMessage(t.Context(), "holder-2", m, relay.Spent{}); err != nil {
			t.Fatal(err)
		}
		s.after(10 * time.Second) // time enough to claim it
		close(goOn)
		s.after(10 * time.Second)
		got.got(t, 0, to[0])
		got.once(t, to[1:])
		if m := s.message(id); m.State != relay.Delivered {
			t.Errorf("%+v", m)
		}
	})
}

// takenOver gives the one message that is being sent to another process.
func (s *memory) takenOver(t *testing.T) relay.Message {
	t.Helper()
	if n, err := s.ExpireLeases(t.Context(), time.Now().Add(time.Hour), nil); n != 1 || err != nil {
		t.Fatalf("%d leases ended, %v", n, err)
	}
	got, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: "holder-2", Now: time.Now(), Until: time.Now().Add(time.Hour), Most: 1, PerAccount: 1})
	if err != nil || len(got) != 1 {
		t.Fatalf("%d messages were taken over, %v", len(got), err)
	}
	return got[0]
}

// sentByAnother has the other process deliver what it took over.
func sentByAnother(t *testing.T, s *setting) {
	t.Helper()
	m := s.store.takenOver(t)
	m.State, m.Attempts = relay.Delivered, 1
	if err := s.store.FinishMessage(t.Context(), "holder-2", m, relay.Spent{}); err != nil {
		t.Fatal(err)
	}
}

// givenBack has the process claim again what it is still at.
func givenBack(t *testing.T, s *setting) {
	t.Helper()
	if n, err := s.store.ExpireLeases(t.Context(), time.Now().Add(time.Hour), nil); n != 1 || err != nil {
		t.Fatalf("%d leases ended, %v", n, err)
	}
	s.after(5 * time.Second)
}

// standing is a memory of doubts that takes its time.
type standing struct {
	*office365
	meanwhile func()
}

func (d standing) Doubt(ctx context.Context, id string) (time.Time, error) {
	d.meanwhile()
	return d.office365.Doubt(ctx, id)
}

// hasty is a Sender that has read every body before it hands it on, as Graph may a small one.
type hasty struct{ relay.Sender }

func (h hasty) Open(ctx context.Context, account string) (relay.Upstream, error) {
	up, err := h.Sender.Open(ctx, account)
	return hastyUpstream{up}, err
}

type hastyUpstream struct{ relay.Upstream }

func (h hastyUpstream) Send(ctx context.Context, env mail.Envelope, size int64, body io.Reader, ours relay.Ours) (smtp.Result, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return smtp.Result{}, err
	}
	return h.Upstream.Send(ctx, env, size, bytes.NewReader(text), ours)
}

// TestTakenOverIsNotGivenToGraph: a message is read long before Graph gets it.
func TestTakenOverIsNotGivenToGraph(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"still ours": 1, "taken over": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, s := newOffice365(t), newSetting(t)
			stood := make(chan struct{})
			o.sender.Doubts = standing{o, sync.OnceFunc(func() {
				defer close(stood)
				if want == 0 {
					s.store.takenOver(t)
				}
				o.later(time.Minute)
			})}
			s.relay = relay.New(relay.Config{Store: s.store, Sender: hasty{o.sender}, Accounts: s, Holder: "holder-1", Hostname: "gate.example", Now: o.clock})
			s.run()
			s.accept("scan", "boss@elsewhere.example")
			<-stood
			s.end() // lets what is under way end
			if o.sent() != want {
				t.Errorf("Graph got it %d times", o.sent())
			}
		})
	}
}
