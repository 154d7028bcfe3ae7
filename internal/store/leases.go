package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"postern/internal/mail"
	"postern/internal/relay"
)

// ClaimMessages is part of [relay.Store].
func (s *Store) ClaimMessages(ctx context.Context, c relay.Claim) (claimed []relay.Message, err error) {
	const op = "claim messages"
	if c.Most <= 0 || c.PerAccount <= 0 {
		return nil, nil
	}
	most := c.PerAccount
	for _, n := range c.Caps {
		most = max(most, n)
	}
	caps := c.Caps
	if caps == nil {
		caps = map[string]int{}
	}
	err = s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if s.dialect.lockClaims != "" {
			if _, err := exec(ctx, tx, s.dialect.lockClaims, int64(claimsLock)); err != nil {
				return err
			}
		}
		lanes, err := heldLanes(ctx, tx, c.Now)
		if err != nil {
			return err
		}
		skipped := cleanAll(append(others(lanes, c.Holder), c.Skip...))
		due, err := list(ctx, tx, op, scanMessage, s.dialect.claim(),
			c.Holder, millis(c.Now), most, document{skipped}, c.Most, millis(c.Until), document{caps}, c.PerAccount)
		if err != nil {
			return err
		}
		sortMessages(due)
		if due, err = leave(ctx, tx, due, c.Leave); err != nil {
			return err
		}
		if claimed, err = pace(ctx, tx, c, due); err != nil {
			return err
		}
		return holdLanes(ctx, tx, c, claimed, lanes)
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// leave gives back what the claimer does not want. That is next to never anything, so the
// claim itself knows nothing of it.
func leave(ctx context.Context, tx querier, due []relay.Message, unwanted []string) (wanted []relay.Message, err error) {
	for _, m := range due {
		if !slices.Contains(unwanted, m.ID) {
			wanted = append(wanted, m)
		} else if _, err := exec(ctx, tx, giveBack+` AND id = $1`, m.ID); err != nil {
			return nil, err
		}
	}
	return wanted, nil
}

func sortMessages(ms []relay.Message) {
	slices.SortFunc(ms, func(a, b relay.Message) int {
		if c := a.NotBefore.Compare(b.NotBefore); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
}

func cleanAll(words []string) []string {
	all := make([]string, 0, len(words))
	for _, w := range words {
		all = append(all, clean(w))
	}
	return all
}

// ExtendLeases is part of [relay.Store].
func (s *Store) ExtendLeases(ctx context.Context, holder string, ids []string, until time.Time) error {
	return s.writes.do(ctx, "extend leases", func(ctx context.Context, tx querier) error {
		_, err := exec(ctx, tx, `UPDATE messages SET lease_until = $2 WHERE state = $3 AND holder = $1 AND id IN (`+s.dialect.listed+`)`,
			holder, millis(until), string(relay.Delivering), document{cleanAll(ids)})
		if err == nil && len(ids) > 0 {
			_, err = exec(ctx, tx, keepLanes, holder, millis(until))
		}
		return err
	})
}

// HoldsLease is part of [relay.Store].
func (s *Store) HoldsLease(ctx context.Context, holder, id string) (bool, error) {
	n, err := column[int](ctx, s.db, "look at a lease",
		`SELECT count(*) FROM messages WHERE id = $1 AND holder = $2 AND state = 'delivering'`, id, holder)
	return n > 0, err
}

// ExpireLeases is part of [relay.Store].
func (s *Store) ExpireLeases(ctx context.Context, now time.Time, limits func(account string) mail.Limits) (n int, err error) {
	err = s.writes.do(ctx, "expire leases", func(ctx context.Context, tx querier) error {
		n, err = lose(ctx, tx, now, limits, `lease_until < $1`, millis(now))
		return err
	})
	return n, err
}

// lose gives back messages whose holder went away, and counts them against their account's
// limits from now on: of each a part may have been sent, to all whom the part was for.
func lose(ctx context.Context, tx querier, now time.Time, limits func(account string) mail.Limits, which string, arg any) (int, error) {
	lost, err := list(ctx, tx, "give back what was lost", scanMessage, giveBack+` AND `+which+` RETURNING `+messageColumns, arg)
	for _, m := range lost {
		if err == nil {
			err = spend(ctx, tx, m.Account, relay.Spent{At: now, Recipients: next(m, limits(m.Account))})
		}
	}
	return len(lost), err
}

// ReleaseLeases is part of [relay.Store].
func (s *Store) ReleaseLeases(ctx context.Context, holder string) error {
	return s.writes.do(ctx, "release leases", func(ctx context.Context, tx querier) error {
		for _, query := range []string{releaseMessages, releaseLanes} {
			if _, err := exec(ctx, tx, query, holder); err != nil {
				return err
			}
		}
		return nil
	})
}

// What a holder may hold, given back at once.
const (
	giveBack        = `UPDATE messages SET state = 'queued', holder = '', lease_until = 0 WHERE state = 'delivering'`
	releaseMessages = giveBack + ` AND holder = $1`
	releaseTasks    = `UPDATE tasks SET lock_holder = '', lock_until = 0 WHERE lock_holder = $1`
	releaseClaims   = `UPDATE grants SET claim_holder = '', claim_until = 0 WHERE claim_holder = $1`
)

// ReleaseDead gives back every message lease, task lock, refresh claim and lane of
// processes that ended, and says how many that were. Nobody has to wait for those
// leases to end by themselves. What may have been sent counts against the limits.
func (s *Store) ReleaseDead(ctx context.Context, now time.Time, limits func(account string) mail.Limits) (released int, err error) {
	const op = "release what the dead held"
	holders, err := list(ctx, s.db, op, func(row scanner) (h string, err error) {
		err = row.Scan(&h)
		return h, err
	}, `SELECT holder FROM messages WHERE state = 'delivering'
		UNION SELECT lock_holder FROM tasks WHERE lock_holder <> ''
		UNION SELECT claim_holder FROM grants WHERE claim_holder <> ''
		UNION SELECT holder FROM held_lanes
		UNION SELECT holder FROM sessions`)
	if err != nil {
		return 0, err
	}
	for _, h := range holders {
		dead, err := s.life.dead(ctx, h, now)
		if err != nil {
			return released, classify(op, err)
		}
		if !dead {
			continue
		}
		n, err := s.release(ctx, op, h, now, limits)
		released += n
		if err != nil {
			return released, err
		}
	}
	return released, nil
}

// release gives back all that one holder held.
func (s *Store) release(ctx context.Context, op, holder string, now time.Time, limits func(account string) mail.Limits) (released int, err error) {
	err = s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if released, err = lose(ctx, tx, now, limits, `holder = $1`, holder); err != nil {
			return err
		}
		for _, query := range []string{releaseTasks, releaseClaims, releaseLanes, releaseSessions} {
			n, err := exec(ctx, tx, query, holder)
			if err != nil {
				return err
			}
			released += int(n)
		}
		return nil
	})
	return released, err
}
