package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

const messageColumns = `id, account, device, sender, recipients, eight_bit, utf8, message_id, subject, size,
	state, attempts, reason, kind, accepted, not_before, done, about, bounce,
	ret, envelope_id, tell_by, transport, hint`

func scanMessage(row scanner) (m relay.Message, err error) {
	err = row.Scan(&m.ID, &m.Account, &m.Device, document{&m.From}, document{&m.Recipients}, &m.EightBit, &m.UTF8,
		&m.MessageID, &m.Subject, &m.Size, &m.State, &m.Attempts, &m.Reason, &m.Kind,
		clock{&m.Accepted}, clock{&m.NotBefore}, clock{&m.Done}, &m.About, &m.Bounce,
		&m.Notice.Return, &m.Notice.EnvelopeID, clock{&m.TellBy}, &m.Over, &m.Hint)
	return m, err
}

// insertMessage puts the row of a queued message whose body has the given name; sum
// knows its twins, nil when it has none.
func (s *Store) insertMessage(ctx context.Context, tx querier, m relay.Message, sum []byte, body string, inFile bool) error {
	_, err := exec(ctx, tx, `
		INSERT INTO messages (`+messageColumns+`, body, in_file)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)`,
		m.ID, m.Account, m.Device, document{m.From}, document{m.Recipients}, m.EightBit, m.UTF8,
		m.MessageID, m.Subject, m.Size, string(m.State), m.Attempts, m.Reason, m.Kind,
		millis(m.Accepted), millis(m.NotBefore), millis(m.Done), m.About, string(m.Bounce),
		string(m.Notice.Return), m.Notice.EnvelopeID, millis(m.TellBy), string(m.Over), m.Hint, body, inFile)
	switch {
	case err != nil || m.About == "":
	case m.Late:
		err = settleLate(ctx, tx, m.About)
	default:
		err = s.settleReport(ctx, tx, m)
	}
	if err == nil && sum != nil {
		err = meetTwin(ctx, tx, s.dialect.lockRow, m, sum)
	}
	if err == nil && m.Once != nil {
		err = handIn(ctx, tx, m.ID, *m.Once, m.Accepted)
	}
	return err
}

// settleReport ends what a message owes on the recipients that a report tells of. Of two
// reports on one recipient the second is fault.Conflict. So is one on a message that is
// being delivered: that try writes all recipients, and would forget who was told.
func (s *Store) settleReport(ctx context.Context, tx querier, report relay.Message) error {
	of, err := one(ctx, tx, subject{"message", report.About}, scanMessage,
		`SELECT `+messageColumns+` FROM messages WHERE id = $1`+s.dialect.lockRow, report.About)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || !of.Tell(report.Tells) {
		return fault.New(fault.Conflict, "report a failed message", "nobody waits for this report on message %s", report.About)
	}
	_, err = exec(ctx, tx, `UPDATE messages SET bounce = $2, recipients = $3 WHERE id = $1`, of.ID, string(of.Bounce), document{of.Recipients})
	return err
}

// settleLate ends what a late message owes. One that is being delivered owes nothing
// just now: it may be late no more.
func settleLate(ctx context.Context, tx querier, id string) error {
	n, err := exec(ctx, tx, `UPDATE messages SET tell_by = 0 WHERE id = $1 AND tell_by > 0 AND state IN ('queued', 'held')`, id)
	if err == nil && n == 0 {
		err = fault.New(fault.Conflict, "report a late message", "nobody waits for a report on message %s", id)
	}
	return err
}

// DueBounces is part of [relay.Store].
func (s *Store) DueBounces(ctx context.Context, now time.Time, behind string) ([]relay.Message, error) {
	return list(ctx, s.db, "list due reports", scanMessage,
		`SELECT `+messageColumns+` FROM messages WHERE id IN (
			SELECT id FROM messages WHERE bounce = 'due' AND state <> 'delivering' AND id > $2
			UNION ALL SELECT id FROM messages WHERE tell_by > 0 AND tell_by <= $1 AND state IN ('queued', 'held') AND id > $2)
		ORDER BY id LIMIT 100`, millis(now), behind)
}

// DropBounce is part of [relay.Store].
func (s *Store) DropBounce(ctx context.Context, id string) error {
	const op = "drop a report"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, `UPDATE messages SET bounce = 'none' WHERE id = $1 AND bounce = 'due' AND done > 0`, id)
		if err == nil && n == 0 {
			err = fault.New(fault.Conflict, op, "nobody waits for a report on message %s", id)
		}
		return err
	})
}

// Message is part of [relay.Store].
func (s *Store) Message(ctx context.Context, id string) (relay.Message, error) {
	return one(ctx, s.db, subject{"message", id}, scanMessage, `SELECT `+messageColumns+` FROM messages WHERE id = $1`, id)
}

// Counts is part of [relay.Store]. A state without messages may be absent.
func (s *Store) Counts(ctx context.Context) (map[relay.State]int, error) {
	counts := map[relay.State]int{}
	_, err := list(ctx, s.db, "count messages", func(row scanner) (none struct{}, err error) {
		var state relay.State
		var n int
		err = row.Scan(&state, &n)
		counts[state] = n
		return none, err
	}, `SELECT state, count(*) FROM messages GROUP BY state`)
	return counts, err
}

// FinishMessage is part of [relay.Store].
func (s *Store) FinishMessage(ctx context.Context, holder string, m relay.Message, spent relay.Spent) error {
	const op = "finish message"
	if m.State != relay.Queued && m.State != relay.Delivered && m.State != relay.Failed && m.State != relay.Simulated {
		return fault.New(fault.Invalid, op, "a message cannot end as %q", m.State)
	}
	var drop string
	err := s.writes.do(ctx, op, func(ctx context.Context, tx querier) (err error) {
		n, err := exec(ctx, tx, `
			UPDATE messages SET state = $3, recipients = $4, attempts = $5, reason = $6, kind = $7, not_before = $8, done = $9, bounce = $10,
				transport = $11, hint = $12, tell_by = $13, holder = '', lease_until = 0
			WHERE id = $1 AND holder = $2 AND state = 'delivering'`,
			m.ID, holder, string(m.State), document{m.Recipients}, m.Attempts, m.Reason, m.Kind, millis(m.NotBefore), millis(m.Done), string(m.Bounce),
			string(m.Over), m.Hint, millis(m.TellBy))
		if err != nil {
			return err
		}
		if n == 0 {
			if err := require(ctx, tx, subject{"message", m.ID}, "messages", "id"); err != nil {
				return err
			}
			return fault.New(fault.Conflict, op, "message %s is no longer leased to us", m.ID)
		}
		if m.State == relay.Delivered {
			if drop, err = dropBody(ctx, tx, m.ID); err != nil {
				return err
			}
		}
		if m.State == relay.Queued && spent.Taken { // the next part begins without a doubt
			if _, err := exec(ctx, tx, `DELETE FROM doubts WHERE message = $1`, m.ID); err != nil {
				return err
			}
		}
		if spent.Yields {
			if _, err := exec(ctx, tx, yieldLane, holder, m.Account); err != nil {
				return err
			}
		}
		return spend(ctx, tx, m.Account, spent)
	})
	if err == nil {
		s.removeFile(ctx, drop)
	}
	return err
}

// dropBody takes a message's body out of the database. It returns the name of the
// large body that is to be removed once the change is committed, "" for none.
func dropBody(ctx context.Context, tx querier, id string) (file string, err error) {
	var body string
	var inFile bool
	if err := tx.QueryRowContext(ctx, `SELECT body, in_file FROM messages WHERE id = $1`, id).Scan(&body, &inFile); err != nil {
		return "", err
	}
	if _, err := exec(ctx, tx, `UPDATE messages SET body = '', in_file = $2 WHERE id = $1`, id, false); err != nil || inFile {
		return body, err
	}
	_, err = exec(ctx, tx, `DELETE FROM chunks WHERE body = $1`, body)
	return "", err
}

// removeFile removes a body that no row names any more. When that fails the
// message is none the worse; the next start sweeps it.
func (s *Store) removeFile(ctx context.Context, body string) {
	if body == "" {
		return
	}
	if err := s.bodies.remove(context.WithoutCancel(ctx), body); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "body of a finished message not removed", slog.String("body", body), slog.Any("error", err))
	}
}

// idle reads a message that is about to be changed by hand, and keeps others from
// changing it meanwhile. It is fault.Conflict while the message is being delivered.
func (s *Store) idle(ctx context.Context, tx querier, op, id string) (relay.Message, error) {
	m, err := one(ctx, tx, subject{"message", id}, scanMessage,
		`SELECT `+messageColumns+` FROM messages WHERE id = $1`+s.dialect.lockRow, id)
	if err == nil && m.State == relay.Delivering {
		err = fault.New(fault.Conflict, op, "message %s is being delivered", id).WithHint("try again when this attempt has ended")
	}
	return m, err
}

// RequeueMessage is part of [relay.Store]. A delivered message has no body any more, and
// a held one goes when it is released, not when all are tried again: fault.Conflict.
func (s *Store) RequeueMessage(ctx context.Context, id string, now time.Time) error {
	const op = "requeue message"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		m, err := s.idle(ctx, tx, op, id)
		if err != nil {
			return err
		}
		if m.State == relay.Delivered {
			return fault.New(fault.Conflict, op, "message %s has been delivered", id)
		}
		if m.State == relay.Held {
			return fault.New(fault.Conflict, op, "message %s is held", id).WithHint("release it")
		}
		for i := range m.Recipients {
			if r := &m.Recipients[i]; r.State == relay.Refused || r.State == relay.Spared {
				r.State, r.Reply, r.Told = relay.Waiting, "", false
			}
		}
		_, err = exec(ctx, tx, `UPDATE messages SET state = 'queued', recipients = $2, not_before = $3, done = 0, bounce = '' WHERE id = $1`,
			id, document{m.Recipients}, millis(now))
		return err
	})
}

// HoldMessage is part of [relay.Store].
func (s *Store) HoldMessage(ctx context.Context, id string) error {
	return s.moveMessage(ctx, "hold message", id, `UPDATE messages SET state = 'held' WHERE id = $1 AND state = 'queued'`, "queued")
}

// ReleaseMessage is part of [relay.Store].
func (s *Store) ReleaseMessage(ctx context.Context, id string, now time.Time) error {
	return s.moveMessage(ctx, "release message", id,
		`UPDATE messages SET state = 'queued', not_before = $2 WHERE id = $1 AND state = 'held'`, "held", millis(now))
}

// moveMessage changes a message that is in the one state from which that can be done.
func (s *Store) moveMessage(ctx context.Context, op, id, query, from string, more ...any) error {
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, query, append([]any{id}, more...)...)
		if err != nil || n > 0 {
			return err
		}
		m, err := one(ctx, tx, subject{"message", id}, scanMessage, `SELECT `+messageColumns+` FROM messages WHERE id = $1`, id)
		if err != nil {
			return err
		}
		return fault.New(fault.Conflict, op, "message %s is %s, not %s", id, m.State, from)
	})
}

// RequeueAccount is part of [relay.Store].
func (s *Store) RequeueAccount(ctx context.Context, account string, now time.Time) error {
	_, err := s.write(ctx, "requeue messages of account",
		`UPDATE messages SET not_before = $2 WHERE state = 'queued' AND account = $1 AND not_before > $2`, account, millis(now))
	return err
}

// DeleteMessage is part of [relay.Store].
func (s *Store) DeleteMessage(ctx context.Context, id string) error {
	const op = "delete message"
	var drop string
	err := s.writes.do(ctx, op, func(ctx context.Context, tx querier) (err error) {
		if _, err = s.idle(ctx, tx, op, id); err != nil {
			return err
		}
		if drop, err = dropBody(ctx, tx, id); err != nil {
			return err
		}
		return deleteOne(ctx, tx, subject{"message", id}, `DELETE FROM messages WHERE id = $1`)
	})
	if err == nil {
		s.removeFile(ctx, drop)
	}
	return err
}
