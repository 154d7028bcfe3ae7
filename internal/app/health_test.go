package app

import (
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/fetch"
	"postern/internal/store"
	"postern/internal/vault"
)

func TestWhatIsToldOfChecks(t *testing.T) {
	t.Parallel()
	good, once, twice := store.Health{Purpose: "imap", Good: true}, store.Health{Purpose: "send", Failures: 1}, store.Health{Purpose: "send", Failures: 2, Headline: "token failed: no"}
	for name, c := range map[string]struct {
		state vault.State
		found []store.Health
		want  string // "" well, "keep", or the state
	}{
		"never checked":     {vault.Active, nil, "keep"},
		"good":              {vault.Active, []store.Health{good}, ""},
		"failed once":       {vault.Active, []store.Health{good, once}, "keep"},
		"failed twice":      {vault.Active, []store.Health{good, twice}, "send"},
		"paused beside it":  {vault.NeedsSignIn, []store.Health{twice}, "keep"},
		"paused, and mends": {vault.NeedsAdmin, []store.Health{good}, "keep"},
	} {
		got := checkCondition(vault.Account{Name: "scan", State: c.state}, c.found)
		state := got.State
		if got.Keep {
			state = "keep"
		}
		if state != c.want || got.Key != "check/scan" {
			t.Errorf("%s: %+v", name, got)
		}
		if c.want == "send" && (got.News.Event != alert.CheckFailed || got.News.Why != "token failed: no" || got.News.Next != "postern check scan") {
			t.Errorf("%s: %+v", name, got.News)
		}
		if c.want == "" && got.News.Event != alert.CheckGood {
			t.Errorf("%s: %+v", name, got.News)
		}
	}
}

func TestWhichTasksAreSilent(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	every := fetch.Schedule{Every: fetch.Duration(10 * time.Minute)}
	for name, c := range map[string]struct {
		schedule fetch.Schedule
		poll     store.Poll
		silent   bool
	}{
		"by hand":           {fetch.Schedule{}, store.Poll{}, false},
		"ran just now":      {every, store.Poll{Good: now.Add(-5 * time.Minute)}, false},
		"is a little late":  {every, store.Poll{Good: now.Add(-69 * time.Minute)}, false},
		"is late":           {every, store.Poll{Good: now.Add(-70 * time.Minute)}, true},
		"never ran":         {every, store.Poll{}, true},
		"daily, not yet":    {fetch.Schedule{Cron: "30 11 * * *"}, store.Poll{Good: now.Add(-24 * time.Hour)}, false},
		"daily, and missed": {fetch.Schedule{Cron: "30 10 * * *"}, store.Poll{Good: now.Add(-24 * time.Hour)}, true},
	} {
		task := fetch.Task{Name: "bills", Account: "scan", Created: now.Add(-48 * time.Hour), Spec: fetch.Spec{Schedule: c.schedule}}
		got := silence(task, c.poll, now.Add(-time.Hour))
		if (got.State == "silent") != c.silent || got.Keep || (got.News.Event == alert.TaskSilent) != c.silent {
			t.Errorf("%s: %+v", name, got)
		}
		c.poll.Running = true
		if got := silence(task, c.poll, now); !got.Keep {
			t.Errorf("%s, and running: %+v", name, got)
		}
	}
}

func TestAccountsComeApart(t *testing.T) {
	t.Parallel()
	hours := map[time.Duration]int{}
	for _, name := range []string{"scan", "invoices", "noauth", "bulk", "machine", "old", "press", "sales"} {
		at := scatter(name, 24*time.Hour)
		if at < 0 || at >= 24*time.Hour || at != scatter(name, 24*time.Hour) {
			t.Errorf("%s at %s", name, at)
		}
		hours[at.Truncate(time.Hour)]++
	}
	if len(hours) < 4 || scatter("scan", 0) != 0 {
		t.Errorf("all in %d hours", len(hours))
	}
}
