package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// bubble runs a test in synthetic time.
func bubble(t *testing.T, f func(t *testing.T, s *setting)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t)
		f(t, s)
	})
}

func TestDeliveredOverOneConnection(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.run()
		first := s.accept("office", "a@example.net")
		s.after(0)
		second := s.accept("office", "b@example.net")
		s.after(time.Second)
		for _, id := range []string{first, second} {
			if m := s.message(id); m.State != relay.Delivered || m.Attempts != 1 || m.Recipients[0].State != relay.Accepted || m.Recipients[0].Reply != "250 2.0.0 OK" {
				t.Errorf("got %+v", m)
			}
		}
		s.history.inOrder(t, "open office", "working office", "send", "taken", "finish delivered", "send", "taken", "finish delivered")
		if s.history.count("open office") != 1 || s.history.count("quit") != 0 {
			t.Errorf("history %q", s.history.all())
		}
		s.after(30 * time.Second)
		if s.history.count("quit") != 1 {
			t.Error("the idle connection was not closed")
		}
		s.end()
		got := s.relay.Stats()
		want := relay.Stats{Accepted: 2, Delivered: 2, Opened: 1, Reused: 1}
		if got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
		events := s.events.String()
		for _, want := range []string{"event=accepted", "event=delivering", "event=delivered", "id=" + first, "account=office", `reply="250 2.0.0 OK"`} {
			if !strings.Contains(events, want) {
				t.Errorf("no %s in %s", want, events)
			}
		}
		if strings.Contains(events, "hush") {
			t.Error("a subject is in the events")
		}
	})
}

func TestOutcomeIsCommittedBeforeTheConnectionSpeaks(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.store.fail("FinishMessage", fault.New(fault.Temporary, "finish message", "disk full"))
		s.run()
		id := s.accept("office", "a@example.net")
		s.after(time.Hour) // much longer than a lease
		if n := s.history.count("send"); n != 1 {
			t.Errorf("sent %d times", n)
		}
		s.store.fail("FinishMessage", nil) // the disk has room again
		s.after(10 * time.Second)
		if m := s.message(id); m.State != relay.Delivered || s.history.count("send") != 1 {
			t.Errorf("%+v, sent %d times", m, s.history.count("send"))
		}
		s.end()
	})
}

func TestAStopDoesNotWaitForASickStoreForEver(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.store.fail("FinishMessage", fault.New(fault.Temporary, "finish message", "disk full"))
		s.run()
		s.accept("office", "a@example.net")
		s.after(time.Hour)
		began := time.Now()
		s.end()
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("the stop took %s", took)
		}
		s.history.inOrder(t, "taken", "abort")
	})
}

func TestConnectionIsCutWhenTheOutcomeCannotBeCommitted(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.store.fail("FinishMessage", fault.New(fault.Conflict, "finish message", "lease lost"))
		s.run()
		s.accept("office", "a@example.net")
		s.after(time.Second)
		s.history.inOrder(t, "taken", "abort")
		if s.history.count("quit") != 0 {
			t.Error("said QUIT, which acknowledges the 250")
		}
		s.end()
	})
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) {
			return smtp.Result{}, told(fault.Temporary, "451", "4.7.0")
		}
		s.run()
		id := s.accept("office", "a@example.net")
		s.after(0)
		begin := time.Now()
		steps := []time.Duration{30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, time.Hour}
		for i, step := range steps {
			m := s.message(id)
			wait := time.Until(m.NotBefore)
			if m.State != relay.Queued || m.Attempts != i+1 || wait < step-time.Second || wait > step*11/10 { // it was tried up to a poll ago
				t.Fatalf("after try %d: %s, %d attempts, next in %v, want about %v", i+1, m.State, m.Attempts, wait, step)
			}
			if m.Kind != "temporary" || !strings.Contains(m.Reason, "451 4.7.0 words") {
				t.Errorf("kind %q, reason %q", m.Kind, m.Reason)
			}
			s.after(wait + time.Second)
		}
		s.after(48*time.Hour - time.Since(begin))
		s.after(2 * time.Hour)
		m := s.message(id)
		if m.State != relay.Failed || m.Recipients[0].State != relay.Refused || !strings.HasPrefix(m.Reason, "given up after 48h") && !strings.HasPrefix(m.Reason, "given up after 49h") {
			t.Errorf("after two days: %+v", m)
		}
		s.end()
	})
}

func TestWaitsByKind(t *testing.T) {
	t.Parallel()
	named := told(fault.Throttled, "451", "4.7.500")
	named.RetryAfter = 5 * time.Minute
	for name, c := range map[string]struct {
		err       error
		low, high time.Duration
	}{
		"throttled":             {told(fault.Throttled, "432", "4.3.2"), 10 * time.Second, time.Minute},
		"throttled with a time": {named, 5 * time.Minute, 6 * time.Minute},
		"quota":                 {told(fault.Quota, "550", "5.1.90"), time.Hour, 70 * time.Minute},
		"not classified":        {errors.New("what is this"), 30 * time.Second, 33 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) { return smtp.Result{}, c.err }
				s.run()
				id := s.accept("office", "a@example.net")
				s.after(0)
				m := s.message(id)
				if wait := time.Until(m.NotBefore); m.State != relay.Queued || wait < c.low || wait > c.high {
					t.Errorf("%s, next in %v", m.State, wait)
				}
				s.end()
			})
		})
	}
}

func TestPermanentRefusalIsKept(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) {
			return smtp.Result{Reply: &fault.Reply{Code: "554"}}, told(fault.Permanent, "554", "5.2.252")
		}
		s.run()
		id := s.accept("office", "a@example.net", "b@example.net")
		s.after(time.Hour)
		m := s.message(id)
		if m.State != relay.Failed || m.Attempts != 1 || m.Kind != "permanent" || !strings.Contains(m.Reason, "554 5.2.252") || m.Done.IsZero() {
			t.Errorf("got %+v", m)
		}
		if s.history.count("send") != 1 || s.history.count("pause office permanent") != 0 || s.relay.Stats().Paused != 0 {
			t.Errorf("history %q", s.history.all())
		}
		s.end()
	})
}

// Before a server has been told of the message nobody can have refused it: PostgreSQL,
// say, has refused us the account (28P01 is fault.Invalid).
func TestWhatIsWrongBeforeTheMessageIsNoRefusal(t *testing.T) {
	t.Parallel()
	for _, kind := range []fault.Kind{fault.Invalid, fault.Permanent, fault.NotFound} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				s.openAs = func(n int) error {
					if n == 1 {
						return fault.New(kind, "read account", "PostgreSQL refuses the login")
					}
					return nil
				}
				s.run()
				id := s.accept("office", "a@example.net")
				s.after(time.Second)
				if m := s.message(id); m.State != relay.Queued || !strings.Contains(m.Reason, "refuses the login") {
					t.Errorf("got %+v", m)
				}
				s.after(time.Minute)
				if m := s.message(id); m.State != relay.Delivered {
					t.Errorf("a minute later: %+v", m)
				}
			})
		})
	}
}

// Graph asks for its token once more with every call, so the same can come from a Send.
func TestWhatIsWrongWithUsIsNoRefusal(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.sendAs = func(_ context.Context, n int, _ mail.Envelope) (smtp.Result, error) {
			if n == 1 {
				return smtp.Result{}, fault.New(fault.Invalid, "read grant", "PostgreSQL refuses the login")
			}
			return taken(), nil
		}
		s.run()
		id := s.accept("office", "a@example.net")
		s.after(time.Minute)
		if m := s.message(id); m.State != relay.Delivered || m.Attempts != 2 {
			t.Errorf("got %+v", m)
		}
	})
}

func TestRecipientsAreSettledOneByOne(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		at := func(local string) mail.Address { return mail.Address{Local: local, Domain: "example.net"} }
		s.sendAs = func(_ context.Context, n int, env mail.Envelope) (smtp.Result, error) {
			if n == 1 {
				return taken(smtp.RecipientReply{Address: at("a")},
					smtp.RecipientReply{Address: at("b"), Err: told(fault.Permanent, "550", "5.1.10")},
					smtp.RecipientReply{Address: at("c"), Err: told(fault.Temporary, "450", "4.2.1")}), nil
			}
			if len(env.To) != 1 || env.To[0] != at("c") {
				t.Errorf("the second try is to %v", env.To)
			}
			return taken(smtp.RecipientReply{Address: at("c")}), nil
		}
		s.run()
		id := s.accept("office", "a@example.net", "b@example.net", "c@example.net", "A@example.net")
		s.after(0)
		m := s.message(id)
		want := []relay.RecipientState{relay.Accepted, relay.Refused, relay.Waiting}
		if len(m.Recipients) != len(want) {
			t.Fatalf("recipients %+v: one named twice counts once", m.Recipients)
		}
		for i, w := range want {
			if m.Recipients[i].State != w {
				t.Errorf("%s is %s, want %s", m.Recipients[i].Address, m.Recipients[i].State, w)
			}
		}
		if m.State != relay.Queued || m.Kind != "temporary" {
			t.Errorf("first: %+v", m)
		}
		s.after(time.Minute)
		m = s.message(id)
		if m.State != relay.Failed || m.Recipients[2].State != relay.Accepted || !strings.HasPrefix(m.Reason, "1 of 3 recipients refused; b@example.net") {
			t.Errorf("second: %+v", m)
		}
		s.end()
	})
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	for name, atSend := range map[string]bool{"refused at sign-in": false, "refused while sending": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				refusal := told(fault.NeedsAdmin, "535", "5.7.139")
				if atSend {
					s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) { return smtp.Result{}, refusal }
				} else {
					s.openAs = func(int) error { return refusal }
				}
				s.run()
				ids := []string{s.accept("office", "a@example.net"), s.accept("office", "b@example.net"), s.accept("office", "c@example.net"), s.accept("office", "d@example.net")}
				s.after(time.Hour)
				if n := s.history.count("pause office needs_admin"); n != 1 {
					t.Errorf("paused %d times", n)
				}
				if n := s.history.count("open office"); n > 3 || !atSend && n != 1 {
					t.Errorf("signed in %d times", n)
				}
				tried := 0
				for _, id := range ids {
					m := s.message(id)
					if m.State != relay.Queued || m.Attempts != 0 {
						t.Errorf("got %+v", m)
					}
					if m.Kind == "needs_admin" && strings.Contains(m.Reason, "535 5.7.139") {
						tried++
					}
				}
				if tried == 0 { // those that were never claimed need no reason of their own
					t.Error("no message says why it waits")
				}
				other := s.accept("sales", "x@example.net")
				s.mu.Lock()
				s.openAs = func(int) error { return nil }
				s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) { return taken(), nil }
				s.mu.Unlock()
				s.after(2 * time.Second)
				if m := s.message(other); m.State != relay.Delivered {
					t.Errorf("another account waits too: %+v", m)
				}
				s.resume("office")
				s.after(2 * time.Second)
				for _, id := range ids {
					if m := s.message(id); m.State != relay.Delivered || m.Reason != "" {
						t.Errorf("after the pause: %+v", m)
					}
				}
				s.end()
			})
		})
	}
}

func TestDeadConnectionIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]*fault.Error{
		"closed by the server": fault.New(fault.Temporary, "smtp MAIL FROM", "EOF"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				s.sendAs = func(_ context.Context, n int, _ mail.Envelope) (smtp.Result, error) {
					if n == 2 {
						return smtp.Result{}, err
					}
					return taken(), nil
				}
				s.run()
				s.accept("office", "a@example.net")
				s.after(0)
				id := s.accept("office", "b@example.net")
				s.after(0)
				if m := s.message(id); m.State != relay.Delivered || m.Attempts != 1 {
					t.Errorf("got %+v", m)
				}
				s.history.inOrder(t, "open office", "finish delivered", "send", "abort", "open office", "send", "finish delivered")
				s.end()
			})
		})
	}
}

func TestCutAfterTheDotIsSaidToBeAmbiguous(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.sendAs = func(_ context.Context, n int, _ mail.Envelope) (smtp.Result, error) {
			if n == 1 {
				return smtp.Result{}, &fault.Error{Kind: fault.Temporary, Op: "smtp message", Err: errors.New("EOF"), Ambiguous: true}
			}
			return taken(), nil
		}
		s.run()
		id := s.accept("office", "a@example.net")
		s.after(0)
		if m := s.message(id); m.State != relay.Queued || !strings.Contains(m.Reason, "may have been sent already") || s.history.count("send") != 1 {
			t.Errorf("got %+v", m)
		}
		if !strings.Contains(s.events.String(), "ambiguous=true") {
			t.Error("no event says so")
		}
		s.after(time.Minute)
		if m := s.message(id); m.State != relay.Delivered {
			t.Errorf("got %+v", m)
		}
		s.end()
	})
}

func TestLeaseOfADeadHolderIsTakenOver(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		id := s.accept("office", "a@example.net")
		now := time.Now()
		if _, err := s.store.ClaimMessages(t.Context(), relay.Claim{Holder: "dead", Now: now, Until: now.Add(2 * time.Minute), Most: 1, PerAccount: 3}); err != nil {
			t.Fatal(err)
		}
		s.run()
		s.after(time.Minute)
		if m := s.message(id); m.State != relay.Delivering {
			t.Errorf("taken over while the lease held: %+v", m)
		}
		s.after(2 * time.Minute)
		if m := s.message(id); m.State != relay.Delivered {
			t.Errorf("got %+v", m)
		}
		s.end()
	})
}

func TestLongSendKeepsItsLease(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) {
			time.Sleep(20 * time.Minute)
			return taken(), nil
		}
		s.run()
		id := s.accept("office", "a@example.net")
		s.after(time.Second)
		rival, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.build("holder-2").Run(rival) }()
		s.after(21 * time.Minute)
		if m := s.message(id); m.State != relay.Delivered || s.history.count("send") != 1 {
			t.Errorf("%s after %d sends", m.State, s.history.count("send"))
		}
		stop()
		<-ended
		s.end()
	})
}

func TestNoMoreThanThreeAtOncePerAccount(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) {
			time.Sleep(time.Second)
			return taken(), nil
		}
		s.relay = relay.New(relay.Config{Store: s.store, Sender: s, Accounts: s, Caps: func() map[string]int { return map[string]int{"office": 3} }})
		s.run()
		for range 7 {
			s.accept("office", "a@example.net")
		}
		s.after(time.Millisecond)
		if n := s.relay.Stats().InFlight; n != 3 {
			t.Errorf("%d at once", n)
		}
		s.after(10 * time.Second)
		if st := s.relay.Stats(); st.Delivered != 7 || st.Opened != 3 {
			t.Errorf("stats %+v", st)
		}
		s.end()
	})
}

func TestGracefulStop(t *testing.T) {
	t.Parallel()
	t.Run("what is being sent ends", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T, s *setting) {
			s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) {
				time.Sleep(10 * time.Second)
				return taken(), nil
			}
			s.run()
			id := s.accept("office", "a@example.net")
			s.after(time.Second)
			s.end()
			if m := s.message(id); m.State != relay.Delivered {
				t.Errorf("got %+v", m)
			}
			if s.history.count("quit") != 1 {
				t.Error("no farewell")
			}
		})
	})
	t.Run("but not for ever", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T, s *setting) {
			s.sendAs = func(ctx context.Context, _ int, _ mail.Envelope) (smtp.Result, error) {
				<-ctx.Done()
				return smtp.Result{}, fault.Wrap(fault.Temporary, "smtp message", ctx.Err())
			}
			s.run()
			id := s.accept("office", "a@example.net")
			s.after(time.Second)
			begin := time.Now()
			s.end()
			if took := time.Since(begin); took != 30*time.Second {
				t.Errorf("the stop took %v", took)
			}
			if m := s.message(id); m.State != relay.Queued || m.Attempts != 0 {
				t.Errorf("the lease was not given back: %+v", m)
			}
		})
	})
}

func TestStoreInTroubleIsSurvived(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.store.fail("ClaimMessages", fault.New(fault.Temporary, "claim", "database is locked"))
		s.run()
		id := s.accept("office", "a@example.net")
		s.after(10 * time.Second)
		s.store.fail("ClaimMessages", nil)
		s.store.fail("Body", fault.New(fault.Temporary, "body", "i/o error"))
		s.after(2 * time.Second)
		if m := s.message(id); m.State != relay.Queued || !strings.Contains(m.Reason, "i/o error") {
			t.Errorf("got %+v", m)
		}
		s.store.fail("Body", nil)
		s.after(time.Minute)
		if m := s.message(id); m.State != relay.Delivered {
			t.Errorf("got %+v", m)
		}
		s.end()
	})
}

// A claim may be committed and its answer lost. Nobody works on such a message, so
// its lease has to end although its holder lives.
func TestClaimThatGotLostComesBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.store.fail("ClaimMessages after its commit", fault.New(fault.Temporary, "claim messages", "the answer was cut off"))
		s.run()
		id := s.accept("office", "a@example.net")
		s.after(0)
		s.store.fail("ClaimMessages after its commit", nil)
		s.after(5 * time.Minute)
		if m := s.message(id); m.State != relay.Delivered {
			t.Errorf("got %+v", m)
		}
		s.end()
	})
}

// A store that cannot extend leases for a while and then expires them would let a
// message that is being sent be sent again beside itself.
func TestLeaseOfASendIsNotTakenBackByItsOwnHolder(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) {
			time.Sleep(10 * time.Minute)
			return taken(), nil
		}
		s.store.fail("ExtendLeases", fault.New(fault.Temporary, "extend leases", "database is locked"))
		s.run()
		id := s.accept("office", "a@example.net")
		s.after(9 * time.Minute)
		s.store.fail("ExtendLeases", nil)
		s.after(3 * time.Minute)
		s.mu.Lock()
		sent := s.sent
		s.mu.Unlock()
		if m := s.message(id); m.State != relay.Delivered || sent != 1 {
			t.Errorf("sent %d times: %+v", sent, m)
		}
		s.end()
	})
}
