package store

import (
	"context"
	"errors"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

func scanDetour(row scanner) (d relay.Detour, err error) {
	err = row.Scan(&d.Account, &d.Over, &d.Reason, clock{&d.Until})
	return d, err
}

// Detour is part of [relay.Detours].
func (s *Store) Detour(ctx context.Context, account string, now time.Time) (relay.Detour, error) {
	return one(ctx, s.db, subject{"detour", account}, scanDetour,
		`SELECT account, via, reason, until_time FROM detours WHERE account = $1 AND until_time > $2`, account, millis(now))
}

// PutDetour is part of [relay.Detours].
func (s *Store) PutDetour(ctx context.Context, d relay.Detour) error {
	return s.writes.do(ctx, "remember the transport", func(ctx context.Context, tx querier) error {
		_, err := exec(ctx, tx, `
			INSERT INTO detours (account, via, reason, until_time) VALUES ($1, $2, $3, $4)
			ON CONFLICT (account) DO UPDATE SET via = excluded.via, reason = excluded.reason, until_time = excluded.until_time`,
			d.Account, string(d.Over), d.Reason, millis(d.Until))
		return err
	})
}

// EndDetour is part of [relay.Detours]. It writes only where there is something to end.
func (s *Store) EndDetour(ctx context.Context, account string) error {
	n, err := column[int](ctx, s.db, "read detour", `SELECT count(*) FROM detours WHERE account = $1`, account)
	if err != nil || n == 0 {
		return err
	}
	return s.writes.do(ctx, "forget the transport", func(ctx context.Context, tx querier) error {
		_, err := exec(ctx, tx, `DELETE FROM detours WHERE account = $1`, account)
		return err
	})
}

// Doubt is part of [relay.Doubts].
func (s *Store) Doubt(ctx context.Context, id string) (time.Time, error) {
	at, err := one(ctx, s.db, subject{"doubt", id}, func(row scanner) (at time.Time, err error) {
		err = row.Scan(clock{&at})
		return at, err
	}, `SELECT at FROM doubts WHERE message = $1`, id)
	if errors.Is(err, fault.NotFound) {
		return time.Time{}, nil
	}
	return at, err
}

// BeginDoubt is part of [relay.Doubts].
func (s *Store) BeginDoubt(ctx context.Context, id string, at time.Time) error {
	return s.writes.do(ctx, "begin a doubt", func(ctx context.Context, tx querier) error {
		_, err := exec(ctx, tx, `INSERT INTO doubts (message, at) VALUES ($1, $2) ON CONFLICT (message) DO UPDATE SET at = excluded.at`, id, millis(at))
		return err
	})
}

// EndDoubt is part of [relay.Doubts].
func (s *Store) EndDoubt(ctx context.Context, id string) error {
	return s.writes.do(ctx, "end a doubt", func(ctx context.Context, tx querier) error {
		_, err := exec(ctx, tx, `DELETE FROM doubts WHERE message = $1`, id)
		return err
	})
}
