package app

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/door"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
	"postern/internal/vault"
	"postern/internal/web"
)

// kinds are the troubles a standing tells of, each once.
func kinds(st web.Standing) (all []web.Trouble) {
	for _, c := range st.Concerns {
		if !slices.Contains(all, c.Trouble) {
			all = append(all, c.Trouble)
		}
	}
	return all
}

func TestStanding(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	s.App.Config.AlertDiskFree = 1 // the machine's own disk is not the matter
	st := newOverviewRoom(s.App).Standing(ctx)
	if len(st.Concerns) > 0 || len(st.Missing) > 0 || st.Apps != 2 || st.Accounts != 0 || st.Worked || st.Free == 0 {
		t.Fatalf("at first: %+v", st)
	}

	for _, name := range []string{"scan", "invoices", "bulk"} {
		s.put("hosts", name, vault.AppPassword, "abcdefghijklmnop", vault.Send)
	}
	paused := vault.Transition{To: vault.NeedsSignIn, By: vault.Server, Reason: "535 5.7.139", At: time.Now()}
	_, err := s.Store.SetState(ctx, "invoices", paused)
	s.must(err)
	s.noteBacklog([]store.Backlog{{Account: "invoices", Messages: 412}, {Account: "scan", Messages: 2}})
	s.must(s.Store.PutHealth(ctx, store.Health{Account: "scan", Purpose: "send", At: time.Now(), Headline: "login failed"}))
	s.must(s.Store.PutHealth(ctx, store.Health{Account: "invoices", Purpose: "send", At: time.Now(), Headline: "said by the pause"}))
	s.must(s.Store.PutTask(ctx, fetch.Task{Name: "bills", Account: "scan"}))
	s.must(s.Store.PutRun(ctx, fetch.Run{ID: "1", Task: "bills", Started: time.Now(), Ended: time.Now(), Error: "the directory is away"}))
	s.must(s.Store.PutDevice(ctx, door.Device{Name: "printer", Account: "scan", PasswordHash: "x"}))

	room := newOverviewRoom(s.App)
	st = room.Standing(ctx)
	if got, want := kinds(st), []web.Trouble{web.NeedsSignIn, web.CheckFailed, web.TaskFailed, web.NobodyIsTold}; !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v: %+v", got, want, st.Concerns)
	}
	if c := st.Concerns[0]; c.Subject != "invoices" || c.What != "invoices@contoso.com, with 412 messages parked until then." || c.Why != paused.Reason || c.Next == "" {
		t.Errorf("the pause is told as %+v", c)
	}
	if st.Waiting != 414 || st.Accounts != 3 || st.Devices != 1 || st.Tasks != 1 || st.Checked {
		t.Errorf("counted %+v", st)
	}

	s.must(s.Store.PutAlertRoute(ctx, alert.Route{Name: "admins", Account: "scan", To: []mail.Address{{Local: "a", Domain: "contoso.com"}}}))
	if again := room.Standing(ctx); len(again.Concerns) != len(st.Concerns) {
		t.Error("it looks again at once")
	}
	room.at = time.Time{}
	if got := kinds(room.Standing(ctx)); slices.Contains(got, web.NobodyIsTold) {
		t.Errorf("with a route: %v", got)
	}
}

// Of many accounts with one trouble only some are told one by one.
func TestStandingIsBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		s.put("hosts", name, vault.AppPassword, "abcdefghijklmnop", vault.Send)
		_, err := s.Store.SetState(t.Context(), name, vault.Transition{To: vault.NeedsAdmin, By: vault.Server, Reason: "no", At: time.Now()})
		s.must(err)
	}
	told, more := 0, 0
	for _, c := range newOverviewRoom(s.App).Standing(t.Context()).Concerns {
		if c.Trouble == web.NeedsAdmin {
			told, more = told+1, more+c.More
		}
	}
	if told != mostTold || more != 2 {
		t.Errorf("%d told, %d more; want %d and 2", told, more, mostTold)
	}
}

// When the database does not answer, the page says so.
func TestStandingSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if st := newOverviewRoom(s.App).Standing(ctx); len(st.Missing) == 0 {
		t.Errorf("nothing is missing: %+v", st)
	}
}

func TestActivityIsWrittenDown(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx, now := t.Context(), time.Now()
	written := map[string]int64{}
	s.noteActivity(ctx, now, written)
	all, err := s.Store.Activity(ctx, now.Add(-time.Hour), time.Minute, web.Waiting)
	if err != nil || len(all) > 0 {
		t.Fatalf("nothing happened, and %v was written: %v", all, err)
	}
	s.put("hosts", "scan", vault.AppPassword, "abcdefghijklmnop", vault.Send)
	s.noteBacklog([]store.Backlog{{Account: "scan", Messages: 7}})
	s.noteActivity(ctx, now, written)
	s.noteBacklog([]store.Backlog{{Account: "scan", Messages: 3}})
	s.noteActivity(ctx, now, written)
	all, err = s.Store.Activity(ctx, now.Add(-time.Hour), time.Minute, web.Waiting)
	if err != nil || len(all) != 1 || all[0].N != 7 || all[0].Kind != web.Waiting {
		t.Errorf("written %v: %v", all, err)
	}
}

// A device's test goes through a real door and leaves nothing behind.
func TestDeviceTest(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	s.put("hosts", "scan", vault.AppPassword, "abcdefghijklmnop", vault.Send)
	s.must(s.Store.PutDevice(ctx, door.Device{Name: "printer", Account: "scan", PasswordHash: "x"}))
	password, err := s.NewDevicePassword(ctx, "test", "printer")
	s.must(err)
	room := s.openTestDoor()

	r, err := room.TestDevice(ctx, "printer", "smtp_listen", password)
	if err != nil || !r.OK || len(r.Stages) != 5 {
		t.Errorf("the right password: %+v, %v", r, err)
	}
	r, err = room.TestDevice(ctx, "printer", "smtp_listen", secret.New("wrong"))
	if last := r.Stages[len(r.Stages)-1]; err != nil || r.OK || last.Name != "login" || last.Reply == "" || last.Next == "" {
		t.Errorf("a wrong password: %+v, %v", r, err)
	}
	if _, err := room.TestDevice(ctx, "printer", "imap_listen", password); err == nil {
		t.Error("a door that is not open was tested")
	}
	s.must(s.SwitchDevice(ctx, "test", "printer", false))
	if r, _ = room.TestDevice(ctx, "printer", "smtp_listen", password); r.OK {
		t.Error("a device that is switched off passes")
	}
	s.must(s.SwitchDevice(ctx, "test", "printer", true))

	d, err := s.Store.Device(ctx, "printer")
	s.must(err)
	d.Policy.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	s.must(s.Store.PutDevice(ctx, d))
	r, err = room.TestDevice(ctx, "printer", "smtp_listen", password)
	if last := r.Stages[len(r.Stages)-1]; err != nil || !r.OK || last.Status != check.Skipped {
		t.Errorf("a device from elsewhere: %+v, %v", r, err)
	}
	if r, _ = room.TestDevice(ctx, "printer", "smtp_listen", secret.New("wrong")); r.OK {
		t.Error("a device from elsewhere with a wrong password passes")
	}
	if n, err := s.Store.CountUpTo(ctx, relay.Queued, 1); n != 0 || err != nil {
		t.Errorf("%d messages are left behind: %v", n, err)
	}
}

// openTestDoor opens the SMTP door on a port of its own.
func (s *stand) openTestDoor() deviceRoom {
	s.Helper()
	_, err := s.certificate()
	s.must(err)
	s.must(s.App.Config.SMTPListen.UnmarshalText([]byte("127.0.0.1:0")))
	doors, err := s.openDoors(s.Context(), door.NewLogins(s.Store, time.Millisecond, readAgain))
	s.must(err)
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- doors[0].Serve(ctx, doors[0].listener) }()
	s.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	})
	return deviceRoom{App: s.App, doors: doors}
}
