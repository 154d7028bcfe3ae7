package alert_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/store"
)

// office is a database, its nodes' desks, and whoever is told.
type office struct {
	t     *testing.T
	store *store.Store

	mu    sync.Mutex
	now   time.Time
	state map[string]alert.Condition
	past  []alert.Happening
	told  []string // subject or body, with the id
	fail  func(n int) error
	tries int
}

func newOffice(t *testing.T, routes ...alert.Route) *office {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	o := &office{t: t, store: s, now: time.UnixMilli(1_800_000_000_000), state: map[string]alert.Condition{}, fail: func(int) error { return nil }}
	for _, r := range routes {
		r.Account = "" // whether there is one is the store's to know
		if err := s.PutAlertRoute(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func (o *office) desk(holder string, st alert.Store) *alert.Desk {
	if st == nil {
		st = o.store
	}
	return alert.New(alert.Config{
		Store: st, Messenger: o, Holder: holder, Host: holder, Now: func() time.Time { o.mu.Lock(); defer o.mu.Unlock(); return o.now },
		Sources: []alert.Source{{Prefix: "account/", Whole: true, Look: o.look}},
		Happened: func(ctx context.Context, since time.Time, each func(context.Context, []alert.Happening) error) error {
			return each(ctx, o.past)
		},
	})
}

func (o *office) look(context.Context) (all []alert.Condition, err error) {
	for _, c := range o.state {
		all = append(all, c)
	}
	return all, nil
}

func (o *office) set(account, state string) {
	c := alert.Condition{Key: "account/" + account, State: state, News: alert.News{Event: alert.NeedsSignIn, Account: account, What: account + " is " + state}}
	if state == "" {
		c.News = alert.News{Event: alert.AccountWorks, Account: account, What: account + " works"}
	}
	o.state[account] = c
}

func (o *office) Mail(_ context.Context, l alert.Letter) (string, string, error) {
	return "m-" + l.ID, "queued", o.hear(l.ID, l.Subject+"\n"+l.Text)
}

func (o *office) Post(_ context.Context, p alert.Post) (string, error) {
	return "200 OK", o.hear(p.ID, string(p.Body))
}

func (o *office) hear(id, text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tries++
	if err := o.fail(o.tries); err != nil {
		return err
	}
	o.told = append(o.told, id+" "+text)
	return nil
}

// round lets desks look once, and returns what was told meanwhile.
func (o *office) round(desks ...*alert.Desk) []string {
	o.t.Helper()
	o.told = nil
	for _, d := range desks {
		if err := d.RunOnce(o.t.Context()); err != nil {
			o.t.Fatal(err)
		}
	}
	return o.told
}

func (o *office) history() []alert.Alert {
	o.t.Helper()
	all, err := o.store.Alerts(o.t.Context(), alert.Filter{})
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

func (o *office) after(d time.Duration) { o.now = o.now.Add(d) }

func TestOnlyChangesAreTold(t *testing.T) {
	t.Parallel()
	o := newOffice(t, route("", "", ""), alert.Route{Name: "deaf", To: []mail.Address{{Local: "x", Domain: "y"}}, Events: []alert.Event{alert.DiskLow}})
	one, two := o.desk("one", nil), o.desk("two", nil)
	steps := []struct {
		state string
		want  string // in what is told; "" for silence
	}{
		{"", ""}, {"needs_sign_in", "scan is needs_sign_in"}, {"needs_sign_in", ""}, {"needs_admin", "scan is needs_admin"}, {"", "scan works"}, {"", ""},
	}
	for i, s := range steps {
		o.set("scan", s.state)
		told := o.round(one, two)
		if s.want == "" && len(told) > 0 || s.want != "" && (len(told) != 1 || !strings.Contains(told[0], s.want)) {
			t.Errorf("step %d: told %q", i, told)
		}
		o.after(time.Minute)
	}
	o.set("scan", "needs_admin")
	o.round(one)
	delete(o.state, "scan")
	o.round(one)
	o.set("scan", "needs_admin") // another account of the same name
	if told := o.round(two); len(told) != 1 {
		t.Errorf("told %q", told)
	}
	for _, a := range o.history() {
		if a.State != alert.Told || a.Route != "ops" || a.Message != "m-"+a.Batch || a.Outcome != "queued" {
			t.Errorf("history has %+v", a)
		}
	}
}

// What went wrong while nobody watched is told; what was before anybody could tell is not.
func TestHappeningsAreToldOnce(t *testing.T) {
	t.Parallel()
	o := newOffice(t, route("", "", ""))
	one, two := o.desk("one", nil), o.desk("two", nil)
	happen := func(n int) {
		for i := range n {
			what := fmt.Sprintf("message %d-%d failed", n, i)
			o.past = append(o.past, alert.Happening{Occasion: what, News: alert.News{Event: alert.MessageFailed, What: what}})
		}
	}
	happen(2)
	if told := o.round(one, two, one); len(told) != 2 {
		t.Errorf("told %q", told)
	}
	o.after(time.Hour * 3)
	happen(40)
	if told := o.round(two, one); len(told) != 1 || !strings.Contains(told[0], "Postern: 40 alerts") {
		t.Errorf("a flood was told as %q", told)
	}
}

func TestARouteIsNotFlooded(t *testing.T) {
	t.Parallel()
	r := route("", "", "")
	r.PerHour = 3
	o := newOffice(t, r)
	d := o.desk("one", nil)
	sent := 0
	for i := range 50 { // five hours, one piece of news each six minutes
		what := fmt.Sprint("news ", i)
		o.past = append(o.past, alert.Happening{Occasion: what, News: alert.News{Event: alert.MessageFailed, What: what}})
		sent += len(o.round(d))
		o.after(6 * time.Minute)
	}
	o.after(time.Hour)
	sent += len(o.round(d))
	if sent > 5*3+4 || sent < 10 {
		t.Errorf("%d messages in five hours", sent)
	}
	for _, a := range o.history() {
		if a.State != alert.Told {
			t.Errorf("%s was not told", a.News.What)
		}
	}
}

func TestTellingIsTriedAgain(t *testing.T) {
	t.Parallel()
	o := newOffice(t, alert.Route{Name: "ops", Webhook: "https://ops.example/"})
	o.fail = func(n int) error {
		if n < 3 {
			return fault.New(fault.Temporary, "call", "it answered 500")
		}
		return nil
	}
	d := o.desk("one", nil)
	o.set("scan", "needs_admin")
	for _, wait := range []time.Duration{0, 29 * time.Second, time.Second, 2 * time.Minute} {
		o.after(wait)
		o.round(d)
	}
	if o.tries != 3 || len(o.told) != 1 {
		t.Fatalf("%d tries told %q", o.tries, o.told)
	}
	a := o.history()[0]
	if a.State != alert.Told || a.Tries != 3 || !strings.HasPrefix(o.told[0], a.Batch+" ") || !strings.Contains(o.told[0], `"id":"`+a.Batch+`"`) {
		t.Errorf("history has %+v, and it was told %q", a, o.told)
	}
	o.fail = func(int) error { return fault.New(fault.Permanent, "call", "it answered 410") }
	o.set("other", "needs_admin")
	o.round(d)
	if a := o.history()[0]; a.State != alert.Failed || !strings.Contains(a.Outcome, "410") {
		t.Errorf("history has %+v", a)
	}
	if o.after(24 * time.Hour); len(o.round(d)) > 0 || o.tries != 4 {
		t.Errorf("%d tries", o.tries)
	}
}

// dying loses what came of the first try, as a kill would.
type dying struct {
	alert.Store
	times int
}

func (d *dying) FinishAlerts(ctx context.Context, batch string, a alert.Alert) error {
	if d.times--; d.times >= 0 {
		return errors.New("killed")
	}
	return d.Store.FinishAlerts(ctx, batch, a)
}

// Who dies between telling and writing that down tells the same once more, under the
// same id, whatever came meanwhile: the receiver can see that it is the same.
func TestADeathWhileTelling(t *testing.T) {
	t.Parallel()
	o := newOffice(t, route("", "", ""))
	for _, account := range []string{"a", "b", "c", "d", "e"} {
		o.set(account, "needs_admin")
	}
	if err := o.desk("one", &dying{o.store, 1}).RunOnce(t.Context()); err == nil {
		t.Fatal("it did not die")
	}
	first := slices.Clone(o.told)
	o.set("f", "needs_admin")
	o.after(3 * time.Minute) // the turn of the dead ends
	again := o.round(o.desk("two", nil))
	if len(first) != 1 || len(again) != 2 || again[0] != first[0] || !strings.Contains(again[1], "f is needs_admin") {
		t.Errorf("first %q, then %q", first, again)
	}
}

func TestARouteThatIsGone(t *testing.T) {
	t.Parallel()
	o := newOffice(t, route("", "", ""))
	o.fail = func(int) error { return fault.New(fault.Temporary, "queue", "the disk is full") }
	d := o.desk("one", nil)
	o.set("scan", "needs_admin")
	o.round(d)
	if err := o.store.DeleteAlertRoute(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	o.after(time.Minute)
	o.round(d)
	if a := o.history()[0]; a.State != alert.Failed || !strings.Contains(a.Outcome, "the route is gone") {
		t.Errorf("history has %+v", a)
	}
}

// What a template makes of real news is known only then; the news goes out in any case.
func TestATemplateThatFailsKeepsNoNewsBack(t *testing.T) {
	t.Parallel()
	o := newOffice(t, alert.Route{Name: "ops", To: []mail.Address{{Local: "x", Domain: "y"}}, Text: "{{if .Account}}{{not .Account .What}}{{end}}"})
	d := o.desk("one", nil)
	o.round(d)
	o.set("scan", "needs_sign_in")
	told := o.round(d)
	if len(told) != 1 || !strings.Contains(told[0], "Postern: scan is needs_sign_in") || !strings.Contains(told[0], "The templates of the route ops were not used") {
		t.Errorf("told %q", told)
	}
}
