package relay_test

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// answers are what upstream says to each recipient of scan, by local part; whoever is
// not among them is taken. Reports go through another mailbox, and are always taken.
type answers map[string]*fault.Error

func (s *setting) answer(to answers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reporter = other
	s.sendAs = func(_ context.Context, _ int, env mail.Envelope) (smtp.Result, error) {
		if env.From.Local != "scan" {
			return taken(), nil
		}
		var res smtp.Result
		for _, a := range env.To {
			if f := to[a.Local]; f != nil {
				again := *f
				res.Recipients = append(res.Recipients, smtp.RecipientReply{Address: a, Err: &again})
			}
		}
		if len(res.Recipients) < len(env.To) {
			return taken(res.Recipients...), nil
		}
		return res, nil
	}
}

func gone() *fault.Error { return told(fault.Permanent, "550", "5.1.10") }
func busy() *fault.Error { return told(fault.Temporary, "450", "4.2.1") }

// named are the recipients each report on a message names with its action, in order.
func (s *setting) named(id string) []string {
	s.t.Helper()
	reports := s.store.about(id)
	slices.SortFunc(reports, func(a, b *kept) int { return strings.Compare(a.ID, b.ID) })
	var all []string
	for _, k := range reports {
		s.mu.Lock()
		raw := s.read[k.ID]
		s.mu.Unlock()
		var names []string
		for _, m := range regexp.MustCompile(`Final-Recipient: rfc822; (\w+)@.*\r\nAction: (\w+)\r\n`).FindAllStringSubmatch(raw, -1) {
			names = append(names, m[1]+" "+m[2])
		}
		all = append(all, strings.Join(names, ", "))
	}
	return all
}

func (s *setting) wantNamed(id string, want ...string) {
	s.t.Helper()
	if got := s.named(id); !slices.Equal(got, want) {
		s.t.Errorf("the reports name %q, want %q", got, want)
	}
}

func TestRefusalIsReportedWhileOthersWait(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		to := answers{"b": gone(), "d": gone(), "c": busy()}
		s.answer(to)
		s.run()
		id := s.accept("scan", "a@example.net", "b@example.net", "c@example.net", "d@example.net")
		s.after(0)
		m := s.message(id)
		if m.State != relay.Queued || m.Bounce != relay.BounceSent || !m.Recipients[1].Told || !m.Recipients[3].Told || m.Recipients[0].Told || m.Recipients[2].Told {
			t.Errorf("while one waits: %+v", m)
		}
		s.wantNamed(id, "b failed, d failed")
		s.after(24 * time.Hour)
		s.wantNamed(id, "b failed, d failed")
		s.after(30 * time.Hour)
		if m := s.message(id); m.State != relay.Failed || m.Bounce != relay.BounceSent || !m.Recipients[2].Told {
			t.Errorf("given up: %+v", m)
		}
		s.wantNamed(id, "b failed, d failed", "c failed")
	})
}

// When the others arrive there is nobody left to report.
func TestEndWithoutNewsIsNotReported(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.answer(answers{"b": gone(), "c": busy()})
		s.run()
		id := s.accept("scan", "b@example.net", "c@example.net")
		s.after(time.Second)
		s.answer(nil)
		s.after(time.Hour)
		if m := s.message(id); m.State != relay.Failed || m.Bounce != relay.BounceSent || m.Recipients[1].State != relay.Accepted {
			t.Errorf("in the end %+v", m)
		}
		s.wantNamed(id, "b failed")
	})
}

// What senders asked for holds for each recipient by itself (RFC 3461).
func TestEachReportSaysWhatIsWantedOfIt(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.answer(answers{"silent": gone(), "b": gone(), "c": busy()})
		s.run()
		sub := s.submission("scan", "silent@example.net", "b@example.net", "c@example.net", "happy@example.net")
		sub.Notice = mail.Notice{Return: mail.ReturnFull}
		sub.Notices = []mail.RecipientNotice{{Notify: mail.NotifyNever}, {Notify: mail.NotifyFailure | mail.NotifyDelay},
			{Notify: mail.NotifyFailure | mail.NotifyDelay}, {Notify: mail.NotifySuccess}}
		id := s.submit(sub, "Subject: hush hush\n\nthe text of it\n")
		s.after(time.Minute)
		parts := s.reportOn(id)
		if words := parts["text/plain"]; !strings.Contains(words, "Others have not got it yet") || !strings.Contains(parts["message/rfc822"], "the text of it") {
			t.Errorf("the first report is %q", parts)
		}
		s.wantNamed(id, "b failed")
		s.after(5 * time.Hour)
		s.wantNamed(id, "b failed", "c delayed")
		s.answer(nil)
		s.after(2 * time.Hour)
		if m := s.message(id); m.State != relay.Failed || m.Bounce != relay.BounceSent {
			t.Errorf("in the end %+v", m)
		}
		s.wantNamed(id, "b failed", "c delayed", "happy relayed")
		last := s.store.about(id)
		if i := slices.IndexFunc(last, func(k *kept) bool { return k.Subject == "Passed on: hush hush" }); i < 0 {
			t.Error("the last report speaks of a failure it does not name")
		}
	})
}

// One that is late and has failed in part, with no way to tell it, is told both at once.
func TestFailureAndDelayAreTwoReports(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.answer(answers{"b": gone(), "c": busy()})
		s.reporter = nil
		s.run()
		sub := s.submission("scan", "b@example.net", "c@example.net")
		sub.Notices = []mail.RecipientNotice{{}, {Notify: mail.NotifyDelay}}
		id := s.submit(sub, "\nx\n")
		s.after(5 * time.Hour)
		if m := s.message(id); m.Bounce != relay.BounceDue || len(s.store.about(id)) != 0 {
			t.Errorf("with no way %+v", m)
		}
		s.answer(answers{"c": busy()})
		s.after(time.Minute)
		got := map[string]bool{}
		for _, one := range s.named(id) {
			got[one] = true
		}
		if !maps.Equal(got, map[string]bool{"b failed": true, "c delayed": true}) {
			t.Errorf("reports %v", got)
		}
	})
}

// Nobody is told that the only one who wanted to hear of a delay waits, once he does not.
func TestNobodyLeftToBeLate(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.answer(answers{"c": busy()})
		s.run()
		sub := s.submission("scan", "a@example.net", "c@example.net")
		sub.Notices = []mail.RecipientNotice{{Notify: mail.NotifyDelay}, {Notify: mail.NotifyFailure}}
		id := s.submit(sub, "\nx\n")
		s.after(10 * time.Hour)
		if m := s.message(id); m.State != relay.Queued || !m.TellBy.IsZero() {
			t.Errorf("%+v", m)
		}
		s.wantNamed(id)
	})
}

// A process that dies between the outcome and the report leaves the report to the next.
func TestDueReportOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.answer(answers{"b": gone(), "c": busy()})
		s.run()
		id := s.accept("scan", "b@example.net", "c@example.net")
		s.store.fail("PutMessage", errors.New("gone"))
		s.after(time.Second)
		if m := s.message(id); m.State != relay.Queued || m.Bounce != relay.BounceDue || m.Recipients[0].Told {
			t.Errorf("before: %+v", m)
		}
		s.end()
		s.store.fail("PutMessage", nil)
		s.relay = s.build("holder-2")
		s.run()
		s.after(time.Hour)
		s.wantNamed(id, "b failed")
		if m := s.message(id); m.Bounce != relay.BounceSent {
			t.Errorf("after: %+v", m)
		}
	})
}

// A report of which somebody waits is one too many wherever another was faster.
func TestTellIsAllOrNothing(t *testing.T) {
	t.Parallel()
	at := func(local string) mail.Address { return mail.Address{Local: local, Domain: "example.net"} }
	owing := func() relay.Message {
		return relay.Message{State: relay.Queued, Bounce: relay.BounceDue, Recipients: []relay.Recipient{
			{Address: at("a"), State: relay.Refused}, {Address: at("b"), State: relay.Waiting},
			{Address: at("c"), State: relay.Refused}, {Address: at("d"), State: relay.Refused, Told: true},
			{Address: at("e"), State: relay.Accepted, Blind: true},
		}}
	}
	for name, c := range map[string]struct {
		change func(*relay.Message)
		who    []string
		want   bool
		after  relay.Bounce
	}{
		"all who are owed":     {nil, []string{"a", "c"}, true, relay.BounceSent},
		"some":                 {nil, []string{"c"}, true, relay.BounceDue},
		"nobody":               {who: nil},
		"one that waits":       {who: []string{"a", "b"}},
		"one that was told":    {who: []string{"c", "d"}},
		"one passed on, early": {who: []string{"e"}},
		"a stranger":           {who: []string{"a", "x"}},
		"nothing is owed":      {change: func(m *relay.Message) { m.Bounce = relay.BounceSent }, who: []string{"a"}},
		"under way":            {change: func(m *relay.Message) { m.State = relay.Delivering }, who: []string{"a"}},
		"passed on, at the end": {func(m *relay.Message) { m.State, m.Done = relay.Failed, time.Unix(1, 0) },
			[]string{"a", "c", "e"}, true, relay.BounceSent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := owing()
			if c.change != nil {
				c.change(&m)
			}
			var who []mail.Address
			for _, local := range c.who {
				who = append(who, at(local))
			}
			if got := m.Tell(who); got != c.want || got && m.Bounce != c.after {
				t.Errorf("told %v, bounce %q", got, m.Bounce)
			}
		})
	}
}
