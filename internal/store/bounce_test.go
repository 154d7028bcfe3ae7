package store_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
)

// A report and the end of what was owed are one commit, and only the first one counts.
func TestReportSettlesWhatIsOwed(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for n := range 2 {
			put(t, s, message(n, "scan"))
		}
		due, err := s.ClaimMessages(ctx, relay.Claim{Holder: "me", Now: t0, Until: after(1), Most: 9, PerAccount: 9})
		ok(t, err)
		for _, m := range due {
			m.State, m.Bounce, m.Done = relay.Failed, relay.BounceDue, t0
			for i := range m.Recipients {
				m.Recipients[i].State, m.Recipients[i].Notify = relay.Refused, 0
			}
			ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
		}
		owed, err := s.DueBounces(ctx, t0, "")
		ok(t, err)
		got(t, []string{"m00000", "m00001"})(ids(owed), nil)
		behind, err := s.DueBounces(ctx, t0, "m00000")
		ok(t, err)
		got(t, []string{"m00001"})(ids(behind), nil)

		report := message(7, "office")
		report.About, report.Tells = "m00000", all(owed[0])
		ok(t, s.PutMessage(ctx, &report, strings.NewReader("body")))
		again := message(8, "office")
		again.About, again.Tells = "m00000", all(owed[0])
		failed(t, s.PutMessage(ctx, &again, strings.NewReader("body")), fault.Conflict, "m00000")
		failed(t, second(s.Message(ctx, "m00008")), fault.NotFound)
		have, err := s.Message(ctx, "m00000")
		ok(t, err)
		if have.Bounce != relay.BounceSent || !have.Recipients[0].Told || !have.Recipients[1].Told {
			t.Errorf("told %+v", have)
		}
		report.Tells = nil
		got(t, report)(s.Message(ctx, "m00007"))

		ok(t, s.DropBounce(ctx, "m00001"))
		failed(t, s.DropBounce(ctx, "m00001"), fault.Conflict)
		got(t, []relay.Message(nil))(s.DueBounces(ctx, t0, ""))

		ok(t, s.RequeueMessage(ctx, "m00000", t0)) // tried again by hand: what comes of it is new
		have, err = s.Message(ctx, "m00000")
		ok(t, err)
		if have.Bounce != "" || have.Recipients[0].Told {
			t.Errorf("tried again: %+v", have)
		}
	})
}

// plain is a message whose sender said nothing of what it wants to hear.
func plain(n int) relay.Message {
	m := message(n, "scan")
	m.Recipients[0].Notify, m.TellBy = 0, time.Time{}
	return m
}

// all are the addresses of a message's recipients.
func all(m relay.Message) []mail.Address {
	var to []mail.Address
	for _, r := range m.Recipients {
		to = append(to, r.Address)
	}
	return to
}

// A recipient that failed is reported while another one waits, and then no more. Not
// while the message is being delivered: that try writes all recipients.
func TestReportOnAPart(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		waits := put(t, s, plain(0))
		gone, busy := waits.Recipients[0].Address, waits.Recipients[1].Address
		tell := func(n int, who ...mail.Address) error {
			report := message(n, "office")
			report.About, report.Tells, report.NotBefore = "m00000", who, after(time.Hour)
			return s.PutMessage(ctx, &report, strings.NewReader("body"))
		}
		try := claim(t, s, "me")[0]
		try.State, try.Bounce, try.Recipients[0].State = relay.Queued, relay.BounceDue, relay.Refused
		ok(t, s.FinishMessage(ctx, "me", try, relay.Spent{}))
		owed, err := s.DueBounces(ctx, t0, "")
		ok(t, err)
		got(t, []string{"m00000"})(ids(owed), nil)
		failed(t, s.DropBounce(ctx, "m00000"), fault.Conflict)
		failed(t, tell(1, gone, busy), fault.Conflict, "m00000")

		try = claim(t, s, "me")[0]
		got(t, []relay.Message(nil))(s.DueBounces(ctx, t0, ""))
		failed(t, tell(1, gone), fault.Conflict, "m00000")
		try.State = relay.Queued
		ok(t, s.FinishMessage(ctx, "me", try, relay.Spent{}))
		ok(t, tell(1, gone))
		failed(t, tell(2, gone), fault.Conflict, "m00000")
		failed(t, second(s.Message(ctx, "m00002")), fault.NotFound)
		got(t, []relay.Message(nil))(s.DueBounces(ctx, t0, ""))

		try = claim(t, s, "me")[0]
		if try.Bounce != relay.BounceSent || !try.Recipients[0].Told || try.Recipients[1].Told {
			t.Errorf("the next try knows %+v", try)
		}
		try.State, try.Done, try.Bounce, try.Recipients[1].State = relay.Failed, t0, relay.BounceDue, relay.Refused
		ok(t, s.FinishMessage(ctx, "me", try, relay.Spent{}))
		failed(t, tell(3, gone, busy), fault.Conflict)
		ok(t, tell(3, busy))
		have, err := s.Message(ctx, "m00000")
		ok(t, err)
		if have.Bounce != relay.BounceSent || !have.Recipients[1].Told {
			t.Errorf("in the end %+v", have)
		}
		failed(t, tell(4, gone), fault.Conflict)
		ok(t, s.DeleteMessage(ctx, "m00000"))
		failed(t, tell(5, gone), fault.Conflict)
	})
}

// Of many who report at once, as nodes do, one is right.
func TestOneReportOfMany(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		put(t, s, plain(0))
		try := claim(t, s, "me")[0]
		try.State, try.Bounce, try.Recipients[0].State = relay.Queued, relay.BounceDue, relay.Refused
		ok(t, s.FinishMessage(ctx, "me", try, relay.Spent{}))
		var told atomic.Int32
		var tellers sync.WaitGroup
		for n := range 8 {
			tellers.Go(func() {
				report := message(n+1, "office")
				report.About, report.Tells = "m00000", []mail.Address{try.Recipients[0].Address}
				if err := s.PutMessage(ctx, &report, strings.NewReader("body")); err == nil {
					told.Add(1)
				} else if !errors.Is(err, fault.Conflict) {
					t.Error(err)
				}
			})
		}
		tellers.Wait()
		if n := told.Load(); n != 1 {
			t.Errorf("%d reports", n)
		}
	})
}

// A late message owes one report, while it waits; not before its time, not while it is
// being delivered, and not when it is late no more.
func TestLateMessageOwesAReport(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for n := range 2 {
			put(t, s, message(n, "scan"))
		}
		got(t, []relay.Message(nil))(s.DueBounces(ctx, after(4*time.Hour-1e6), ""))
		late, err := s.DueBounces(ctx, after(4*time.Hour), "")
		ok(t, err)
		got(t, []string{"m00000", "m00001"})(ids(late), nil)
		tell := func(n int, about string) error {
			report := message(n, "office")
			report.About, report.Late, report.TellBy = about, true, time.Time{}
			return s.PutMessage(ctx, &report, strings.NewReader("body"))
		}
		due := claim(t, s, "me")
		failed(t, tell(7, "m00000"), fault.Conflict, "m00000")
		due[0].State, due[1].State, due[1].TellBy = relay.Queued, relay.Delivered, time.Time{}
		for _, m := range due {
			ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
		}
		ok(t, tell(7, "m00000"))
		failed(t, tell(8, "m00000"), fault.Conflict)
		failed(t, tell(8, "m00001"), fault.Conflict)
		got(t, []relay.Message(nil))(s.DueBounces(ctx, after(5*time.Hour), ""))
	})
}
