package store

import (
	"context"

	"postern/internal/bridge"
	"postern/internal/mail"
)

const sessionColumns = `id, protocol, device, account, mailbox, remote, since, seen, octets_in, octets_out`

func scanSession(row scanner) (s bridge.Session, err error) {
	var box string
	if err := row.Scan(&s.ID, &s.Protocol, &s.Device, &s.Account, &box, &s.Remote, clock{&s.Since}, clock{&s.Seen}, &s.In, &s.Out); err != nil {
		return s, err
	}
	s.Mailbox, err = mail.ParseAddress(box)
	return s, err
}

// Sessions lists what programs read through the bridges of all nodes, the oldest first.
func (s *Store) Sessions(ctx context.Context) ([]bridge.Session, error) {
	return list(ctx, s.db, "list sessions", scanSession, `SELECT `+sessionColumns+` FROM sessions ORDER BY since, id`)
}

// PutSessions is part of [bridge.Register].
func (s *Store) PutSessions(ctx context.Context, holder string, changed []bridge.Session, gone []string) error {
	return s.writes.do(ctx, "list sessions", func(ctx context.Context, tx querier) error {
		for _, v := range changed {
			_, err := exec(ctx, tx, `
				INSERT INTO sessions (`+sessionColumns+`, holder) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
				ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, octets_in = excluded.octets_in, octets_out = excluded.octets_out`,
				v.ID, string(v.Protocol), v.Device, v.Account, v.Mailbox.String(), v.Remote, millis(v.Since), millis(v.Seen), v.In, v.Out, holder)
			if err != nil {
				return err
			}
		}
		for _, id := range gone {
			if _, err := exec(ctx, tx, `DELETE FROM sessions WHERE id = $1 AND holder = $2`, id, holder); err != nil {
				return err
			}
		}
		return nil
	})
}

// SessionsToEnd is part of [bridge.Register].
func (s *Store) SessionsToEnd(ctx context.Context, holder string) ([]string, error) {
	return list(ctx, s.db, "list sessions to end", scanText, `SELECT id FROM sessions WHERE holder = $1 AND end_wanted <> ''`, holder)
}

// releaseSessions forgets those of a process that ended: they ended with it.
const releaseSessions = `DELETE FROM sessions WHERE holder = $1`

// EndSession asks the process that has a session to end it, which it does within a
// second or so. One that is not there is fault.NotFound.
func (s *Store) EndSession(ctx context.Context, id, who string) error {
	return s.writes.do(ctx, "end session", func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, `UPDATE sessions SET end_wanted = $2 WHERE id = $1`, id, who)
		if err != nil || n == 1 {
			return err
		}
		return require(ctx, tx, subject{"session", id}, "sessions", "id")
	})
}
