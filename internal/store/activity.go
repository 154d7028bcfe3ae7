package store

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Activity is how often something happened in a while, or the highest that a level was.
type Activity struct {
	At   time.Time // the while's begin
	Kind string
	N    int64
}

// NoteActivity adds to what happened in the minute of a time, and raises levels to what
// they are. Several nodes note side by side.
func (s *Store) NoteActivity(ctx context.Context, at time.Time, happened, levels map[string]int64) error {
	minute := millis(at.Truncate(time.Minute))
	return s.writes.do(ctx, "note activity", func(ctx context.Context, tx querier) error {
		for _, part := range []struct {
			counts map[string]int64
			merge  string
		}{{happened, `activity.n + excluded.n`}, {levels, `CASE WHEN excluded.n > activity.n THEN excluded.n ELSE activity.n END`}} {
			for _, kind := range slices.Sorted(maps.Keys(part.counts)) {
				_, err := exec(ctx, tx, `INSERT INTO activity (at, kind, n) VALUES ($1, $2, $3)
					ON CONFLICT (at, kind) DO UPDATE SET n = `+part.merge, minute, kind, part.counts[kind])
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Activity sums what happened since a time up in whiles of a length, the earliest first;
// of the levels it tells the highest. What did not happen is left out.
func (s *Store) Activity(ctx context.Context, since time.Time, while time.Duration, levels ...string) ([]Activity, error) {
	all, err := list(ctx, s.db, "read the activity", func(row scanner) (a struct {
		Activity
		highest int64
	}, err error) {
		err = row.Scan(clock{&a.At}, &a.Kind, &a.N, &a.highest)
		return a, err
	}, `SELECT at - at % $1 AS span, kind, CAST(sum(n) AS BIGINT), max(n) FROM activity WHERE at >= $2 GROUP BY span, kind ORDER BY span, kind`,
		while.Milliseconds(), millis(since))
	out := make([]Activity, len(all))
	for i, a := range all {
		if out[i] = a.Activity; slices.Contains(levels, a.Kind) {
			out[i].N = a.highest
		}
	}
	return out, err
}

// ForgetActivity drops what happened before a time.
func (s *Store) ForgetActivity(ctx context.Context, before time.Time) error {
	_, err := s.write(ctx, "forget activity", `DELETE FROM activity WHERE at < $1`, millis(before))
	return err
}
