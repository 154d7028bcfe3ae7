package store

import (
	"context"
	"time"

	"postern/internal/relay"
)

// A server that limits an account's connections counts idle ones too, and a process
// keeps those for a while. So of accounts with such a limit one process at a time
// delivers: the one that came first, until it is done with them or dead.

// lane is who has an account's connections.
type lane struct {
	account, holder string
	until           time.Time
}

// heldLanes lists the lanes that are taken at a time.
func heldLanes(ctx context.Context, tx querier, now time.Time) ([]lane, error) {
	return list(ctx, tx, "look at lanes", func(row scanner) (l lane, err error) {
		err = row.Scan(&l.account, &l.holder, clock{&l.until})
		return l, err
	}, `SELECT account, holder, until FROM held_lanes WHERE until > $1`, millis(now))
}

// others are the accounts that somebody else delivers for.
func others(lanes []lane, holder string) (accounts []string) {
	for _, l := range lanes {
		if l.holder != holder {
			accounts = append(accounts, l.account)
		}
	}
	return accounts
}

// holdLanes notes that the claimer delivers for the accounts of what it got, where
// their connections are limited. A lane that it has for long enough stays as it is.
func holdLanes(ctx context.Context, tx querier, c relay.Claim, got []relay.Message, have []lane) error {
	enough := c.Now.Add(c.Until.Sub(c.Now) * 3 / 4)
	done := map[string]bool{}
	for _, l := range have {
		done[l.account] = l.holder == c.Holder && l.until.After(enough)
	}
	for _, m := range got {
		if _, limited := c.Caps[m.Account]; !limited || done[m.Account] {
			continue
		}
		done[m.Account] = true
		if _, err := exec(ctx, tx, `
			INSERT INTO held_lanes (account, holder, until) VALUES ($1, $2, $3)
			ON CONFLICT (account) DO UPDATE SET holder = excluded.holder, until = excluded.until`,
			m.Account, c.Holder, millis(c.Until)); err != nil {
			return err
		}
	}
	return nil
}

const (
	keepLanes = `UPDATE held_lanes SET until = $2 WHERE holder = $1
		AND account IN (SELECT account FROM messages WHERE state = 'delivering' AND holder = $1)`
	yieldLane = `DELETE FROM held_lanes WHERE holder = $1 AND account = $2
		AND NOT EXISTS (SELECT 1 FROM messages WHERE state = 'delivering' AND account = $2 AND holder = $1)`
	releaseLanes = `DELETE FROM held_lanes WHERE holder = $1`
)
