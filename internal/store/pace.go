package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postern/internal/mail"
	"postern/internal/relay"
)

// What limits look back on.
const (
	minute = time.Minute
	day    = 24 * time.Hour
)

// pace keeps of the messages that were just leased those that the limits of their
// accounts allow now, and gives the others back. The caller's transaction keeps out
// every other claim.
func pace(ctx context.Context, tx querier, c relay.Claim, due []relay.Message) ([]relay.Message, error) {
	if c.Limits == nil {
		return due, nil
	}
	var kept []relay.Message
	seen := map[string]*allowance{}
	for _, m := range due {
		a, ok := seen[m.Account]
		if !ok {
			var err error
			if a, err = allow(ctx, tx, m.Account, c.Limits(m.Account), c.Now, due); err != nil {
				return nil, err
			}
			seen[m.Account] = a
		}
		goes, err := a.take(ctx, tx, &m)
		if err != nil {
			return nil, err
		}
		if goes {
			kept = append(kept, m)
			continue
		}
		if _, err := exec(ctx, tx, giveBack+` AND id = $1`, m.ID); err != nil {
			return nil, err
		}
	}
	for account, a := range seen {
		if err := a.note(ctx, tx, account, c.Now); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// allowance is what is left of an account's limits.
type allowance struct {
	limits     mail.Limits
	minute     int // messages of the last minute, those in flight included
	day        int // recipients of the last day, those in flight included
	sent       int // recipients of the last day without them
	minuteFree time.Time
	dayFree    time.Time
	refused    string    // the limit that sent a message back last
	free       time.Time // when it allows one more, zero while nobody knows
}

// allow adds up what counts against an account's limits. due are the messages that
// this very claim has leased: they do not count yet.
func allow(ctx context.Context, tx querier, account string, l mail.Limits, now time.Time, due []relay.Message) (*allowance, error) {
	a := &allowance{limits: l}
	if !l.Bounded() {
		return a, nil
	}
	ours := map[string]bool{}
	for _, m := range due {
		ours[m.ID] = true
	}
	flying, err := list(ctx, tx, "look at limits", scanMessage,
		`SELECT `+messageColumns+` FROM messages WHERE state = 'delivering' AND account = $1`, account)
	if err != nil {
		return nil, err
	}
	for _, m := range flying {
		if !ours[m.ID] {
			a.minute++
			a.day += next(m, l)
		}
	}
	if l.PerMinute > 0 {
		err = a.lookBack(ctx, tx, account, now.Add(-minute), `count(*)`, &a.minute, &a.minuteFree)
	}
	if err == nil && l.RecipientsPerDay > 0 {
		err = a.lookBack(ctx, tx, account, now.Add(-day), `coalesce(sum(recipients), 0)`, &a.sent, &a.dayFree)
	}
	a.day += a.sent
	a.minuteFree, a.dayFree = a.minuteFree.Add(minute), a.dayFree.Add(day)
	return a, err
}

// lookBack adds what was sent since a time, and notes the oldest of it.
func (a *allowance) lookBack(ctx context.Context, tx querier, account string, since time.Time, what string, to *int, oldest *time.Time) error {
	var n int
	err := tx.QueryRowContext(ctx, `SELECT `+what+`, coalesce(min(at), 0) FROM sends WHERE account = $1 AND at > $2`,
		account, millis(since)).Scan(&n, clock{oldest})
	*to += n
	return err
}

// next is how many recipients a try would have, or has.
func next(m relay.Message, l mail.Limits) int { return len(m.Part(l.RecipientsPerMessage)) }

// take reports whether a message may go now, and counts it when it may.
func (a *allowance) take(ctx context.Context, tx querier, m *relay.Message) (bool, error) {
	if l := a.limits; l.PerMinute > 0 && a.minute >= l.PerMinute {
		a.refused, a.free = fmt.Sprintf("%d messages a minute", l.PerMinute), a.minuteFree
		return false, nil
	}
	if goes, err := a.fit(ctx, tx, m); !goes || err != nil {
		return false, err
	}
	a.minute++
	a.day += next(*m, a.limits)
	return true, nil
}

// fit cuts a message to the recipients that the day has room for, and reports whether
// that is any. So a large message neither waits for a day with room for all of it, nor
// keeps those behind it waiting while there is room. What may have been sent already goes
// as it was, or nobody could find out whether it was; it was counted then.
func (a *allowance) fit(ctx context.Context, tx querier, m *relay.Message) (bool, error) {
	limited, room := a.limits.RecipientsPerDay > 0, a.limits.RecipientsPerDay-a.day
	if !m.IsCut() && (!limited || next(*m, a.limits) <= room) {
		return true, nil
	}
	if doubted, err := doubtful(ctx, tx, *m); doubted || err != nil {
		return doubted, err
	}
	if limited && room <= 0 {
		a.refuseDay()
		return false, nil
	}
	m.Cut(0)
	if limited && next(*m, a.limits) > room {
		m.Cut(room)
	}
	_, err := exec(ctx, tx, `UPDATE messages SET recipients = $2 WHERE id = $1`, m.ID, document{m.Recipients})
	return err == nil, err
}

// doubtful reports whether a part of a message may have been sent by a try whose end
// nobody knows.
func doubtful(ctx context.Context, tx querier, m relay.Message) (bool, error) {
	if slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool { return r.InDoubt }) {
		return true, nil
	}
	var n int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM doubts WHERE message = $1`, m.ID).Scan(&n)
	return n > 0, err
}

// refuseDay notes that the day is used up. While it is so only because of what is in
// flight, which may come to nothing, nobody knows for how long.
func (a *allowance) refuseDay() {
	a.refused, a.free = fmt.Sprintf("%d recipients a day", a.limits.RecipientsPerDay), time.Time{}
	if a.sent >= a.limits.RecipientsPerDay {
		a.free = a.dayFree
	}
}

// note keeps everybody from claiming for an account before its limit allows one more.
// While all that counts is in flight, nobody knows when that is, and nobody is kept.
func (a *allowance) note(ctx context.Context, tx querier, account string, now time.Time) error {
	if a.refused == "" || !a.free.After(now) {
		return nil
	}
	_, err := exec(ctx, tx, `
		INSERT INTO paces (account, until, reason) VALUES ($1, $2, $3)
		ON CONFLICT (account) DO UPDATE SET until = excluded.until, reason = excluded.reason`,
		account, millis(a.free), a.refused)
	return err
}

// Paces is part of [relay.Store].
func (s *Store) Paces(ctx context.Context, now time.Time) ([]relay.Pace, error) {
	return list(ctx, s.db, "list paces", func(row scanner) (p relay.Pace, err error) {
		err = row.Scan(&p.Account, clock{&p.Until}, &p.Reason)
		return p, err
	}, `SELECT account, until, reason FROM paces WHERE until > $1 ORDER BY account`, millis(now))
}

// spend counts a try against the limits of its account.
func spend(ctx context.Context, tx querier, account string, spent relay.Spent) error {
	if spent.Recipients == 0 {
		return nil
	}
	_, err := exec(ctx, tx, `INSERT INTO sends (account, at, recipients) VALUES ($1, $2, $3)`, account, millis(spent.At), spent.Recipients)
	return err
}

// ForgetSends is part of [relay.Store]. It runs often, and so is where a clock is put right.
func (s *Store) ForgetSends(ctx context.Context, now time.Time) error {
	if err := s.forgetTwins(ctx, now); err != nil {
		return err
	}
	return s.writes.do(ctx, "forget old sends", func(ctx context.Context, tx querier) error {
		if _, err := exec(ctx, tx, `DELETE FROM sends WHERE at <= $1`, millis(now.Add(-day))); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, `DELETE FROM paces WHERE until <= $1`, millis(now)); err != nil {
			return err
		}
		return putRight(ctx, tx, now)
	})
}

// putRight brings back from the future what a clock that was ahead has put there: sends
// count as made now, and messages that nobody has tried yet are due.
func putRight(ctx context.Context, tx querier, now time.Time) error {
	future := millis(now.Add(minute)) // no two nodes are that far apart
	n, err := exec(ctx, tx, `UPDATE sends SET at = $1 WHERE at > $2`, millis(now), future)
	if err != nil || n == 0 {
		return err
	}
	if _, err := exec(ctx, tx, `DELETE FROM paces`); err != nil { // the next claim looks anew
		return err
	}
	_, err = exec(ctx, tx, `UPDATE messages SET not_before = $1 WHERE state = 'queued' AND attempts = 0 AND not_before > $2`, millis(now), future)
	return err
}
