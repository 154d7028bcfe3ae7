package store_test

import (
	"context"
	"testing"
	"time"

	"postern/internal/store"
)

// The machine's clock counts for nothing where several nodes share a database: here
// the database is five minutes ahead.
func TestTheDatabasesClockDecides(t *testing.T) {
	t.Parallel()
	db := newPostgres(t)
	s := opened(t, db)
	if ahead, err := s.SetClock(t.Context()); ahead != 0 || err != nil {
		t.Errorf("clocks that agree are %v apart: %v", ahead, err)
	}
	ok(t, s.Do(t.Context(), "shift the clock", func(ctx context.Context, tx store.Querier) error {
		_, err := tx.ExecContext(ctx, `CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
			$$ SELECT pg_catalog.clock_timestamp() + interval '5 minutes' $$`)
		return err
	}))
	u := db.url
	u.RawQuery += "&search_path=public,pg_catalog" // ours before the real one
	shifted, err := store.OpenPostgres(t.Context(), u.String(), store.Options{})
	ok(t, err)
	t.Cleanup(func() { _ = shifted.Close() })
	if by := time.Until(shifted.Now()); by < 4*time.Minute || by > 6*time.Minute {
		t.Errorf("a store opened on it is %v ahead, want 5m", by)
	}
	if ahead, err := shifted.SetClock(t.Context()); err != nil || ahead.Round(time.Minute) != 5*time.Minute {
		t.Errorf("SetClock: %v, %v", ahead, err)
	}
}

// Beside SQLite there is no other clock.
func TestSQLiteHasTheMachinesClock(t *testing.T) {
	t.Parallel()
	s := opened(t, newSQLite(t))
	if ahead, err := s.SetClock(t.Context()); ahead != 0 || err != nil {
		t.Errorf("SetClock: %v, %v", ahead, err)
	}
	before := time.Now()
	if now := s.Now(); now.Before(before) || now.After(time.Now()) {
		t.Errorf("%v is not this machine's time", now)
	}
}
