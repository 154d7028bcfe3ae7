package store

import (
	"bytes"
	"context"
	"errors"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

// meetTwin notes what was handed in as a message, in the message's own commit. When it
// is in the queue already that is fault.Conflict with [relay.Again], and nothing of the
// second one stays. A twin that failed, went to nobody or was deleted stands in nobody's
// way.
//
// The row of the first is locked before its message is looked at, so that of two at
// once one waits for the other.
func meetTwin(ctx context.Context, tx querier, lockRow string, m relay.Message, sum []byte) error {
	expires := millis(m.Accepted.Add(m.Resend.For))
	for {
		n, err := exec(ctx, tx, `INSERT INTO twins (sum, message, expires) VALUES ($1, $2, $3) ON CONFLICT (sum) DO NOTHING`, sum, m.ID, expires)
		if err != nil || n > 0 {
			return err
		}
		first, err := one(ctx, tx, subject{"twin of message", m.ID}, scanTwin, `SELECT message, expires FROM twins WHERE sum = $1`+lockRow, sum)
		if errors.Is(err, fault.NotFound) { // forgotten between the two statements
			continue
		}
		if err == nil && first.expires.After(m.Accepted) {
			err = stillThere(ctx, tx, first.message)
		}
		if err == nil {
			_, err = exec(ctx, tx, `UPDATE twins SET message = $2, expires = $3 WHERE sum = $1`, sum, m.ID, expires)
		}
		return err
	}
}

// twinSum is nil for a message that is never taken for another.
func twinSum(m *relay.Message) []byte {
	if m.Resend == nil {
		return nil
	}
	return m.Resend.Sum()
}

type twin struct {
	message string
	expires time.Time
}

func scanTwin(row scanner) (t twin, err error) {
	err = row.Scan(&t.message, clock{&t.expires})
	return t, err
}

// stillThere fails with fault.Conflict while a message is in the queue, or delivered.
func stillThere(ctx context.Context, tx querier, id string) error {
	n, err := column[int](ctx, tx, "queue message", `SELECT count(*) FROM messages WHERE id = $1 AND state NOT IN ('failed', 'simulated')`, id)
	if err == nil && n > 0 {
		err = fault.Wrap(fault.Conflict, "queue message", relay.Again{ID: id})
	}
	return err
}

// forgetTwins drops those whose time is over, a slice of all sums at a time, so that
// nobody who hands in mail waits long for it.
func (s *Store) forgetTwins(ctx context.Context, now time.Time) error {
	const slices = 64
	for n := range slices {
		from := byte(n * (256 / slices))
		to := []byte{from + 256/slices}
		if n == slices-1 {
			to = bytes.Repeat([]byte{0xff}, 33) // longer than any sum
		}
		if _, err := s.write(ctx, "forget what was handed in",
			`DELETE FROM twins WHERE sum >= $1 AND sum < $2 AND expires <= $3`, []byte{from}, to, millis(now)); err != nil {
			return err
		}
	}
	return nil
}
