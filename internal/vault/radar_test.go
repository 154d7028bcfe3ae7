package vault_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/vault"
)

// tower is a radar over a store of its own, and what was heard of it.
type tower struct {
	*testing.T
	store *memory
	now   time.Time

	mu     sync.Mutex
	alerts []vault.Alert
}

func newTower(t *testing.T) *tower {
	return &tower{T: t, store: newMemory(), now: time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)}
}

// node is one of the processes that share the store.
func (w *tower) node(db vault.Store) *vault.Vault {
	return vault.Open(vault.Config{
		Store: db, Now: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler),
		Alert: func(_ context.Context, a vault.Alert) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.alerts = append(w.alerts, a)
		},
	})
}

// secretEnds puts an app with a secret into the store.
func (w *tower) secretEnds(name string, at time.Time) {
	w.Helper()
	if err := w.store.PutApp(w.Context(), vault.App{Name: name, ClientID: "id", Secret: vault.Sealed("sealed"), SecretExpires: at}); err != nil {
		w.Fatal(err)
	}
}

func (w *tower) account(a vault.Account, g vault.Grant) {
	w.Helper()
	a.Mailbox, g.Account = mail.Address{Local: a.Name, Domain: "contoso.com"}, a.Name
	err := w.store.PutAccount(w.Context(), a)
	if err == nil && g.Refresh != nil {
		err = w.store.CommitGrant(w.Context(), g, "")
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *tower) radar() []vault.Expiry {
	w.Helper()
	all, err := w.node(w.store).Radar(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// wantHeard compares the subjects of the alerts since it was last asked.
func (w *tower) wantHeard(subjects ...string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, a := range w.alerts {
		got = append(got, a.Subject)
		if a.Kind != "expiring" || a.Text == "" || a.Next == "" || !a.At.Equal(w.now) {
			w.Errorf("alert %+v", a)
		}
	}
	if !slices.Equal(got, subjects) {
		w.Errorf("heard of %q, want %q", got, subjects)
	}
	w.alerts = nil
}

const aDay = 24 * time.Hour

func TestStages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		left  time.Duration
		stage vault.Stage
	}{
		{400 * aDay, vault.Far}, {30*aDay + 1, vault.Far}, {30 * aDay, vault.In30}, {14*aDay + 1, vault.In30}, {14 * aDay, vault.In14},
		{3*aDay + 1, vault.In14}, {3 * aDay, vault.In3}, {1, vault.In3}, {0, vault.Over}, {-400 * aDay, vault.Over},
	} {
		t.Run(c.left.String(), func(t *testing.T) {
			t.Parallel()
			w := newTower(t)
			w.secretEnds("m365", w.now.Add(c.left))
			all := w.radar()
			if len(all) != 1 || all[0].Stage != c.stage || !all[0].At.Equal(w.now.Add(c.left)) {
				t.Fatalf("%+v, want %s", all, c.stage)
			}
			if over := strings.Contains(all[0].Text, "ended on"); over != (c.stage == vault.Over) {
				t.Errorf("at %s it says %q", c.stage, all[0].Text)
			}
		})
	}
}

func TestRadarListsTheNearestFirst(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	cloud, err := entra.CloudByName("global")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := entra.NewCertificate("Postern", w.now, 10*aDay)
	if err != nil {
		t.Fatal(err)
	}
	own := cloud
	own.SMTP.Host = "smtp.example.com"
	at := func(days int) time.Time { return w.now.Add(time.Duration(days) * aDay) }
	for _, a := range []vault.App{
		{Name: "secret", Secret: vault.Sealed("s"), SecretExpires: at(20), Cloud: cloud},
		{Name: "both", Secret: vault.Sealed("s"), SecretExpires: at(1), Certificate: cert.Leaf.Raw},
		{Name: "damaged", Certificate: []byte("no certificate")},
		{Name: "unsaid", Secret: vault.Sealed("s")},
		{Name: "public", SecretExpires: at(5)},
		{Name: "own", Cloud: own},
	} {
		if err := w.store.PutApp(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	used := func(daysAgo int) vault.Grant { return vault.Grant{Refresh: vault.Sealed("r"), RotatedAt: at(-daysAgo)} }
	w.account(vault.Account{Name: "busy", Method: vault.Delegated, State: vault.Active}, used(20))
	w.account(vault.Account{Name: "idle", Method: vault.Delegated, State: vault.Active}, used(65))
	w.account(vault.Account{Name: "gone", Method: vault.Delegated, State: vault.NeedsSignIn}, used(100))
	w.account(vault.Account{Name: "waits", Method: vault.Delegated, State: vault.NeedsAdmin}, used(10))
	w.account(vault.Account{Name: "never", Method: vault.Delegated, State: vault.New}, vault.Grant{})
	w.account(vault.Account{Name: "machine", Method: vault.Application, State: vault.NeedsAdmin}, used(100))
	w.account(vault.Account{Name: "old", App: "secret", Method: vault.AppPassword, Purposes: []vault.Purpose{vault.Send, vault.IMAP}}, vault.Grant{})
	w.account(vault.Account{Name: "elsewhere", App: "own", Method: vault.AppPassword, Purposes: []vault.Purpose{vault.Send}}, vault.Grant{})

	want := []struct {
		kind, subject string
		stage         vault.Stage
		text, next    string
	}{
		{"app_password", "old", vault.Over, "IMAP servers have taken no passwords", "postern signin old"},
		{"grant", "gone", vault.Over, "was not used for 90 days", "postern signin gone"},
		{"certificate", "both", vault.In14, "the certificate of app both ends on 2026-10-11", "postern apps certificate both new"},
		{"client_secret", "secret", vault.In30, "the client secret of app secret ends on 2026-10-21", "postern apps secret secret"},
		{"grant", "idle", vault.In30, "has not been refreshed", "postern check idle"},
		{"grant", "waits", vault.Far, "is paused and lapses", "postern check waits"},
		{"app_password", "old", vault.Far, "administrator may switch them on again", "postern signin old"},
	}
	all := w.radar()
	if len(all) != len(want) {
		t.Fatalf("%d ends: %+v", len(all), all)
	}
	for i, e := range all {
		if c := want[i]; e.Kind != c.kind || e.Subject != c.subject || e.Stage != c.stage || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Next, c.next) {
			t.Errorf("%d is %+v, want %+v", i, e, c)
		}
		if theirs := e.Kind == "app_password"; theirs != strings.Contains(e.Source, "https://") || theirs != strings.Contains(e.Source, ", stated)") {
			t.Errorf("%s has the source %q", e.Kind, e.Source)
		}
	}
}

// Each stage is told once, by whichever node comes first, and again after no restart.
func TestEachStageIsAlertedOnce(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	end := w.now.Add(31 * aDay)
	w.secretEnds("m365", end)
	for _, c := range []struct {
		left  time.Duration
		heard []string
	}{
		{31 * aDay, nil},
		{30 * aDay, []string{"m365"}}, {29 * aDay, nil}, {15 * aDay, nil},
		{14 * aDay, []string{"m365"}}, {13 * aDay, nil},
		{2 * aDay, []string{"m365"}}, {time.Hour, nil},
		{-time.Hour, []string{"m365"}}, {-100 * aDay, nil},
		{2 * aDay, nil}, // a node whose clock is late
	} {
		w.now = end.Add(-c.left)
		for range 2 { // and a restart in between
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { w.node(w.store).RadarPass(t.Context()) })
			}
			wg.Wait()
		}
		w.wantHeard(c.heard...)
	}
	if n := len(w.store.settings); n != 1 {
		t.Errorf("%d notes are kept, want 1: %v", n, w.store.settings)
	}
}

func TestAnotherDateIsToldAnew(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	pass := func() { w.node(w.store).RadarPass(t.Context()) }
	w.secretEnds("m365", w.now.Add(2*aDay))
	w.secretEnds("other", w.now.Add(10*aDay))
	pass()
	w.wantHeard("m365", "other")
	w.secretEnds("m365", w.now.Add(400*aDay)) // renewed
	pass()
	w.wantHeard()
	w.secretEnds("m365", w.now.Add(20*aDay)) // and wrongly so
	pass()
	w.wantHeard("m365")
	pass()
	w.wantHeard()
}

// full is a store whose disk is full now and then.
type full struct {
	*memory
	swaps, puts, reads error
}

func (f *full) SwapSetting(ctx context.Context, key string, old, value []byte) error {
	if f.swaps != nil {
		return f.swaps
	}
	return f.memory.SwapSetting(ctx, key, old, value)
}

func (f *full) PutSettingOnce(ctx context.Context, key string, value []byte) ([]byte, error) {
	if f.puts != nil {
		return nil, f.puts
	}
	return f.memory.PutSettingOnce(ctx, key, value)
}

func (f *full) Apps(ctx context.Context) ([]vault.App, error) {
	if f.reads != nil {
		return nil, f.reads
	}
	return f.memory.Apps(ctx)
}

func TestWhatCannotBeNotedIsToldLater(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*full{"swap": {swaps: errDisk}, "put": {puts: errDisk}, "read": {reads: errDisk}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTower(t)
			f.memory = w.store
			w.secretEnds("m365", w.now.Add(aDay))
			v := w.node(f)
			v.RadarPass(t.Context())
			w.wantHeard()
			if _, err := v.Radar(t.Context()); (err != nil) != (name == "read") {
				t.Errorf("the radar says %v", err)
			}
			f.swaps, f.puts, f.reads = nil, nil, nil
			v.RadarPass(t.Context())
			w.wantHeard("m365")
		})
	}
}

// One that cannot be noted is in nobody's way, and nothing is noted where nobody listens.
func TestRadarPassGoesOn(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	for i := range 3 {
		w.secretEnds(fmt.Sprint("app", i), w.now.Add(aDay))
	}
	deaf := vault.Open(vault.Config{Store: w.store, Now: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler)})
	deaf.RadarPass(t.Context())
	if len(w.store.settings) != 0 {
		t.Error("something was noted that nobody heard")
	}
	w.store.settings["radar.client_secret..app1"] = []byte("what is this")
	w.node(w.store).RadarPass(t.Context())
	w.wantHeard("app0", "app1", "app2")
	w.node(&full{memory: w.store, swaps: fault.New(fault.Conflict, "swap", "another was first")}).RadarPass(t.Context())
	w.wantHeard()
}

func TestTheRadarTurnsEveryHourUntilItIsStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var heard atomic.Int32
		v := vault.Open(vault.Config{
			Store: m, Now: time.Now, Log: slog.New(slog.DiscardHandler), Alert: func(context.Context, vault.Alert) { heard.Add(1) },
		})
		err := m.PutApp(t.Context(), vault.App{Name: "m365", Secret: vault.Sealed("s"), SecretExpires: time.Now().Add(14*aDay + 90*time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { v.Watch(ctx); close(done) }()
		synctest.Wait()
		if heard.Load() != 1 {
			t.Errorf("%d alerts at the start, want one for 30 days", heard.Load())
		}
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		if heard.Load() != 1 {
			t.Errorf("%d alerts after an hour, want no other", heard.Load())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if heard.Load() != 2 {
			t.Errorf("%d alerts after two hours, want one for 14 days", heard.Load())
		}
		cancel()
		<-done
	})
}
