package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"sync"
	"time"

	"postern/internal/alert"
	"postern/internal/fetch"
	"postern/internal/relay"
	"postern/internal/store"
	"postern/internal/vault"
	"postern/internal/web"
)

const (
	standsFor  = 3 * time.Second // an answer is good for so long
	radarFor   = time.Minute     // it looks at every account
	mostTold   = 5               // concerns of a kind that are told one by one
	mostFailed = 1000            // failed messages that are counted
	lateBy     = 15 * time.Minute
)

// overviewRoom looks at everything for the overview. At a thousand accounts and a
// million messages that is some work, so many people who look share one answer.
type overviewRoom struct {
	*App
	turn chan struct{} // has room for one: who looks

	mu      sync.Mutex
	kept    web.Standing
	at      time.Time
	ends    []vault.Expiry
	radarAt time.Time
}

func newOverviewRoom(a *App) *overviewRoom {
	return &overviewRoom{App: a, turn: make(chan struct{}, 1)}
}

// Activity is what happened, on all nodes.
func (o *overviewRoom) Activity(ctx context.Context, since time.Time, while time.Duration) ([]web.Happened, error) {
	all, err := o.Store.Activity(ctx, since, while, web.Waiting)
	out := make([]web.Happened, len(all))
	for i, a := range all {
		out[i] = web.Happened(a)
	}
	return out, err
}

// Standing is how everything stands, or stood a moment ago.
func (o *overviewRoom) Standing(ctx context.Context) web.Standing {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done(): // somebody else looks, and that takes long
		kept, _ := o.last()
		kept.Missing = append(kept.Missing[:len(kept.Missing):len(kept.Missing)], "How everything stands now")
		return kept
	}
	if kept, fresh := o.last(); fresh {
		return kept
	}
	l := &look{App: o.App, ctx: ctx}
	l.all(o.radar)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept, o.at = l.Standing, time.Now()
	return l.Standing
}

func (o *overviewRoom) last() (kept web.Standing, fresh bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.kept, time.Since(o.at) < standsFor
}

// radar is what ends soon. Only who looks calls it.
func (o *overviewRoom) radar(ctx context.Context) ([]vault.Expiry, error) {
	if time.Since(o.radarAt) < radarFor {
		return o.ends, nil
	}
	all, err := o.Vault.Radar(ctx)
	if err != nil {
		return nil, err
	}
	o.ends, o.radarAt = nil, time.Now()
	for _, e := range all {
		if e.Stage != vault.Far {
			o.ends = append(o.ends, e)
		}
	}
	return o.ends, nil
}

// look is one look at everything. What fails is named, and leaves the rest alone.
type look struct {
	*App
	web.Standing
	ctx    context.Context // of one request: a look does not outlive it
	paused map[string]bool // accounts
}

func (l *look) all(radar func(context.Context) ([]vault.Expiry, error)) {
	for _, part := range []struct {
		name string
		look func() error
	}{
		{"The disk", l.atDisk}, {"The accounts", l.atAccounts}, {"The connection checks", l.atChecks}, {"The queue", l.atQueue}, {"The tasks", l.atTasks},
		{"The alerts", l.atAlerts}, {"The devices", l.atDevices}, {"What ends soon", func() error { return l.atEnds(radar) }},
		{"The doors", l.atDoors},
	} {
		if err := part.look(); err != nil {
			l.log.ErrorContext(l.ctx, "a part of the overview could not be looked up", "part", part.name, "error", err)
			l.Missing = append(l.Missing, part.name)
		}
	}
	if l.Config.Simulate {
		l.tell(web.Concern{Trouble: web.Simulated, What: "simulate is on in the configuration: nobody gets any mail.", Next: "set simulate to off when you are done trying"})
	}
}

// tell adds a concern, up to the bound of its kind.
func (l *look) tell(c web.Concern) {
	n := 0
	for i := range l.Concerns {
		if l.Concerns[i].Trouble != c.Trouble {
			continue
		}
		if n++; n == mostTold {
			l.Concerns[i].More++
			return
		}
	}
	l.Concerns = append(l.Concerns, c)
}

// told counts the concerns of a kind that are told one by one.
func (l *look) told(kind web.Trouble) (n int) {
	for _, c := range l.Concerns {
		if c.Trouble == kind {
			n++
		}
	}
	return n
}

func (l *look) atDisk() error {
	free, err := freeSpace(l.Config.DataDir)
	if err != nil {
		return err
	}
	l.Free = free
	return l.conditions(web.DiskFull, "", l.disk)
}

// conditions tells of what the alerts look at too.
func (l *look) conditions(kind web.Trouble, path string, look func(context.Context) ([]alert.Condition, error)) error {
	all, err := look(l.ctx)
	for _, c := range all {
		if c.State == "" {
			continue
		}
		concern := web.Concern{Trouble: kind, What: sentence(c.News.What), Why: c.News.Why, Next: c.News.Next, Path: path}
		if kind == web.OldTLS {
			concern.Subject = strings.TrimPrefix(c.Key, "legacy/")
			concern.Path = "/devices/" + url.PathEscape(concern.Subject)
		}
		l.tell(concern)
	}
	return err
}

// sentence makes one of what alerts say.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func (l *look) atAccounts() error {
	all, err := l.Vault.Accounts(l.ctx)
	if err != nil {
		return err
	}
	apps, err := l.Vault.Apps(l.ctx)
	if err != nil {
		return err
	}
	l.Accounts, l.Apps, l.paused = len(all), len(apps), map[string]bool{}
	var pretend []vault.Account
	for _, state := range []vault.State{vault.NeedsSignIn, vault.NeedsAdmin} {
		for _, acct := range all {
			if acct.State == state {
				l.atPaused(acct)
			}
		}
	}
	for _, acct := range all {
		if acct.State == vault.Active {
			l.AccountsWork++
		}
		if acct.Simulate {
			pretend = append(pretend, acct)
		}
	}
	for _, acct := range pretend {
		l.tell(web.Concern{Trouble: web.Simulated, Subject: acct.Name, What: "Its mail is accepted and goes to nobody.", Path: accountPath(acct.Name)})
	}
	return nil
}

func accountPath(name string) string { return "/accounts/" + url.PathEscape(name) }

// atPaused tells of an account that waits for somebody, and what waits with it.
func (l *look) atPaused(acct vault.Account) {
	l.paused[acct.Name] = true
	c := web.Concern{Trouble: web.NeedsSignIn, Subject: acct.Name, What: fmt.Sprintf("%s.", acct.Mailbox), Why: acct.Reason, Path: accountPath(acct.Name)}
	if acct.State == vault.NeedsAdmin {
		c.Trouble = web.NeedsAdmin
	}
	if b := l.backlog.Load(); b != nil && b.byAccount[acct.Name] > 0 {
		c.What = fmt.Sprintf("%s, with %s parked until then.", acct.Mailbox, upTo(b.byAccount[acct.Name], math.MaxInt))
	}
	if l.told(c.Trouble) < mostTold { // the advice of those that are only counted is not asked for
		c.Next, _ = l.Vault.Advice(l.ctx, acct) // without it, the reason still stands there
	}
	l.tell(c)
}

// atChecks tells of accounts that do not wait for anybody, and whose last check failed
// all the same.
func (l *look) atChecks() error {
	all, err := l.Store.Healths(l.ctx)
	for _, h := range all {
		l.Checked = l.Checked || h.Good
		if !h.Good && !l.paused[h.Account] {
			l.tell(web.Concern{Trouble: web.CheckFailed, Subject: h.Account, What: fmt.Sprintf("For %s: %s.", h.Purpose, strings.TrimSuffix(h.Headline, ".")), Path: "/check?account=" + url.QueryEscape(h.Account)})
		}
	}
	return err
}

func (l *look) atQueue() error {
	if b := l.backlog.Load(); b != nil {
		l.Waiting = b.messages
	}
	old, err := l.Store.StateKeys(l.ctx, "queue/")
	if err != nil {
		return err
	}
	for _, key := range old {
		if name := strings.TrimPrefix(key, "queue/"); !l.paused[name] {
			l.tell(web.Concern{Trouble: web.QueueOld, Subject: name, What: "Its oldest message waits for longer than " + l.Config.AlertQueueAge.String() + ".", Path: "/queue?account=" + url.QueryEscape(name)})
		}
	}
	if err := l.atFailed(); err != nil {
		return err
	}
	held, err := l.Store.CountUpTo(l.ctx, relay.Held, mostFailed)
	if held > 0 {
		l.tell(web.Concern{Trouble: web.MailHeld, What: fmt.Sprintf("%s to be released.", upTo(held, mostFailed)), Path: "/queue?state=held"})
	}
	return err
}

func (l *look) atFailed() error {
	failed, err := l.Store.FailedSince(l.ctx, time.Now().Add(-24*time.Hour), "", store.FailedMessage{}, mostFailed)
	if err != nil {
		return err
	}
	for i := len(failed) - 1; i >= 0; i-- { // the newest first
		m := failed[i]
		l.tell(web.Concern{Trouble: web.MailFailed, Subject: m.ID, What: "Of device " + m.Device + ", account " + m.Account + ".", Why: m.Reason, Path: "/queue/" + m.ID})
	}
	n, err := l.Store.CountUpTo(l.ctx, relay.Failed, mostFailed)
	l.Failed, l.CountedAll = n, n < mostFailed
	if err != nil {
		return err
	}
	for _, state := range []relay.State{relay.Delivered, relay.Simulated} {
		n, err := l.Store.CountUpTo(l.ctx, state, 1)
		if err != nil {
			return err
		}
		l.Worked = l.Worked || n > 0
	}
	return nil
}

// upTo says a count that stops somewhere.
func upTo(n, most int) string {
	switch {
	case n >= most:
		return fmt.Sprintf("More than %d messages", most)
	case n == 1:
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

func (l *look) atTasks() error {
	all, err := l.Store.Standings(l.ctx, time.Now(), "")
	if err != nil {
		return err
	}
	l.Tasks = len(all)
	for _, st := range all {
		l.Worked = l.Worked || st.Last.Saved > 0
		if !st.Task.Disabled {
			l.atTask(st)
		}
	}
	return nil
}

func (l *look) atTask(st fetch.Standing) {
	c := web.Concern{Subject: st.Task.Name, Path: "/tasks/" + url.PathEscape(st.Task.Name)}
	due := st.Next()
	switch {
	case l.paused[st.Task.Account]: // said already, with what helps
	case st.Last.Error != "" && !st.Running:
		c.Trouble, c.What, c.Why = web.TaskFailed, "Its last run failed.", st.Last.Error
		l.tell(c)
	case !st.Running && !due.IsZero() && time.Since(due) > lateBy:
		c.Trouble, c.What = web.TaskLate, "It was due at "+due.UTC().Format("2 January 15:04 UTC")+"."
		l.tell(c)
	}
	if n := st.Parked + st.ActionFailed; n > 0 {
		c.Trouble, c.Why, c.What = web.EntryParked, "", upTo(n, fetch.CountedUpTo)+" for a person to look at."
		c.Path = "/ledger?state=parked&task=" + url.QueryEscape(st.Task.Name)
		l.tell(c)
	}
}

func (l *look) atAlerts() error {
	routes, err := l.Store.Routes(l.ctx)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if !r.Disabled {
			l.Routes++
		}
	}
	if l.Routes == 0 && l.Accounts > 0 {
		l.tell(web.Concern{Trouble: web.NobodyIsTold, What: "No alert route is on.", Next: "say who hears of it when mail stops", Path: "/settings"})
	}
	failed, err := l.Store.Alerts(l.ctx, alert.Filter{State: alert.Failed, Limit: 50})
	for _, f := range failed {
		if time.Since(f.News.At) < 7*24*time.Hour {
			l.tell(web.Concern{Trouble: web.AlertFailed, Subject: f.Route, What: sentence(f.News.What), Why: f.Outcome, Path: "/alerts"})
		}
	}
	return err
}

func (l *look) atDevices() error {
	all, err := l.Store.Devices(l.ctx)
	for _, d := range all {
		if !d.Disabled {
			l.Standing.Devices++
		}
	}
	return errors.Join(err, l.conditions(web.OldTLS, "", l.legacy.look))
}

func (l *look) atEnds(radar func(context.Context) ([]vault.Expiry, error)) (err error) {
	l.Ends, err = radar(l.ctx)
	for _, e := range l.Ends {
		if e.Stage != vault.Over && e.Stage != vault.In3 {
			continue // it stands among what ends soon, and is not for today
		}
		l.tell(web.Concern{Trouble: web.Expires, Subject: e.Subject, What: e.Text + ".", Next: e.Next})
	}
	return err
}

func (l *look) atDoors() error {
	return errors.Join(l.conditions(web.Certificate, "/settings", l.doorCertificate), l.conditions(web.Certificate, "/settings", l.acmeTrouble))
}
