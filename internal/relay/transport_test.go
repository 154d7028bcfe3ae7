package relay_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// crossing is where one account's mail may leave by two roads.
type crossing struct {
	way     relay.Way
	smtpErr error
	now     time.Time
	detour  *relay.Detour
	doubt   bool
	memory  error
	history []string
}

func (c *crossing) transports() *relay.Transports {
	return &relay.Transports{
		Ways: func(context.Context, string) (relay.Way, error) { return c.way, nil },
		SMTP: road{c, "smtp"}, Graph: road{c, "graph"}, Detours: c, Doubts: c,
		Now: func() time.Time { return c.now }, Log: slog.New(slog.DiscardHandler),
	}
}

func (c *crossing) note(s string) { c.history = append(c.history, s) }

func (c *crossing) Detour(_ context.Context, account string, now time.Time) (relay.Detour, error) {
	switch {
	case c.memory != nil:
		return relay.Detour{}, c.memory
	case c.detour == nil || !c.detour.Until.After(now):
		return relay.Detour{}, fault.New(fault.NotFound, "read detour", "none for %s", account)
	}
	return *c.detour, nil
}

func (c *crossing) PutDetour(_ context.Context, d relay.Detour) error {
	c.detour = &d
	return c.memory
}

func (c *crossing) EndDetour(context.Context, string) error {
	c.detour = nil
	return c.memory
}

func (c *crossing) Doubt(context.Context, string) (time.Time, error) {
	if c.doubt {
		return c.now, nil
	}
	return time.Time{}, nil
}

func (*crossing) BeginDoubt(context.Context, string, time.Time) error { return nil }

func (*crossing) EndDoubt(context.Context, string) error { return nil }

// road is a Sender and the Upstream it opens.
type road struct {
	c    *crossing
	name string
}

func (r road) Open(context.Context, string) (relay.Upstream, error) {
	r.c.note("open " + r.name)
	if r.name == "smtp" && r.c.smtpErr != nil {
		return nil, r.c.smtpErr
	}
	return r, nil
}

func (r road) Send(context.Context, mail.Envelope, int64, io.Reader, relay.Ours) (smtp.Result, error) {
	r.c.note("send " + r.name)
	return taken(), nil
}

func (road) Usable() bool { return true }

func (r road) Close(context.Context) error {
	r.c.note("close " + r.name)
	return nil
}

func (r road) Abort() { r.c.note("abort " + r.name) }

func refusedAuth(enhanced string) error {
	return &fault.Error{Kind: fault.NeedsAdmin, Op: "smtp AUTH", Reply: &fault.Reply{Protocol: "smtp", Stage: smtp.StageAUTH, Code: "535", Enhanced: enhanced, Text: "words"}}
}

func TestChoiceOfTransport(t *testing.T) {
	t.Parallel()
	off := refusedAuth("5.7.139")
	both := relay.Way{SMTP: true, Graph: true, Large: 100}
	fixed := func(over relay.Transport) relay.Way {
		w := both
		w.Fixed = over
		return w
	}
	on := func(until time.Duration) *relay.Detour {
		return &relay.Detour{Over: relay.OverGraph, Until: time.Unix(0, 0).Add(until)}
	}
	for name, c := range map[string]struct {
		crossing
		size int64
		want string
		err  error
		left bool // on a detour afterwards
	}{
		"SMTP alone":               {crossing{way: relay.Way{SMTP: true}}, 10, "open smtp, send smtp", nil, false},
		"SMTP alone, off":          {crossing{way: relay.Way{SMTP: true}, smtpErr: off}, 10, "open smtp", fault.NeedsAdmin, false},
		"Graph alone":              {crossing{way: relay.Way{Graph: true}}, 1000, "open graph, send graph", nil, false},
		"neither":                  {crossing{way: relay.Way{}}, 10, "open smtp, send smtp", nil, false},
		"SMTP first":               {crossing{way: both}, 10, "open smtp, send smtp", nil, false},
		"SMTP off":                 {crossing{way: both, smtpErr: off}, 10, "open smtp, open graph, send graph", nil, true},
		"basic retired":            {crossing{way: both, smtpErr: refusedAuth("5.7.30")}, 10, "open smtp, open graph, send graph", nil, true},
		"another refusal":          {crossing{way: both, smtpErr: refusedAuth("5.7.57")}, 10, "open smtp", fault.NeedsAdmin, false},
		"SMTP unreachable":         {crossing{way: both, smtpErr: fault.New(fault.Temporary, "dial", "no")}, 10, "open smtp", fault.Temporary, false},
		"SMTP was off":             {crossing{way: both, detour: on(time.Second)}, 1000, "open graph, send graph", nil, true},
		"time to go back":          {crossing{way: both, detour: on(-time.Second)}, 10, "open smtp, send smtp", nil, false},
		"fixed SMTP":               {crossing{way: fixed(relay.OverSMTP)}, 10, "open smtp, send smtp", nil, false},
		"fixed SMTP, off":          {crossing{way: fixed(relay.OverSMTP), smtpErr: off}, 10, "open smtp", fault.NeedsAdmin, false},
		"fixed Graph":              {crossing{way: fixed(relay.OverGraph)}, 100, "open graph, send graph", nil, false},
		"fixed Graph, large":       {crossing{way: fixed(relay.OverGraph)}, 101, "open graph, open smtp, send smtp", nil, false},
		"fixed Graph, large, off":  {crossing{way: fixed(relay.OverGraph), smtpErr: off}, 101, "open graph, open smtp, send graph", nil, true},
		"fixed Graph, was off":     {crossing{way: fixed(relay.OverGraph), detour: on(time.Second)}, 101, "open graph, send graph", nil, true},
		"Graph may have it":        {crossing{way: both, doubt: true}, 10, "open smtp, open graph, send graph", nil, false},
		"Graph may have it, fixed": {crossing{way: fixed(relay.OverSMTP), doubt: true}, 1000, "open smtp, open graph, send graph", nil, false},
		"memory is away":           {crossing{way: both, memory: errors.New("database is away")}, 10, "", fault.Temporary, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.now = time.Unix(0, 0)
			up, err := c.transports().Open(t.Context(), "scan")
			if err == nil {
				_, err = up.Send(t.Context(), mail.Envelope{ID: "m1"}, c.size, strings.NewReader(""), relay.Unqueued)
			}
			if !errors.Is(err, c.err) || strings.Join(c.history, ", ") != c.want {
				t.Errorf("got %q, %v\nwant %q, %v", c.history, err, c.want, c.err)
			}
			if _, derr := c.Detour(t.Context(), "scan", c.now); c.memory == nil && (derr == nil) != c.left {
				t.Errorf("on a detour: %v", derr)
			}
		})
	}
}

func TestDetourIsRememberedForAWhile(t *testing.T) {
	t.Parallel()
	c := &crossing{way: relay.Way{SMTP: true, Graph: true}, smtpErr: refusedAuth("5.7.139"), now: time.Unix(1e9, 0)}
	via := func(want string) {
		t.Helper()
		c.history = nil
		up, err := c.transports().Open(t.Context(), "scan")
		if err != nil {
			t.Fatal(err)
		}
		if err := up.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := strings.Join(c.history, ", "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	via("open smtp, open graph, close graph")
	if c.detour.Reason != "smtp AUTH: 535 5.7.139 words" || c.detour.Account != "scan" || c.detour.Over != relay.OverGraph {
		t.Errorf("remembered %+v", c.detour)
	}
	c.now = c.now.Add(59 * time.Minute)
	via("open graph, close graph")
	c.now = c.now.Add(time.Minute)
	via("open smtp, open graph, close graph")
	c.smtpErr, c.now = nil, c.now.Add(time.Hour)
	via("open smtp, close smtp")
	if c.detour != nil {
		t.Errorf("still remembered: %+v", c.detour)
	}
}

func TestBothRoadsAreLeft(t *testing.T) {
	t.Parallel()
	c := &crossing{way: relay.Way{Fixed: relay.OverGraph, SMTP: true, Graph: true, Large: 1}}
	up, err := c.transports().Open(t.Context(), "scan")
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1, 2, 1, 2} {
		if _, err := up.Send(t.Context(), mail.Envelope{}, size, strings.NewReader(""), relay.Unqueued); err != nil {
			t.Fatal(err)
		}
	}
	up.Abort()
	want := []string{"open graph", "send graph", "open smtp", "send smtp", "send graph", "send smtp", "abort smtp", "abort graph"}
	if !slices.Equal(c.history, want) || !up.Usable() {
		t.Errorf("got %q", c.history)
	}
}
