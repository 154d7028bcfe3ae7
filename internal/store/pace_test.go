package store_test

import (
	"slices"
	"testing"
	"time"

	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
)

// Three nodes send 300 messages of one mailbox, 30 a minute. No minute may see more
// than 30, and it may not take longer than the limit makes it.
func TestPaceHoldsAcrossNodes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		const all, perMinute = 300, 30
		nodes := []*store.Store{opened(t, d), opened(t, d), opened(t, d)}
		for n := range all {
			put(t, nodes[0], message(n, "scan"))
		}
		limits := func(string) mail.Limits { return mail.Limits{PerMinute: perMinute} }
		var sent []time.Time
		now := t0
		for ; len(sent) < all && now.Sub(t0) < time.Hour; now = now.Add(500 * time.Millisecond) {
			for i, node := range nodes {
				due, err := node.ClaimMessages(t.Context(), relay.Claim{
					Holder: string(rune('a' + i)), Now: now, Until: now.Add(time.Minute), Most: 16, PerAccount: 3, Limits: limits,
				})
				ok(t, err)
				for _, m := range due {
					m.State = relay.Delivered
					ok(t, node.FinishMessage(t.Context(), string(rune('a'+i)), m, relay.Spent{At: now, Recipients: 2}))
					sent = append(sent, now)
				}
			}
		}
		if len(sent) != all {
			t.Fatalf("%d messages went within an hour", len(sent))
		}
		for i := perMinute; i < all; i++ {
			if gap := sent[i].Sub(sent[i-perMinute]); gap < time.Minute {
				t.Fatalf("31 messages within %v, from the %d. on", gap, i-perMinute)
			}
		}
		least := time.Duration(all/perMinute-1) * time.Minute
		if took := sent[all-1].Sub(t0); took > least+least/20 {
			t.Errorf("it took %v; %v would do", took, least)
		}
	})
}

func TestPaceSaysWhyAndUntilWhen(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for n := range 3 {
			put(t, s, message(n, "scan"))
			put(t, s, message(10+n, "free"))
		}
		claim := func(at time.Duration) []string {
			due, err := s.ClaimMessages(ctx, relay.Claim{Holder: "me", Now: after(at), Until: after(time.Hour), Most: 9, PerAccount: 9,
				Limits: func(account string) mail.Limits {
					if account == "scan" {
						return mail.Limits{RecipientsPerDay: 4}
					}
					return mail.Limits{}
				}})
			ok(t, err)
			for _, m := range due {
				m.State = relay.Delivered
				spent := relay.Spent{At: after(at), Recipients: 2}
				if m.Account == "free" {
					spent.Recipients = 0
				}
				ok(t, s.FinishMessage(ctx, "me", m, spent))
			}
			return ids(due)
		}
		got(t, []string{"m00000", "m00001", "m00010", "m00011", "m00012"})(claim(0), nil)
		got(t, []string{})(claim(2*time.Second), nil) // by now it is known when what was sent ends to count
		got(t, []relay.Pace{{Account: "scan", Until: after(24 * time.Hour), Reason: "4 recipients a day"}})(s.Paces(ctx, after(time.Minute)))
		got(t, []string{})(claim(23*time.Hour), nil)
		furnished(t, s) // puts the account scan: limits are looked at anew
		got(t, []relay.Pace(nil))(s.Paces(ctx, after(23*time.Hour)))
		got(t, []string{})(claim(23*time.Hour), nil)
		got(t, []string{"m00002"})(claim(24*time.Hour+time.Second), nil)
		ok(t, s.ForgetSends(ctx, after(48*time.Hour)))
		got(t, []relay.Pace(nil))(s.Paces(ctx, after(0)))
	})
}

// What a dead holder had begun may have been sent, so it counts.
func TestPaceCountsWhatMayHaveBeenSent(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		put(t, s, message(0, "scan"))
		c := relay.Claim{Holder: "gone", Now: t0, Until: after(time.Second), Most: 9, PerAccount: 9,
			Limits: func(string) mail.Limits { return mail.Limits{PerMinute: 1} }}
		ok(t, second(s.ClaimMessages(ctx, c)))
		got(t, 1)(s.ExpireLeases(ctx, after(2*time.Second), c.Limits))
		c.Now, c.Until = after(3*time.Second), after(time.Hour)
		got(t, []relay.Message(nil))(s.ClaimMessages(ctx, c))
		c.Now = after(62 * time.Second)
		due, err := s.ClaimMessages(ctx, c)
		ok(t, err)
		if len(due) != 1 {
			t.Errorf("claimed %d a minute later", len(due))
		}
	})
}

// And it may have been sent to all who waited for it.
func TestPaceCountsEverybodyItMayHaveBeenSentTo(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for i := range 2 {
			m := message(i, "scan")
			m.Recipients = []relay.Recipient{{State: relay.Accepted}, {State: relay.Waiting}, {State: relay.Waiting}}
			put(t, s, m)
		}
		c := relay.Claim{Holder: "gone", Now: t0, Until: after(time.Second), Most: 1, PerAccount: 1,
			Limits: func(string) mail.Limits { return mail.Limits{RecipientsPerDay: 2} }}
		ok(t, second(s.ClaimMessages(ctx, c)))
		got(t, 1)(s.ExpireLeases(ctx, after(2*time.Second), c.Limits))
		c.Now, c.Until = after(3*time.Second), after(time.Hour)
		got(t, []relay.Message(nil))(s.ClaimMessages(ctx, c))
	})
}

// A message with many recipients goes in parts, so no more than a part of it can be gone.
func TestPaceCountsAPartOfWhatGoesInParts(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		m := message(0, "scan")
		m.Recipients = slices.Repeat([]relay.Recipient{{State: relay.Waiting}}, 6)
		put(t, s, m)
		limits := func(string) mail.Limits { return mail.Limits{RecipientsPerDay: 6, RecipientsPerMessage: 2} }
		for n, lose := range []func(c relay.Claim) (int, error){
			func(c relay.Claim) (int, error) { return s.ExpireLeases(ctx, c.Until.Add(time.Second), limits) },
			func(c relay.Claim) (int, error) {
				_ = second(s.ReleaseDead(ctx, c.Now, limits)) // on PostgreSQL a sign must be away for a while
				_, err := s.ReleaseDead(ctx, c.Now.Add(time.Minute), limits)
				return 1, err
			},
		} {
			c := relay.Claim{Holder: "gone", Now: after(time.Duration(n) * time.Hour), Most: 1, PerAccount: 1, Limits: limits}
			c.Until = c.Now.Add(time.Second)
			if due, err := s.ClaimMessages(ctx, c); err != nil || len(due) != 1 {
				t.Fatalf("after %d losses %d messages are due, %v", n, len(due), err)
			}
			got(t, 1)(lose(c))
		}
		c := relay.Claim{Holder: "me", Now: after(3 * time.Hour), Until: after(4 * time.Hour), Most: 1, PerAccount: 1, Limits: limits}
		due, err := s.ClaimMessages(ctx, c)
		ok(t, err)
		if len(due) != 1 {
			t.Fatal("two parts of two leave room for a third")
		}
		due[0].State = relay.Queued
		ok(t, s.FinishMessage(ctx, "me", due[0], relay.Spent{At: c.Now, Recipients: 2}))
		got(t, []relay.Message(nil))(s.ClaimMessages(ctx, c))
	})
}

// A clock that was ahead and is put right leaves nobody waiting until it is there again.
func TestPaceAfterAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		claim := func(at time.Duration) []string {
			due, err := s.ClaimMessages(ctx, relay.Claim{Holder: "me", Now: after(at), Until: after(at + time.Minute), Most: 1, PerAccount: 1,
				Limits: func(string) mail.Limits { return mail.Limits{PerMinute: 1} }})
			ok(t, err)
			for _, m := range due {
				m.State = relay.Delivered
				ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{At: after(at), Recipients: 1}))
			}
			return ids(due)
		}
		put(t, s, message(0, "scan"))
		put(t, s, message(1, "scan"))
		late := message(2, "scan")
		late.NotBefore = after(5 * time.Hour)
		put(t, s, late)
		deferred := message(3, "scan")
		deferred.NotBefore, deferred.Attempts = after(4*time.Hour), 1
		put(t, s, deferred)
		got(t, []string{"m00000"})(claim(5*time.Hour), nil)
		got(t, []string{})(claim(5*time.Hour), nil)
		ok(t, s.ForgetSends(ctx, after(time.Minute)))
		got(t, []string{})(claim(90*time.Second), nil) // what went in the future counts as put right, a minute from then on
		got(t, []string{"m00001"})(claim(3*time.Minute), nil)
		ok(t, s.ForgetSends(ctx, after(5*time.Minute)))
		got(t, []string{"m00002"})(claim(6*time.Minute), nil)
		got(t, []string{})(claim(time.Hour), nil) // what a server asked to wait for is waited for
	})
}
