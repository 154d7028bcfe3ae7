package web_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"postern/internal/web"
)

// fakeOverview says what the test says.
type fakeOverview struct {
	standing web.Standing
	happened []web.Happened
	since    []time.Time
	whiles   []time.Duration
	broken   error
}

func newFakeOverview() *fakeOverview {
	f := &fakeOverview{standing: web.Standing{
		Accounts: 1000, AccountsWork: 997, Apps: 3, Devices: 12, Tasks: 4, Routes: 1, Waiting: 1234567, Failed: 3, CountedAll: true, Free: 40 << 30, Worked: true,
		Ends: ends()[:4],
		Concerns: []web.Concern{
			{Trouble: web.NeedsSignIn, Subject: "invoices", What: "invoices@contoso.com, with 412 messages parked until then.", Why: "AADSTS700082: <b>expired</b>", Next: "postern signin invoices", Path: "/accounts/invoices"},
			{Trouble: web.NeedsSignIn, Subject: "support", What: "support@contoso.com.", Next: "sign in again", Path: "/accounts/support", More: 1},
			{Trouble: web.TaskFailed, Subject: "bills", What: "Its last run failed.", Why: "the directory is away", Path: "/tasks/bills"},
			{Trouble: web.OldTLS, Subject: "printer", What: "It speaks TLS 1.0.", Path: "/devices/printer"},
		},
	}}
	for i := range 96 {
		at := time.Now().Add(-time.Duration(i) * 15 * time.Minute)
		f.happened = append(f.happened, web.Happened{At: at, Kind: web.Sent, N: int64(40 + i*i%37)}, web.Happened{At: at, Kind: web.Waiting, N: int64(i % 13)})
		if i%9 == 0 {
			f.happened = append(f.happened, web.Happened{At: at, Kind: web.Fetched, N: int64(i)}, web.Happened{At: at, Kind: web.GivenUp, N: 1}, web.Happened{At: at, Kind: web.TurnedAway, N: 2})
		}
	}
	return f
}

func (f *fakeOverview) Standing(context.Context) web.Standing { return f.standing }

func (f *fakeOverview) Activity(_ context.Context, since time.Time, while time.Duration) ([]web.Happened, error) {
	f.since, f.whiles = append(f.since, since), append(f.whiles, while)
	return f.happened, f.broken
}

func TestOverviewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("GET", "/", nil))
	a.says(t, "Somebody is needed: 3 accounts wait for a sign-in and 1 task failed.", "Whoever owns the mailbox", "412 messages parked",
		"AADSTS700082: <b>expired</b>", "and 1 more", "1 device speaks old TLS", "997 of 1 000 work", "1 234 567", "40.0 GB", "within 14 days", "!The first steps")
	if !strings.Contains(a.body, `aria-current="page">Overview`) || !strings.Contains(a.body, `href="/accounts/invoices"`) {
		t.Error("links are missing")
	}
}

func TestOverviewSaysThatAllIsRight(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.overview.standing.Concerns = nil
	s.admin(s.request("GET", "/", nil)).says(t, "Everything is all right.", "!What to do next")
	s.overview.standing.Concerns = []web.Concern{{Trouble: web.MailHeld, What: "2 messages to be released."}, {Trouble: web.Simulated, What: "x."}}
	s.admin(s.request("GET", "/", nil)).says(t, "Mail flows. Before long: mail is held back by hand and some mail is only simulated.")
	s.overview.standing.Missing = []string{"The queue"}
	s.admin(s.request("GET", "/", nil)).says(t, "Not everything could be looked at.", "The queue could not be looked up.")
	s.overview.broken = errors.New("locked")
	s.admin(s.request("GET", "/", nil)).says(t, "What happened could not be looked up.", "!locked")
}

func TestOverviewLeadsThroughTheFirstRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.overview.standing = web.Standing{}
	a := s.admin(s.request("GET", "/", nil))
	a.says(t, "Postern is not set up yet.", "0 of 6 done", "Register an app")
	if !strings.Contains(a.body, `class="now" aria-current="step"`) || strings.Count(a.body, `aria-current="step"`) != 1 {
		t.Error("it does not say which step is next")
	}
	s.overview.standing = web.Standing{Apps: 1, Accounts: 1, AccountsWork: 1}
	s.admin(s.request("GET", "/", nil)).says(t, "3 of 6 done", "Check it")
	s.overview.standing.Worked = true
	s.admin(s.request("GET", "/", nil)).says(t, "!The first steps")
}

func TestCharts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	now := time.Now()
	s.overview.happened = []web.Happened{
		{At: now.Add(-3 * time.Minute), Kind: web.Sent, N: 1500}, {At: now.Add(-5 * time.Minute), Kind: web.Sent, N: 1},
		{At: now, Kind: web.Waiting, N: 7}, {At: now.Add(-10 * time.Minute), Kind: web.Waiting, N: 90},
		{At: now.Add(-2 * time.Hour), Kind: web.GivenUp, N: 9}, {At: now.Add(time.Hour), Kind: web.GivenUp, N: 9}, // outside
		{At: now.Add(-3 * time.Minute), Kind: web.GivenUp, N: 2}, {At: now.Add(-3 * time.Minute), Kind: web.TurnedAway, N: 30},
	}
	a := s.admin(s.request("GET", "/?span=1h", nil))
	a.says(t, "Sent, the last 1 hour: 1 501 messages handed to Microsoft. The most in 1 minute was 1 500.", "Waiting, the last 1 hour: 7 now", "was 90", "Refused, the last 1 hour: 32: 2 messages given up, 30 turned away at the doors.")
	if n := strings.Count(a.body, `role="img" aria-labelledby=`); n != 4 {
		t.Errorf("%d charts, want 4", n)
	}
	if n := strings.Count(a.body, `<tr><th scope="row">`); n != 4 {
		t.Errorf("%d rows in the table, want the 4 minutes in which something happened", n)
	}
	if got := now.Sub(s.overview.since[0]); s.overview.whiles[0] != time.Minute || got > time.Hour || got < 59*time.Minute {
		t.Errorf("asked for %v in steps of %v", got, s.overview.whiles[0])
	}
	for query, while := range map[string]time.Duration{"/": 15 * time.Minute, "/?span=7d": 2 * time.Hour, "/?span=bad": 15 * time.Minute} {
		s.admin(s.request("GET", query, nil))
		if got := s.overview.whiles[len(s.overview.whiles)-1]; got != while {
			t.Errorf("%s: steps of %v, want %v", query, got, while)
		}
	}
	part := s.request("GET", "/?span=1h", nil)
	part.Header.Set("Postern-Part", "overview-now")
	if a := s.admin(part); strings.Contains(a.body, "<html") || !strings.Contains(a.body, "verdict") {
		t.Errorf("the part is %.80q", a.body)
	}
}
