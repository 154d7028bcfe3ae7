package check

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// TestTheTestMailIsSeenToArrive, or is missed after a minute.
func TestTheTestMailIsSeenToArrive(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		comes  time.Duration // after it was sent
		fails  error
		leaves time.Duration // whoever asked, 0: never
		want   Status
		says   string
		after  time.Duration // at the latest
	}{
		"at once":      {0, nil, 0, OK, "arrived in you@example.com after 1 s.", 0},
		"soon":         {4 * time.Second, nil, 0, OK, "arrived in you@example.com after 4 s.", 5 * time.Second},
		"late":         {40 * time.Second, nil, 0, OK, "arrived in you@example.com after ", 50 * time.Second},
		"too late":     {61 * time.Second, nil, 0, Warn, "did not arrive in you@example.com within 60 s.", 60 * time.Second},
		"no way in":    {0, fault.New(fault.NeedsSignIn, "fetch", "refused").WithHint("postern signin you"), 0, Warn, "could not look into you@example.com: fetch: refused", 0},
		"nobody waits": {time.Hour, nil, 7 * time.Second, Skipped, "Nobody waited", 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.leaves > 0 {
					time.AfterFunc(c.leaves, cancel)
				}
				began, looks := time.Now(), 0
				run := &checking{Target: Target{TestTo: mail.Address{Local: "you", Domain: "example.com"}}, Deps: Deps{}.withDefaults(), messageID: "<m1@test>", sentAt: began}
				run.Arrived = func(_ context.Context, id string) (bool, error) {
					looks++
					if id != "<m1@test>" {
						return false, errors.New("which message?")
					}
					return c.fails == nil && time.Since(began) >= c.comes, c.fails
				}
				st := run.arrival(ctx)
				if took := time.Since(began); st.Status != c.want || !strings.Contains(st.Summary, c.says) || took > c.after || looks > 16 {
					t.Errorf("after %s and %d looks: %s", took, looks, st.Text())
				}
				if (st.Status == OK) == (st.Next != "") {
					t.Errorf("next is %q", st.Next)
				}
			})
		})
	}
}

// TestArrivalIsAStageOnlyWhereItCanBeSeen: without it, people are asked to look.
func TestArrivalIsAStageOnlyWhereItCanBeSeen(t *testing.T) {
	t.Parallel()
	to, look := mail.Address{Local: "you", Domain: "example.com"}, func(context.Context, string) (bool, error) { return true, nil }
	for name, c := range map[string]struct {
		to   mail.Address
		look func(context.Context, string) (bool, error)
		last string
	}{
		"to be seen": {to, look, StageArrival}, "not to be seen": {to, nil, StageTest}, "not sent": {mail.Address{}, look, StageTest},
	} {
		for _, p := range []Purpose{Send, HVE, Graph} {
			run := &checking{Target: Target{Purpose: p, TestTo: c.to}, Deps: Deps{Arrived: c.look}.withDefaults()}
			steps := run.plan()
			if last := steps[len(steps)-1].name; last != c.last {
				t.Errorf("%s, %s: it ends with %s", name, p, last)
			}
			if st := run.sent(time.Now(), nil); (st.Next == lookYourself) != (c.look == nil) {
				t.Errorf("%s: %s", name, st.Next)
			}
		}
	}
}
