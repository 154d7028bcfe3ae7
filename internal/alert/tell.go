package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// singles is how many pieces of news that wait together are told one by one.
const singles = 3

// maxDigest is how many of a digest are written out; the history has all.
const maxDigest = 50

// maxTries is how often telling is tried: for about two days.
const maxTries = 52

// backoff is how long to wait after the n-th try, counted from 1.
func backoff(n int) time.Duration {
	steps := [...]time.Duration{30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute}
	if n > len(steps) {
		return time.Hour
	}
	return steps[max(n, 1)-1]
}

// tell empties the outbox as far as that can be done now. One node does it at a time,
// and the routes do not wait for each other.
func (d *Desk) tell(ctx context.Context, routes []Route) error {
	now := d.cfg.Now()
	due, err := d.cfg.Store.WaitingRoutes(ctx, now)
	if err != nil || len(due) == 0 {
		return err
	}
	mine, err := d.cfg.Store.TakeTurn(ctx, turn, d.cfg.Holder, now, now.Add(turnFor))
	if err != nil || !mine {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellFor)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, name := range due {
		wg.Go(func() {
			err := d.tellRoute(ctx, routes, name)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err // the turn ends by itself: whatever is wrong, nobody else need run into it at once
	}
	_, err = d.cfg.Store.TakeTurn(ctx, turn, d.cfg.Holder, now, now)
	return err
}

func (d *Desk) tellRoute(ctx context.Context, routes []Route, name string) error {
	waiting, err := d.cfg.Store.WaitingAlerts(ctx, name, d.cfg.Now(), together)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(routes, func(r Route) bool { return r.Name == name })
	batches, err := d.batches(ctx, routes, i, waiting)
	if err != nil {
		return err
	}
	for _, batch := range batches {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the rest is due still
		}
		gone := fault.New(fault.Permanent, "tell", "the route is gone, or disabled")
		message, outcome, err := "", "", error(gone)
		if i >= 0 && !routes[i].Disabled {
			message, outcome, err = d.send(ctx, routes[i], batch)
		}
		if err := d.finish(ctx, batch, message, outcome, err); err != nil {
			return err
		}
	}
	return nil
}

// batches says what is told together: what was before, and failed, as it was; what is
// new one by one while there is little, and in one digest when there is much, or when
// the route's allowance for the hour runs out. Each new batch is written down before it
// is told, so that after a crash it is the same one.
func (d *Desk) batches(ctx context.Context, routes []Route, i int, waiting []Alert) ([][]Alert, error) {
	var all [][]Alert
	var fresh []Alert
	at := map[string]int{}
	for _, a := range waiting {
		if a.Batch == "" {
			fresh = append(fresh, a)
			continue
		}
		if _, ok := at[a.Batch]; !ok {
			at[a.Batch] = len(all)
			all = append(all, nil)
		}
		all[at[a.Batch]] = append(all[at[a.Batch]], a)
	}
	if len(fresh) == 0 {
		return all, nil
	}
	left := len(fresh)
	if i >= 0 {
		told, err := d.cfg.Store.ToldSince(ctx, routes[i].Name, d.cfg.Now().Add(-time.Hour))
		if err != nil {
			return nil, err
		}
		left = routes[i].perHour() - told - len(all)
	}
	switch {
	case left <= 0:
		return all, nil
	case len(fresh) > singles || len(fresh) > left:
		return d.join(ctx, all, fresh)
	}
	for _, a := range fresh {
		var err error
		if all, err = d.join(ctx, all, []Alert{a}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (d *Desk) join(ctx context.Context, all [][]Alert, some []Alert) ([][]Alert, error) {
	batch := some[0].ID
	ids := make([]string, len(some))
	for i := range some {
		ids[i], some[i].Batch = some[i].ID, batch
	}
	return append(all, some), d.cfg.Store.JoinAlerts(ctx, some[0].Route, ids, batch)
}

// send hands a batch over.
func (d *Desk) send(ctx context.Context, r Route, batch []Alert) (message, outcome string, err error) {
	if !r.ByMail() {
		body, err := Body(batch, d.cfg.Now())
		if err != nil {
			return "", "", err
		}
		outcome, err = d.cfg.Messenger.Post(ctx, Post{ID: batch[0].Batch, Route: r, Body: body})
		return "", outcome, err
	}
	l, err := Write(r, batch)
	if err != nil { // news that cannot be put well is better than none
		d.cfg.Log.WarnContext(ctx, "a template was not used", "route", r.Name, "error", err)
		plain := r
		plain.Subject, plain.Text, plain.HTML = "", "", ""
		why := err
		if l, err = Write(plain, batch); err != nil {
			return "", "", err
		}
		l.Text += fmt.Sprintf("\nThe templates of the route %s were not used: %s. Next: %s\n", r.Name, why, fault.HintOf(why))
	}
	return d.cfg.Messenger.Mail(ctx, l)
}

// finish writes down what came of a try. It is written even when ctx has ended: what was
// told must not be told again.
func (d *Desk) finish(ctx context.Context, batch []Alert, message, outcome string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	now := d.cfg.Now()
	a := batch[0]
	a.Tries, a.Message, a.Outcome, a.NotBefore = a.Tries+1, message, outcome, time.Time{}
	ended := "told"
	switch {
	case err == nil:
		a.State, a.Done = Told, now
	case final(err) || a.Tries >= maxTries:
		a.State, a.Done, a.Outcome, ended = Failed, now, err.Error(), "failed"
		d.cfg.Log.ErrorContext(ctx, "an alert was told to nobody", "route", a.Route, "event", a.News.Event, "alert", a.Batch, "error", err)
	default:
		a.NotBefore, a.Outcome, ended = now.Add(backoff(a.Tries)), err.Error(), "retry"
	}
	d.cfg.Ended(ctx, a.Route, ended)
	return d.cfg.Store.FinishAlerts(ctx, a.Batch, a)
}

// Write writes a batch as a letter: one piece of news by the route's templates, several
// as a digest of what they make.
func Write(r Route, batch []Alert) (Letter, error) {
	l := Letter{ID: batch[0].Batch, Route: r, Event: batch[0].News.Event}
	w, err := r.templates()
	if err != nil {
		return l, err
	}
	var texts, pages []string
	for i, a := range batch {
		if n := a.News; n.Account != "" && n.Event != AccountWorks && !slices.Contains(l.About, n.Account) {
			l.About = append(l.About, n.Account)
		}
		if i >= maxDigest {
			continue
		}
		for _, t := range []struct {
			by writer
			to *[]string
		}{{w.text, &texts}, {w.html, &pages}} {
			if t.by == nil {
				continue
			}
			text, err := render(t.by, values(a))
			if err != nil {
				return l, err
			}
			*t.to = append(*t.to, text)
		}
	}
	if l.Subject, err = render(w.subject, values(batch[0])); err != nil {
		return l, err
	}
	if n := len(batch); n > 1 {
		l.Subject = fmt.Sprintf("Postern: %d alerts, the first: %s", n, batch[0].News.What)
	}
	if n := len(batch) - maxDigest; n > 0 {
		more := fmt.Sprintf("And %d more: postern alerts history --route %s", n, r.Name)
		texts = append(texts, more+"\n")
		if w.html != nil {
			pages = append(pages, "<p>"+html.EscapeString(more)+"</p>")
		}
	}
	l.Subject = subjectLine(l.Subject)
	l.Text, l.HTML = strings.Join(texts, "\n----\n\n"), strings.Join(pages, "\n<hr>\n")
	return l, nil
}

// payload is what a webhook gets.
type payload struct {
	ID    string     `json:"id"` // the same on each try
	Sent  time.Time  `json:"sent"`
	Route string     `json:"route"`
	News  []numbered `json:"news"`
	More  int        `json:"more,omitempty"` // that are in the history only
}

type numbered struct {
	ID string `json:"id"`
	News
}

// maxPosted is how many pieces of news one call carries.
const maxPosted = 500

// Body writes a batch as JSON.
func Body(batch []Alert, now time.Time) ([]byte, error) {
	p := payload{ID: batch[0].Batch, Sent: now.UTC().Truncate(time.Second), Route: batch[0].Route}
	for _, a := range batch[:min(len(batch), maxPosted)] {
		p.News = append(p.News, numbered{a.ID, a.News})
	}
	p.More = len(batch) - len(p.News)
	b, err := json.Marshal(p)
	return b, fault.Wrap(fault.Invalid, "write the alert", err)
}

// Sample is an alert to test a route with.
func Sample(r Route, host, link string, now time.Time) Alert {
	id := mail.NewID(now)
	return Alert{ID: id, Batch: id, Route: r.Name, State: Waiting, News: News{
		Event: Test, What: "this is a test of the alert route " + r.Name, Why: "somebody asked for it: postern alerts test",
		Next: "nothing; alerts reach you this way", At: now, Link: link, Host: host,
	}}
}
