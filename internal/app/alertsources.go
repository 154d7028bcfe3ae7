package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"postern/internal/alert"
	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
	"postern/internal/vault"
)

// alertSources are all that is looked at.
func (a *App) alertSources() []alert.Source {
	return []alert.Source{
		{Prefix: "account/", Whole: true, Look: a.accountStates},
		{Prefix: "check/", Whole: true, Look: a.failedChecks},
		{Prefix: "task/", Whole: true, Look: a.silentTasks},
		{Prefix: "expiry/", Whole: true, Look: a.expiries},
		{Prefix: "queue/", Whole: true, Look: a.backlogs},
		{Prefix: "disk/", Look: a.disk},
		{Prefix: "certificate/", Look: a.doorCertificate},
		{Prefix: "acme/", Look: a.acmeTrouble},
		{Prefix: "legacy/", Look: a.legacy.look},
	}
}

func (a *App) accountStates(ctx context.Context) ([]alert.Condition, error) {
	all, err := a.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	conditions := make([]alert.Condition, 0, len(all))
	for _, acct := range all {
		who := fmt.Sprintf("account %s (%s)", acct.Name, acct.Mailbox)
		c := alert.Condition{Key: "account/" + acct.Name, News: alert.News{Account: acct.Name, Why: acct.Reason, Until: acct.ProbeAt}}
		switch acct.State {
		case vault.Active:
			c.News = alert.News{Event: alert.AccountWorks, Account: acct.Name, What: who + " works again"}
		case vault.New: // a pause may have been mended; that it works shows when it is used
			c.Keep = true
		case vault.NeedsSignIn:
			c.State, c.News.Event, c.News.What = string(acct.State), alert.NeedsSignIn, who+" is paused until somebody signs in"
		case vault.NeedsAdmin:
			c.State, c.News.Event, c.News.What = string(acct.State), alert.NeedsAdmin, who+" is paused until an administrator acts"
		}
		if c.State != "" {
			if c.News.Next, err = a.Vault.Advice(ctx, acct); err != nil {
				return nil, err
			}
		}
		conditions = append(conditions, c)
	}
	return conditions, nil
}

func (a *App) expiries(ctx context.Context) ([]alert.Condition, error) {
	all, err := a.Vault.Radar(ctx)
	if err != nil {
		return nil, err
	}
	conditions := make([]alert.Condition, 0, len(all))
	for _, e := range all {
		c := alert.Condition{Key: "expiry/" + e.ID()}
		if e.Stage != vault.Far {
			c.State = e.At.UTC().Format(time.DateOnly) + " " + string(e.Stage)
			c.News = alert.News{Event: alert.Expiring, What: e.Text, Why: e.Source, Next: e.Next, Until: e.At}
		}
		conditions = append(conditions, c)
	}
	return conditions, nil
}

// backlogs looks for messages that wait for too long.
func (a *App) backlogs(ctx context.Context) ([]alert.Condition, error) {
	all, err := a.Store.Backlogs(ctx)
	if err != nil {
		return nil, err
	}
	a.noteBacklog(all)
	accounts, err := a.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	late := map[string]alert.Condition{}
	for _, b := range all {
		oldest, err := a.Store.Message(ctx, b.Oldest)
		if errors.Is(err, fault.NotFound) { // it went meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		if most := a.Config.AlertQueueAge.Duration; most == 0 || time.Since(oldest.Accepted) < most {
			continue
		}
		shown := []relay.Message{oldest}
		if err := a.SayWhy(ctx, shown); err != nil {
			return nil, err
		}
		late[b.Account] = alert.Condition{Key: "queue/" + b.Account, State: "old", News: alert.News{
			Event: alert.QueueOld, Account: b.Account, Why: shown[0].Reason, Until: shown[0].NotBefore,
			What: fmt.Sprintf("%d messages wait in account %s, the oldest since %s", b.Messages, b.Account, oldest.Accepted.UTC().Format("2006-01-02 15:04 MST")),
			Next: "postern queue list --account " + b.Account,
		}}
	}
	conditions := make([]alert.Condition, 0, len(accounts))
	for _, acct := range accounts {
		c, old := late[acct.Name]
		if !old {
			c = alert.Condition{Key: "queue/" + acct.Name, News: alert.News{Event: alert.QueueMoves, Account: acct.Name, What: "no message of account " + acct.Name + " waits for long any more"}}
		}
		conditions = append(conditions, c)
	}
	return conditions, nil
}

// disk looks at the room where this node keeps its data.
func (a *App) disk(context.Context) ([]alert.Condition, error) {
	free, err := freeSpace(a.Config.DataDir)
	if err != nil {
		return nil, fault.Wrap(fault.Temporary, "look at the disk", err)
	}
	c := alert.Condition{Key: "disk/" + a.hostname(), News: alert.News{Event: alert.DiskFree, What: "the disk of " + a.hostname() + " has room again"}}
	low := uint64(a.Config.AlertDiskFree) //nolint:gosec // a size is above 0
	if free < low {
		c.State = "low"
		c.News = alert.News{Event: alert.DiskLow, What: fmt.Sprintf("the disk of %s has %d MB left", a.hostname(), free>>20), Why: fmt.Sprintf("alert_disk_free is %d MB", low>>20),
			Next: "make room on the disk of data_dir, or give it another: delivered mail takes none, failed and held mail does"}
	} else if free < low+low/10 { // neither: it shall not say so ten times a minute
		c.Keep = true
	}
	return []alert.Condition{c}, nil
}

// doorCertificate looks at what the doors show.
func (a *App) doorCertificate(context.Context) ([]alert.Condition, error) {
	get := a.shows.Load()
	if get == nil {
		return nil, nil
	}
	cert, err := (*get)(&tls.ClientHelloInfo{ServerName: a.hostname()})
	if err != nil || cert.Leaf == nil {
		return nil, err
	}
	end := cert.Leaf.NotAfter
	c := alert.Condition{Key: "certificate/" + a.hostname()}
	if stage := endStage(cert.Leaf.NotBefore, end, a.Store.Now()); stage != "" {
		c.State = end.UTC().Format(time.DateOnly) + " " + stage
		c.News = alert.News{Event: alert.Certificate, Until: end, What: fmt.Sprintf("the certificate of the doors of %s ends on %s", a.hostname(), end.UTC().Format(time.DateOnly)),
			Next: "renew it: put new files where tls_cert and tls_key are; a self-signed one is made anew when tls.crt and tls.key are deleted and Postern starts; one by ACME renews itself once what the log says is mended"}
	}
	return []alert.Condition{c}, nil
}

// endStage is how near an end is, as the radar counts; but nothing that lives for weeks
// only is near its end in the first two thirds of its life.
func endStage(start, end, now time.Time) string {
	const day = 24 * time.Hour
	left := end.Sub(now)
	if left > 0 && left > end.Sub(start)/4 {
		return ""
	}
	for _, s := range []struct {
		within time.Duration
		stage  vault.Stage
	}{{0, vault.Over}, {3 * day, vault.In3}, {14 * day, vault.In14}, {30 * day, vault.In30}} {
		if left <= s.within {
			return string(s.stage)
		}
	}
	return ""
}

// legacy remembers which devices need an old TLS version, for the next look.
type legacy struct {
	mu      sync.Mutex
	devices map[string]string // TLS version by device
}

func (l *legacy) add(device, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.devices == nil {
		l.devices = map[string]string{}
	}
	l.devices[device] = version
}

func (l *legacy) look(context.Context) ([]alert.Condition, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []alert.Condition
	for device, version := range l.devices {
		all = append(all, alert.Condition{Key: "legacy/" + device, State: version, News: alert.News{
			Event: alert.LegacyTLS, What: fmt.Sprintf("device %s still needs the legacy listener: it speaks %s", device, version),
			Next: "update or replace it; when no device is left, set legacy_listen to off",
		}})
	}
	return all, nil
}

// failedMessages gives what failed for good, a page at a time, but for alerts themselves.
func (a *App) failedMessages(ctx context.Context, since time.Time, each func(context.Context, []alert.Happening) error) error {
	const page = 500
	for last := (store.FailedMessage{}); ; {
		some, err := a.Store.FailedSince(ctx, since, alertDevice, last, page)
		if err != nil || len(some) == 0 {
			return err
		}
		told := make([]alert.Happening, 0, len(some))
		for _, m := range some {
			what := fmt.Sprintf("message %s of device %s was not delivered to everybody", m.ID, m.Device)
			if m.Subject != "" {
				what = fmt.Sprintf("message %s (%s) of device %s was not delivered to everybody", m.ID, m.Subject, m.Device)
			}
			told = append(told, alert.Happening{Occasion: fmt.Sprintf("message/%s/%d", m.ID, m.Done.UnixMilli()), News: alert.News{
				Event: alert.MessageFailed, Account: m.Account, At: m.Done, What: what, Why: m.Reason, Next: "postern queue show " + m.ID,
			}})
		}
		if err := each(ctx, told); err != nil {
			return err
		}
		last = some[len(some)-1]
	}
}
