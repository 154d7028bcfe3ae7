package store_test

import (
	"fmt"
	"testing"
	"time"

	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
)

// daily claims for accounts that may send to ten recipients a day, in parts of six.
type daily struct {
	t *testing.T
	s *store.Store
}

func tenADay(string) mail.Limits { return mail.Limits{RecipientsPerDay: 10, RecipientsPerMessage: 6} }

// puts queues a message to so many recipients.
func (d daily) puts(n, recipients int) {
	d.t.Helper()
	m := message(n, "scan")
	m.Recipients = nil
	for i := range recipients {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: address(fmt.Sprintf("r%d@x.example", i)), State: relay.Waiting})
	}
	put(d.t, d.s, m)
}

// claims says how many recipients of which messages may get theirs now.
func (d daily) claims(holder string, at time.Duration) (due []relay.Message, parts map[string]int) {
	d.t.Helper()
	due, err := d.s.ClaimMessages(d.t.Context(), relay.Claim{
		Holder: holder, Now: after(at), Until: after(at + time.Minute), Most: 9, PerAccount: 9, Limits: tenADay,
	})
	ok(d.t, err)
	parts = map[string]int{}
	for _, m := range due {
		parts[m.ID] = len(m.Part(tenADay("").RecipientsPerMessage))
	}
	return due, parts
}

// sends delivers what may go now to whom it may go, and says what that was.
func (d daily) sends(at time.Duration) map[string]int {
	d.t.Helper()
	due, parts := d.claims("me", at)
	for _, m := range due {
		part := m.Part(tenADay("").RecipientsPerMessage)
		for _, r := range part {
			r.State = relay.Accepted
		}
		cut := m.IsCut()
		m.Cut(0)
		m.State = relay.Delivered
		if len(m.Part(0)) > 0 {
			m.State = relay.Queued
		}
		if !cut {
			m.NotBefore = after(at)
		}
		ok(d.t, d.s.FinishMessage(d.t.Context(), "me", m, relay.Spent{At: after(at), Recipients: len(part), Taken: true}))
	}
	return parts
}

// A message that does not fit into what is left of the day goes to as many as do, and
// what is left of it goes as soon as the day allows, before what came later.
func TestDayIsUsedUpByPartOfAMessage(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		d := daily{t, s}
		d.puts(0, 5)
		got(t, map[string]int{"m00000": 5})(d.sends(0), nil)
		d.puts(1, 2)
		got(t, map[string]int{"m00001": 2})(d.sends(time.Hour), nil)
		d.puts(2, 9)
		late := message(3, "scan") // two recipients
		late.NotBefore = after(3 * time.Hour)
		put(t, s, late)
		got(t, map[string]int{"m00002": 3})(d.sends(2*time.Hour), nil)
		got(t, map[string]int{})(d.sends(3*time.Hour), nil)
		got(t, []relay.Pace{{Account: "scan", Until: after(24 * time.Hour), Reason: "10 recipients a day"}})(s.Paces(t.Context(), after(3*time.Hour)))
		got(t, map[string]int{"m00002": 5})(d.sends(24*time.Hour+time.Second), nil)
		got(t, map[string]int{})(d.sends(24*time.Hour+2*time.Second), nil)
		got(t, []relay.Pace{{Account: "scan", Until: after(25 * time.Hour), Reason: "10 recipients a day"}})(s.Paces(t.Context(), after(24*time.Hour+3*time.Second)))
		got(t, map[string]int{"m00002": 1, "m00003": 1})(d.sends(25*time.Hour+time.Second), nil)
		got(t, map[string]int{"m00003": 1})(d.sends(26*time.Hour+2*time.Second), nil)
	})
}

// One with more recipients than a whole day allows takes several days.
func TestMessageLargerThanADay(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		d := daily{t, s}
		d.puts(0, 13)
		for n, want := range []int{6, 4, 0, 3, 0} {
			parts := d.sends([]time.Duration{0, time.Second, 2 * time.Second, 25 * time.Hour, 26 * time.Hour}[n])
			if parts["m00000"] != want {
				t.Errorf("the %d. time it went to %d, want %d", n+1, parts["m00000"], want)
			}
		}
	})
}

// What is on its way may come to nothing: then what it would have taken of the day is
// free at once, on every node.
func TestDayIsNotOverBeforeItIsSpent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		here, there := daily{t, opened(t, db)}, daily{t, opened(t, db)}
		here.puts(0, 6)
		got(t, map[string]int{"m00000": 6})(here.sends(0), nil)
		here.puts(1, 5)
		here.puts(2, 2)
		due, parts := here.claims("me", time.Hour)
		got(t, map[string]int{"m00001": 4})(parts, nil)
		_, parts = there.claims("other", time.Hour)
		got(t, map[string]int{})(parts, nil)
		got(t, []relay.Pace(nil))(there.s.Paces(t.Context(), after(time.Hour)))
		m := due[0]
		m.Cut(0)
		m.State, m.NotBefore = relay.Queued, after(2*time.Hour)
		ok(t, here.s.FinishMessage(t.Context(), "me", m, relay.Spent{At: after(time.Hour)}))
		_, parts = there.claims("other", time.Hour+time.Second)
		got(t, map[string]int{"m00002": 2})(parts, nil)
	})
}

// Of a cut message whose holder died no more than its part can be gone. What Graph may
// have goes again as it was, whatever the day says; anything else is cut anew.
func TestCutMessageOutlivesItsHolder(t *testing.T) {
	t.Parallel()
	for name, doubted := range map[string]bool{"nobody has it": false, "Graph may have it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachOpen(t, func(t *testing.T, s *store.Store) {
				d := daily{t, s}
				d.puts(0, 5)
				d.puts(1, 2)
				got(t, map[string]int{"m00000": 5, "m00001": 2})(d.sends(0), nil)
				d.puts(2, 6)
				_, parts := d.claims("gone", time.Hour)
				got(t, map[string]int{"m00002": 3})(parts, nil)
				if doubted {
					ok(t, s.BeginDoubt(t.Context(), "m00002", after(time.Hour)))
				}
				got(t, 1)(s.ExpireLeases(t.Context(), after(2*time.Hour), tenADay))
				want := map[bool][]map[string]int{
					false: {{}, {"m00002": 6}}, // 10 of the day are counted; a day later 3 are
					true:  {{"m00002": 3}, {"m00002": 3}},
				}[doubted]
				got(t, want[0])(d.sends(2*time.Hour+time.Second), nil)
				got(t, want[1])(d.sends(24*time.Hour+time.Second), nil)
			})
		})
	}
}

// A day that was cut for may have become a wide one.
func TestCutMessageIsWholeAgainWhenItsDayIs(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		d := daily{t, s}
		d.puts(0, 6)
		got(t, map[string]int{"m00000": 6})(d.sends(0), nil)
		d.puts(1, 6)
		_, parts := d.claims("stops", time.Hour)
		got(t, map[string]int{"m00001": 4})(parts, nil)
		ok(t, s.ReleaseLeases(t.Context(), "stops"))
		due, err := s.ClaimMessages(t.Context(), relay.Claim{
			Holder: "me", Now: after(time.Hour), Until: after(2 * time.Hour), Most: 1, PerAccount: 1,
			Limits: func(string) mail.Limits { return mail.Limits{RecipientsPerDay: 100} },
		})
		ok(t, err)
		if len(due) != 1 || len(due[0].Part(0)) != 6 {
			t.Fatalf("claimed %+v", due)
		}
		kept, err := s.Message(t.Context(), "m00001")
		ok(t, err)
		if n := len(kept.Part(0)); n != 6 {
			t.Errorf("the queue says it goes to %d", n)
		}
	})
}
