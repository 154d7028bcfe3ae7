package store_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
)

// message makes a message whose id sorts by n.
func message(n int, account string) relay.Message {
	return relay.Message{
		ID: fmt.Sprintf("m%05d", n), Account: account, Device: "printer", From: address("scan@contoso.com"),
		Recipients: []relay.Recipient{
			{Address: address("a@x.example"), State: relay.Waiting, RecipientNotice: mail.RecipientNotice{Notify: mail.NotifyDelay, Original: "rfc822;A@x.example"}},
			{Address: address(`"b c"@ü.example`), State: relay.Waiting, Reply: "later"},
		},
		EightBit: true, UTF8: true, MessageID: "<1@contoso.com>", Subject: "Scan", Accepted: t0, NotBefore: t0,
		Notice: mail.Notice{Return: mail.ReturnFull, EnvelopeID: "e+1"}, TellBy: after(4 * time.Hour),
	}
}

// put queues a small message and returns it as it is stored.
func put(t testing.TB, s *store.Store, m relay.Message) relay.Message {
	t.Helper()
	ok(t, s.PutMessage(t.Context(), &m, strings.NewReader("body of "+m.ID)))
	return m
}

// claim leases to holder for a minute from t0, without narrow limits.
func claim(t testing.TB, s *store.Store, holder string) []relay.Message {
	t.Helper()
	ms, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: holder, Now: t0, Until: after(time.Minute), Most: 100, PerAccount: 100})
	ok(t, err)
	return ms
}

func body(t testing.TB, s *store.Store, id string) string {
	t.Helper()
	r, err := s.Body(t.Context(), id)
	ok(t, err)
	b, err := io.ReadAll(r)
	ok(t, err)
	ok(t, r.Close())
	return string(b)
}

func TestMessages(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		failed(t, second(s.Message(ctx, "m00001")), fault.NotFound)
		failed(t, second(s.Body(ctx, "m00001")), fault.NotFound)
		failed(t, s.DeleteMessage(ctx, "m00001"), fault.NotFound)
		failed(t, s.RequeueMessage(ctx, "m00001", t0), fault.NotFound)
		failed(t, s.PutMessage(ctx, &relay.Message{Account: "scan"}, strings.NewReader("")), fault.Invalid)
		failed(t, s.PutMessage(ctx, &relay.Message{ID: "x"}, strings.NewReader("")), fault.Invalid)

		m := message(1, "scan")
		m.State, m.Subject, m.From = relay.Failed, "raw \xff\x00", mail.Address{}
		m = put(t, s, m)
		if m.State != relay.Queued || m.Size != 14 {
			t.Errorf("state %q, size %d", m.State, m.Size)
		}
		m.Subject = "raw \uFFFD\uFFFD"
		got(t, m)(s.Message(ctx, m.ID))
		if b := body(t, s, m.ID); b != "body of m00001" {
			t.Errorf("body %q", b)
		}
		ok(t, s.DeleteMessage(ctx, m.ID))
		failed(t, second(s.Message(ctx, m.ID)), fault.NotFound)
		failed(t, second(s.Body(ctx, m.ID)), fault.NotFound)
	})
}

func TestListMessages(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		var all []relay.Message
		for i := range 104 {
			m := message(i, []string{"scan", "Scan"}[i%2])
			m.Device = []string{"printer", "erp", "Erp"}[i%3]
			all = append(all, m)
		}
		for i := range all { // newest first, to tell insertion from order
			j := len(all) - 1 - i
			all[j] = put(t, s, all[j])
		}
		got(t, all[:100])(s.Messages(ctx, relay.Filter{}))
		got(t, all[100:])(s.Messages(ctx, relay.Filter{After: all[99].ID}))
		got(t, all[:3])(s.Messages(ctx, relay.Filter{Limit: 3}))
		got(t, []relay.Message{all[1], all[7]})(s.Messages(ctx, relay.Filter{Account: "Scan", Device: "erp", State: relay.Queued, Limit: 2}))
		got(t, []relay.Message(nil))(s.Messages(ctx, relay.Filter{State: relay.Failed}))
		got(t, map[relay.State]int{relay.Queued: 104})(s.Counts(ctx))

		claimed, err := s.ClaimMessages(ctx, relay.Claim{Holder: "me", Now: t0, Until: after(1), Most: 3, PerAccount: 3})
		ok(t, err)
		claimed[0].State, claimed[1].State = relay.Delivered, relay.Failed
		ok(t, s.FinishMessage(ctx, "me", claimed[0], relay.Spent{}))
		ok(t, s.FinishMessage(ctx, "me", claimed[1], relay.Spent{}))
		delivered, err := s.Messages(ctx, relay.Filter{State: relay.Delivered})
		ok(t, err)
		if have := ids(delivered); !slices.Equal(have, []string{claimed[0].ID}) {
			t.Errorf("delivered: %v", have)
		}
		got(t, map[relay.State]int{relay.Queued: 101, relay.Delivering: 1, relay.Delivered: 1, relay.Failed: 1})(s.Counts(ctx))
	})
}

func TestFinishMessage(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		queued := put(t, s, message(1, "scan"))
		failed(t, s.FinishMessage(ctx, "me", queued, relay.Spent{}), fault.Conflict) // nobody has it
		missing := queued
		missing.ID = "gone"
		failed(t, s.FinishMessage(ctx, "me", missing, relay.Spent{}), fault.NotFound)

		m := claim(t, s, "me")[0]
		failed(t, s.FinishMessage(ctx, "me", m, relay.Spent{}), fault.Invalid, "delivering")
		m.State, m.Attempts, m.Reason, m.Kind, m.NotBefore = relay.Queued, 1, "432 4.3.2 \xff", "throttled", after(time.Hour)
		m.Recipients[0] = relay.Recipient{Address: m.Recipients[0].Address, State: relay.Accepted, Reply: "250 2.1.5"}
		failed(t, s.FinishMessage(ctx, "you", m, relay.Spent{}), fault.Conflict, m.ID)
		lease := queued
		lease.State = relay.Delivering
		got(t, lease)(s.Message(ctx, m.ID)) // nothing was written
		ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
		m.Reason = "432 4.3.2 \uFFFD"
		got(t, m)(s.Message(ctx, m.ID))
		failed(t, s.FinishMessage(ctx, "me", m, relay.Spent{}), fault.Conflict)

		ok(t, s.RequeueAccount(ctx, "scan", t0))
		m = claim(t, s, "me")[0]
		m.State, m.Done = relay.Failed, after(2*time.Hour)
		ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
		got(t, m)(s.Message(ctx, m.ID))
		if b := body(t, s, m.ID); b != "body of m00001" {
			t.Errorf("a failed message keeps its body, have %q", b)
		}

		ok(t, s.RequeueMessage(ctx, m.ID, t0))
		m = claim(t, s, "me")[0]
		m.State = relay.Delivered
		ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
		got(t, m)(s.Message(ctx, m.ID))
		failed(t, second(s.Body(ctx, m.ID)), fault.NotFound, "dropped")
		failed(t, s.RequeueMessage(ctx, m.ID, t0), fault.Conflict)
		ok(t, s.DeleteMessage(ctx, m.ID))
	})
}

func TestRequeue(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		put(t, s, message(1, "scan"))
		m := claim(t, s, "me")[0]
		failed(t, s.RequeueMessage(ctx, m.ID, t0), fault.Conflict, m.ID)
		failed(t, s.DeleteMessage(ctx, m.ID), fault.Conflict, m.ID)
		ok(t, s.RequeueAccount(ctx, "scan", after(-time.Hour))) // leaves what is being delivered
		m.State, m.Reason, m.Done, m.Attempts, m.NotBefore = relay.Failed, "550", after(time.Minute), 3, time.Time{}
		m.Recipients[0].State = relay.Accepted
		m.Recipients[1].State, m.Recipients[1].Reply = relay.Refused, "550 no"
		ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))

		ok(t, s.RequeueMessage(ctx, m.ID, after(time.Hour)))
		m.State, m.Done, m.NotBefore = relay.Queued, time.Time{}, after(time.Hour)
		m.Recipients[1].State, m.Recipients[1].Reply = relay.Waiting, ""
		got(t, m)(s.Message(ctx, m.ID))

		other := message(2, "other")
		other.NotBefore = after(time.Hour)
		other = put(t, s, other)
		early := put(t, s, message(3, "scan"))
		ok(t, s.RequeueAccount(ctx, "scan", after(time.Minute)))
		m.NotBefore = after(time.Minute)
		got(t, []relay.Message{m, other, early})(s.Messages(ctx, relay.Filter{})) // what is due already stays first
	})
}

func TestSearchGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		var all []relay.Message
		for i := range 25 {
			m := message(i, "scan")
			m.Subject = []string{"invoice", "letter"}[min(i%11, 1)] // 0, 11 and 22
			all = append(all, put(t, s, m))
		}
		search := func(limit int, patience time.Duration, newest bool) (ids []string, pages int) {
			f := relay.Filter{Text: "INVOICE", Limit: limit, Newest: newest}
			for {
				found, next, err := s.SearchBy(t.Context(), f, patience, 10)
				ok(t, err)
				pages++
				for _, m := range found {
					ids = append(ids, m.ID)
				}
				if f.After = next; next == "" {
					return ids, pages
				}
			}
		}
		want := []string{all[0].ID, all[11].ID, all[22].ID}
		for _, c := range []struct {
			name     string
			limit    int
			patience time.Duration
			pages    int
		}{
			{"all at once", 100, time.Hour, 1},
			{"a step a page", 100, 0, 3},
			{"one a page", 1, time.Hour, 4},
		} {
			for _, newest := range []bool{false, true} {
				ids, pages := search(c.limit, c.patience, newest)
				if newest {
					slices.Reverse(ids)
				}
				if !slices.Equal(ids, want) || pages != c.pages {
					t.Errorf("%s, newest first %t: %v in %d pages", c.name, newest, ids, pages)
				}
			}
		}
	})
}
