package store_test

import (
	"slices"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/store"
)

func TestHoldAndRelease(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		m := put(t, s, message(1, "scan"))
		ok(t, s.HoldMessage(ctx, m.ID))
		failed(t, s.HoldMessage(ctx, m.ID), fault.Conflict, "held")
		failed(t, s.RequeueMessage(ctx, m.ID, after(time.Minute)), fault.Conflict, "held")
		failed(t, s.HoldMessage(ctx, "none"), fault.NotFound)
		claim := relay.Claim{Holder: "me", Now: after(time.Hour), Until: after(2 * time.Hour), Most: 9, PerAccount: 9}
		got(t, []relay.Message(nil))(s.ClaimMessages(ctx, claim))
		got(t, map[relay.State]int{relay.Held: 1})(s.Counts(ctx))
		ok(t, s.ReleaseMessage(ctx, m.ID, after(time.Minute)))
		failed(t, s.ReleaseMessage(ctx, m.ID, t0), fault.Conflict, "queued")
		due, err := s.ClaimMessages(ctx, claim)
		ok(t, err)
		got(t, []string{m.ID})(ids(due), nil)
		failed(t, s.HoldMessage(ctx, m.ID), fault.Conflict, "delivering")
	})
}

func TestFindByText(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		for n, subject := range []string{"Invoice 100%", "invoice_7", "Scan"} {
			m := message(n, "scan")
			m.Subject = subject
			put(t, s, m)
		}
		for text, want := range map[string][]string{
			"INVOICE": {"m00000", "m00001"}, "100%": {"m00000"}, "e_7": {"m00001"}, "e!7": {}, "m00002": {"m00002"}, "%": {"m00000"},
		} {
			found, err := s.Messages(t.Context(), relay.Filter{Text: text})
			ok(t, err)
			got(t, want)(ids(found), nil)
		}
	})
}

// A word of how recipients are kept, or of what a server said of one, is in no address:
// who deletes all with it would delete what they never meant.
func TestFindByAddress(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		m := message(1, "scan")
		m.Recipients[0] = relay.Recipient{Address: address("r&d@x.example"), State: relay.Refused, Reply: "550 5.1.10 nobody@elsewhere.example is not here \x00"}
		put(t, s, m)
		for text, want := range map[string][]string{
			"R&D@x": {"m00001"}, `"b c"@`: {"m00001"}, "ü.EXAMPLE": {"m00001"}, "d@x.": {"m00001"},
			"address": {}, "waiting": {}, "refused": {}, "reply": {}, "5.1.10": {}, "elsewhere": {}, `"`: {"m00001"}, "u0026": {}, "{": {}, ",": {},
		} {
			found, err := s.Messages(t.Context(), relay.Filter{Text: text})
			ok(t, err)
			if !slices.Equal(ids(found), want) {
				t.Errorf("%q finds %v, want %v", text, ids(found), want)
			}
		}
	})
}

func TestAuditIsReadNewestFirst(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for n, subject := range []string{"a", "b", "a"} {
			ok(t, s.PutAudit(ctx, people.Line{At: after(time.Duration(n) * time.Second), Who: "cli:root", What: "hold", Subject: subject, Detail: "d"}))
		}
		all, err := s.Audits(ctx, people.Lines{Limit: 2})
		ok(t, err)
		if len(all) != 2 || all[0].Subject != "a" || all[1].Subject != "b" || !all[0].At.Equal(after(2*time.Second)) {
			t.Errorf("read %+v", all)
		}
		rest, err := s.Audits(ctx, people.Lines{Subject: "a", Before: all[0].ID})
		ok(t, err)
		if len(rest) != 1 || !rest[0].At.Equal(t0) || rest[0].Who != "cli:root" || rest[0].What != "hold" || rest[0].Detail != "d" {
			t.Errorf("read %+v", rest)
		}
	})
}
