package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/vault"
)

// SayWhy gives every message that waits the reason and, where it is known, the time: its
// account is paused, it has been tried and backs off, a limit of its mailbox is used up, or
// others are before it. Where somebody must act first there is no next try, and no time. It
// says which transport carries it next, too.
func (a *App) SayWhy(ctx context.Context, msgs []relay.Message) error {
	paused, err := a.pauses(ctx, msgs)
	if err != nil {
		return err
	}
	now := a.Store.Now()
	paces, err := a.Store.Paces(ctx, now)
	if err != nil {
		return err
	}
	paced := make(map[string]relay.Pace, len(paces))
	for _, p := range paces {
		paced[p.Account] = p
	}
	flying, err := a.Store.InFlight(ctx)
	if err != nil {
		return err
	}
	for i := range msgs {
		m := &msgs[i]
		pause, stopped := paused[m.Account]
		pace, full := paced[m.Account]
		switch {
		case m.State == relay.Held:
			m.Reason = "held by hand, until it is released"
		case m.State != relay.Queued:
		case stopped && pause.until.IsZero():
			m.Reason, m.NotBefore = pause.reason, time.Time{}
		case stopped:
			m.Reason, m.NotBefore = pause.reason, later(m.NotBefore, pause.until)
		case m.NotBefore.After(now) && m.Reason != "": // it backs off
		case full:
			m.Reason, m.NotBefore = "waits its turn: "+pace.Reason+" may go from this mailbox", later(m.NotBefore, pace.Until)
		default:
			m.Reason = others(flying[m.Account])
		}
	}
	return a.Relay.Plan(ctx, msgs)
}

// pause is why nothing goes from an account; until is when it is looked at again, zero
// where somebody must act first.
type pause struct {
	reason string
	until  time.Time
}

func (a *App) pauses(ctx context.Context, msgs []relay.Message) (map[string]pause, error) {
	all := map[string]pause{}
	seen := map[string]bool{}
	for _, m := range msgs {
		if seen[m.Account] {
			continue
		}
		seen[m.Account] = true
		acct, err := a.Vault.Account(ctx, m.Account)
		switch {
		case errors.Is(err, fault.NotFound): // a message outlives its account
		case err != nil:
			return nil, err
		case acct.Held:
			all[acct.Name] = pause{reason: "somebody paused " + acct.Name + " by hand: postern accounts resume " + acct.Name}
		case acct.State == vault.New && acct.Method == vault.Delegated:
			all[acct.Name] = pause{reason: "nobody has signed in to " + acct.Name + " yet"}
		case acct.State == vault.NeedsAdmin, acct.State == vault.NeedsSignIn:
			all[acct.Name] = pause{"the account is paused: " + acct.Reason, acct.ProbeAt}
		}
	}
	return all, nil
}

// others says what a message that is due waits for: those of its account that are on
// their way, or a worker.
func others(flying int) string {
	if flying > 0 {
		return fmt.Sprintf("due: it goes when one of the %d on their way from this mailbox has gone", flying)
	}
	return "due: it goes as soon as a server has a free worker"
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
