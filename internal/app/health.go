package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/store"
	"postern/internal/vault"
)

const (
	// turnFor is how long one account's checks may take before another node may begin.
	turnFor = 10 * time.Minute
	// purposeFor bounds the check of one purpose.
	purposeFor = 3 * time.Minute
	// recheckAfter is how soon a first failure is looked at again: only the second in a
	// row is told, so that a server that was restarted wakes nobody.
	recheckAfter = 10 * time.Minute
	toldAfter    = 2
)

// Checked is what the last check of an account for one purpose found.
type Checked struct {
	At       time.Time    `json:"at"`
	Failures int          `json:"failures,omitempty"` // in a row
	Report   check.Report `json:"report"`
}

// LastChecks are what the last checks of an account found, whoever asked for them. It
// asks nobody but the database.
func (a *App) LastChecks(ctx context.Context, account string) ([]Checked, error) {
	rows, err := a.Store.HealthOf(ctx, account)
	if err != nil {
		return nil, err
	}
	all := make([]Checked, 0, len(rows))
	for _, row := range rows {
		c := Checked{At: row.At, Failures: row.Failures}
		if err := json.Unmarshal(row.Report, &c.Report); err != nil {
			return nil, fmt.Errorf("the kept check of %s: %w", row.Account, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// keepHealth keeps what a check found, but for its transcript. An account that was
// deleted meanwhile is no error.
func (a *App) keepHealth(ctx context.Context, r check.Report) error {
	r.Transcript = nil
	kept, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = a.Store.PutHealth(ctx, store.Health{Account: r.Account, Purpose: string(r.Purpose), At: r.Started, Good: r.OK, Headline: r.Headline, Report: kept})
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// watchHealth checks every account once in a while, one at a time, for as long as this
// node lives. Turns are kept in the database: of several nodes one takes each.
func (a *App) watchHealth(ctx context.Context) error {
	every := a.Config.CheckEvery.Duration
	if every == 0 {
		return nil
	}
	look := max(min(every/10, time.Minute), time.Second/10)
	for ctx.Err() == nil {
		err := a.checkNext(ctx, every)
		switch {
		case err == nil:
			continue
		case !errors.Is(err, fault.NotFound) && ctx.Err() == nil:
			a.log.WarnContext(ctx, "an account was not checked", "error", err)
		}
		wait := time.NewTimer(look)
		select {
		case <-ctx.Done():
			wait.Stop()
		case <-wait.C:
		}
	}
	return nil
}

// checkNext checks the account whose turn it is; fault.NotFound when it is nobody's.
func (a *App) checkNext(ctx context.Context, every time.Duration) error {
	now := a.Store.Now()
	name, err := a.Store.ClaimTurn(ctx, store.Turn{
		Holder: a.holder, Now: now, Before: now.Add(-every), Until: now.Add(turnFor),
		First: func(account string) time.Time { return now.Add(-scatter(account, every)) },
	})
	if err != nil {
		return err
	}
	turn := now
	acct, err := a.Vault.Account(ctx, name)
	if err == nil {
		var again bool
		again, err = a.checkTurn(ctx, acct)
		if again {
			turn = now.Add(min(recheckAfter, every) - every)
		}
	}
	purposes := make([]string, 0, len(acct.Purposes))
	for _, p := range acct.Purposes {
		purposes = append(purposes, string(p))
	}
	if errors.Is(err, fault.NotFound) { // it was deleted since
		err = nil
	}
	return errors.Join(err, a.Store.EndTurn(context.WithoutCancel(ctx), name, a.holder, turn, purposes))
}

// checkTurn checks an account for all its purposes and says whether to look again soon.
// One that nobody has signed in to yet has nothing to be checked; one that somebody paused
// by hand is left alone.
func (a *App) checkTurn(ctx context.Context, acct vault.Account) (again bool, err error) {
	if acct.Held || acct.State == vault.New && acct.Method == vault.Delegated {
		return false, nil
	}
	for _, p := range acct.Purposes {
		if ctx.Err() != nil {
			return again, ctx.Err()
		}
		one, cancel := context.WithTimeout(ctx, purposeFor)
		r, failed := a.Check(one, acct, CheckWish{Purpose: p}, nil)
		cancel()
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		outcome := "good"
		if !r.OK {
			outcome, again = "failed", true
		}
		a.counters.checks.WithLabelValues(string(p), outcome).Inc()
		a.log.InfoContext(ctx, "account checked", "account", acct.Name, "purpose", string(p), "outcome", outcome, "headline", r.Headline)
	}
	if !again {
		return false, err
	}
	known, lookErr := a.Store.HealthOf(ctx, acct.Name)
	again = slices.ContainsFunc(known, func(h store.Health) bool { return !h.Good && h.Failures < toldAfter })
	return again, errors.Join(err, lookErr)
}

// scatter is a part of a period that an account keeps, so that accounts come apart.
func scatter(account string, period time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(account))                          // a hash takes everything
	return time.Duration(h.Sum64() % uint64(max(period, 1))) //nolint:gosec // smaller than period
}

// failedChecks looks at what the last checks found. What paused an account is told as
// that, and not again here.
func (a *App) failedChecks(ctx context.Context) ([]alert.Condition, error) {
	accounts, err := a.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	all, err := a.Store.Healths(ctx)
	if err != nil {
		return nil, err
	}
	of := map[string][]store.Health{}
	for _, h := range all {
		of[h.Account] = append(of[h.Account], h)
	}
	conditions := make([]alert.Condition, 0, len(accounts))
	for _, acct := range accounts {
		conditions = append(conditions, checkCondition(acct, of[acct.Name]))
	}
	return conditions, nil
}

// checkCondition is how an account's checks stand.
func checkCondition(acct vault.Account, found []store.Health) alert.Condition {
	who := fmt.Sprintf("account %s (%s)", acct.Name, acct.Mailbox)
	c := alert.Condition{Key: "check/" + acct.Name, News: alert.News{Event: alert.CheckGood, Account: acct.Name, What: "the connection check of " + who + " is good again"}}
	c.Keep = len(found) == 0 || acct.State == vault.NeedsSignIn || acct.State == vault.NeedsAdmin
	var failed []string
	for _, h := range found {
		switch {
		case h.Good:
		case h.Failures < toldAfter:
			c.Keep = true
		default:
			if failed = append(failed, h.Purpose); len(failed) == 1 {
				c.News.Why, c.News.Next = h.Headline, "postern check "+acct.Name
			}
		}
	}
	if len(failed) > 0 {
		c.State, c.News.Event = strings.Join(failed, ","), alert.CheckFailed
		c.News.What = fmt.Sprintf("the connection check of %s failed for %s", who, strings.Join(failed, ", "))
	}
	return c
}

// silentTasks looks for tasks that have had no successful run for too long.
func (a *App) silentTasks(ctx context.Context) ([]alert.Condition, error) {
	patience := a.Config.AlertTaskSilent.Duration
	if patience == 0 {
		return nil, nil
	}
	polls, err := a.Store.Polls(ctx)
	if err != nil || len(polls) == 0 {
		return nil, err
	}
	tasks, err := a.Store.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	accounts, err := a.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	paused := func(name string) bool {
		return slices.ContainsFunc(accounts, func(v vault.Account) bool { return v.Name == name && v.State != vault.Active })
	}
	conditions := make([]alert.Condition, 0, len(tasks))
	for _, t := range tasks {
		i := slices.IndexFunc(polls, func(p store.Poll) bool { return p.Task == t.Name })
		if i < 0 || t.Disabled {
			continue
		}
		c := silence(t, polls[i], a.Store.Now().Add(-patience))
		c.Keep = c.Keep || paused(t.Account) // that is told already
		conditions = append(conditions, c)
	}
	return conditions, nil
}

// silence is whether a task has gone without a successful run: one that was due at the
// latest at a time and has not come.
func silence(t fetch.Task, p store.Poll, latest time.Time) alert.Condition {
	last := p.Good
	if last.IsZero() {
		last = t.Created
	}
	c := alert.Condition{Key: "task/" + t.Name, Keep: p.Running, News: alert.News{Event: alert.TaskRuns, Account: t.Account, What: "task " + t.Name + " runs again"}}
	due := t.Schedule.Next(last)
	if due.IsZero() || due.After(latest) {
		return c
	}
	c.State = "silent"
	c.News = alert.News{
		Event: alert.TaskSilent, Account: t.Account, Why: p.Error, Next: "postern fetch runs " + t.Name,
		What: fmt.Sprintf("task %s has had no successful run since %s", t.Name, last.UTC().Format("2006-01-02 15:04 MST")),
	}
	return c
}
