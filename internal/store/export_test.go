package store

import "context"

// Querier is what a change runs its statements on.
type Querier = querier

// Do runs a change of a test's own.
func (s *Store) Do(ctx context.Context, op string, c func(ctx context.Context, tx Querier) error) error {
	return s.writes.do(ctx, op, c)
}
