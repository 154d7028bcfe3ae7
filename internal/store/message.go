package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

const messageColumns = `SELECT doc, state, not_before FROM message`

func scanMessage(r *sql.Rows) (relay.Message, error) {
	var m relay.Message
	var doc, state string
	var notBefore int64
	if err := r.Scan(&doc, &state, &notBefore); err != nil {
		return m, err
	}
	err := decode(doc, &m)
	m.State, m.NotBefore = relay.State(state), fromMillis(notBefore)
	return m, err
}

// PutMessage commits a message and its body.
func (s *Store) PutMessage(ctx context.Context, m *relay.Message, body io.Reader) error {
	in, err := s.takeBody(m.ID, body)
	if err != nil {
		return classify("store message "+m.ID, err)
	}
	m.State = relay.Queued
	err = s.write(ctx, "store message "+m.ID, func(ctx context.Context, q querier) error {
		return in.commit(ctx, q, m, func() error { return insertMessage(ctx, q, *m) })
	})
	if err != nil {
		in.undo()
	}
	return err
}

func insertMessage(ctx context.Context, q querier, m relay.Message) error {
	doc, err := encode(m)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `INSERT INTO message (id, account, device, state, not_before, holder, lease_until, doc) VALUES ($1, $2, $3, 'queued', $4, '', 0, $5)`,
		m.ID, m.Account, m.Device, millis(m.NotBefore), doc)
	return err
}

// due is one message that may be claimed.
type due struct {
	id, account string
	notBefore   int64
	busy        int // in flight for its account, whoever holds them
}

// ClaimMessages leases due messages, oldest first, within each account's share.
func (s *Store) ClaimMessages(ctx context.Context, holder string, now, until time.Time, limit, perAccount int, skip []string) ([]relay.Message, error) {
	if limit <= 0 || perAccount <= 0 {
		return nil, nil
	}
	// Looked at outside the write first, so that an idle queue costs no write.
	found, err := dueMessages(ctx, s.db, now, perAccount)
	if err != nil || len(choose(found, limit, perAccount, skip)) == 0 {
		return nil, classify("look for due messages", err)
	}
	var out []relay.Message
	err = s.write(ctx, "claim messages", func(ctx context.Context, q querier) error {
		out = nil
		if s.dialect.claimGuard != "" {
			if _, err := q.ExecContext(ctx, s.dialect.claimGuard); err != nil {
				return err
			}
		}
		found, err := dueMessages(ctx, q, now, perAccount)
		if err != nil {
			return err
		}
		for _, d := range choose(found, limit, perAccount, skip) {
			n, err := affected(ctx, q, `UPDATE message SET state = 'delivering', holder = $2, lease_until = $3 WHERE id = $1 AND state = 'queued'`, d.id, holder, millis(until))
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			m, err := one(ctx, q, "message", d.id, scanMessage, messageColumns+` WHERE id = $1`, d.id)
			if err != nil {
				return err
			}
			out = append(out, m)
		}
		return nil
	})
	return out, err
}

// dueMessages finds, for each account, the first few due messages. Each account
// is one probe of the index, however long the queue is.
func dueMessages(ctx context.Context, q querier, now time.Time, perAccount int) ([]due, error) {
	var found []due
	err := rows(ctx, q, func(r *sql.Rows) error {
		var d due
		err := r.Scan(&d.id, &d.account, &d.notBefore, &d.busy)
		found = append(found, d)
		return err
	}, `SELECT m.id, m.account, m.not_before, (SELECT COUNT(*) FROM message b WHERE b.account = a.name AND b.state = 'delivering')
		FROM account a JOIN message m ON m.id IN (
			SELECT d.id FROM message d WHERE d.account = a.name AND d.state = 'queued' AND d.not_before <= $1 ORDER BY d.not_before, d.id LIMIT $2)`,
		millis(now), perAccount)
	return found, err
}

// choose takes the oldest, leaving out skipped accounts and what is over an
// account's share.
func choose(found []due, limit, perAccount int, skip []string) []due {
	slices.SortFunc(found, func(a, b due) int { return cmp.Or(cmp.Compare(a.notBefore, b.notBefore), cmp.Compare(a.id, b.id)) })
	taken := map[string]int{}
	var out []due
	for _, d := range found {
		if len(out) == limit {
			break
		}
		if d.busy+taken[d.account] < perAccount && !slices.Contains(skip, d.account) {
			taken[d.account]++
			out = append(out, d)
		}
	}
	return out
}

// ExtendLeases keeps holder's leases alive.
func (s *Store) ExtendLeases(ctx context.Context, holder string, until time.Time) error {
	return s.write(ctx, "extend leases", func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `UPDATE message SET lease_until = $2 WHERE holder = $1 AND holder <> '' AND state = 'delivering'`, holder, millis(until))
		return err
	})
}

// ExpireLeases returns messages whose lease has ended to the queue.
func (s *Store) ExpireLeases(ctx context.Context, now time.Time) (int, error) {
	var n int64
	err := rows(ctx, s.db, func(r *sql.Rows) error { return r.Scan(&n) },
		`SELECT COUNT(*) FROM message WHERE holder <> '' AND state = 'delivering' AND lease_until < $1`, millis(now))
	if err != nil || n == 0 {
		return 0, classify("look for ended leases", err)
	}
	err = s.write(ctx, "end leases", func(ctx context.Context, q querier) (err error) {
		n, err = affected(ctx, q, `UPDATE message SET state = 'queued', holder = '', lease_until = 0 WHERE holder <> '' AND state = 'delivering' AND lease_until < $1`, millis(now))
		return err
	})
	return int(n), err
}

// ReleaseLeases returns all of holder's messages to the queue.
func (s *Store) ReleaseLeases(ctx context.Context, holder string) error {
	return s.write(ctx, "release leases", func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `UPDATE message SET state = 'queued', holder = '', lease_until = 0 WHERE holder = $1 AND holder <> '' AND state = 'delivering'`, holder)
		return err
	})
}

// FinishMessage writes an outcome and ends the lease.
func (s *Store) FinishMessage(ctx context.Context, holder string, m relay.Message) error {
	doc, err := encode(m)
	if err != nil {
		return err
	}
	err = s.write(ctx, "finish message "+m.ID, func(ctx context.Context, q querier) error {
		n, err := affected(ctx, q, `UPDATE message SET state = $3, not_before = $4, doc = $5, holder = '', lease_until = 0 WHERE id = $1 AND holder = $2 AND state = 'delivering'`,
			m.ID, holder, string(m.State), millis(m.NotBefore), doc)
		if err != nil {
			return err
		}
		if n == 0 {
			return fault.New(fault.Conflict, "finish message "+m.ID, "its lease has ended")
		}
		if m.State == relay.Delivered {
			return s.dropBody(ctx, q, m.ID)
		}
		return nil
	})
	if err == nil && m.State == relay.Delivered {
		s.removeBodyFile(m.ID)
	}
	return err
}

// Message reads one message.
func (s *Store) Message(ctx context.Context, id string) (relay.Message, error) {
	return one(ctx, s.db, "message", id, scanMessage, messageColumns+` WHERE id = $1`, id)
}

// Messages lists, oldest first.
func (s *Store) Messages(ctx context.Context, f relay.Filter) ([]relay.Message, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	query, args := messageColumns+` WHERE id > $1`, []any{f.After}
	for _, c := range []struct{ column, value string }{{"account", f.Account}, {"device", f.Device}, {"state", string(f.State)}} {
		if c.value != "" {
			args = append(args, c.value)
			query += fmt.Sprintf(" AND %s = $%d", c.column, len(args))
		}
	}
	args = append(args, limit)
	return many(ctx, s.db, "messages", scanMessage, query+fmt.Sprintf(` ORDER BY id LIMIT $%d`, len(args)), args...)
}

// Counts says how many messages are in each state.
func (s *Store) Counts(ctx context.Context) (map[relay.State]int, error) {
	out := map[relay.State]int{}
	err := rows(ctx, s.db, func(r *sql.Rows) error {
		var state string
		var n int
		err := r.Scan(&state, &n)
		out[relay.State(state)] = n
		return err
	}, `SELECT state, COUNT(*) FROM message GROUP BY state`)
	return out, classify("count messages", err)
}

// RequeueMessage makes a queued or failed message due at once.
func (s *Store) RequeueMessage(ctx context.Context, id string, now time.Time) error {
	return s.write(ctx, "retry message "+id, func(ctx context.Context, q querier) error {
		m, err := one(ctx, q, "message", id, scanMessage, messageColumns+` WHERE id = $1`, id)
		if err != nil {
			return err
		}
		switch m.State {
		case relay.Queued, relay.Failed:
		case relay.Delivering:
			return fault.New(fault.Conflict, "retry message "+id, "it is being delivered")
		case relay.Delivered:
			return fault.New(fault.Conflict, "retry message "+id, "it has been delivered")
		}
		m.State, m.NotBefore, m.Done = relay.Queued, now, time.Time{}
		for i := range m.Recipients {
			if m.Recipients[i].State == relay.Refused {
				m.Recipients[i].State = relay.Waiting
			}
		}
		doc, err := encode(m)
		if err != nil {
			return err
		}
		n, err := affected(ctx, q, `UPDATE message SET state = 'queued', not_before = $2, doc = $3 WHERE id = $1 AND state <> 'delivering'`, id, millis(now), doc)
		if err == nil && n == 0 {
			err = fault.New(fault.Conflict, "retry message "+id, "it is being delivered")
		}
		return err
	})
}

// DeleteMessage removes a message for good.
func (s *Store) DeleteMessage(ctx context.Context, id string) error {
	err := s.write(ctx, "delete message "+id, func(ctx context.Context, q querier) error {
		n, err := affected(ctx, q, `DELETE FROM message WHERE id = $1 AND state <> 'delivering'`, id)
		if err != nil || n > 0 {
			return err
		}
		if _, err := one(ctx, q, "message", id, scanMessage, messageColumns+` WHERE id = $1`, id); err != nil {
			return err
		}
		return fault.New(fault.Conflict, "delete message "+id, "it is being delivered")
	})
	if err == nil {
		s.removeBodyFile(id)
	}
	return err
}

// RequeueAccount makes all queued messages of an account due at once.
func (s *Store) RequeueAccount(ctx context.Context, account string, now time.Time) error {
	return s.write(ctx, "retry the messages of account "+account, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `UPDATE message SET not_before = $2 WHERE account = $1 AND state = 'queued' AND not_before > $2`, account, millis(now))
		return err
	})
}
