package relay_test

import (
	"context"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

// roads are accounts' ways, detours and doubts, as the queue page looks at them.
type roads struct {
	ways   map[string]relay.Way
	off    string // the account on which SMTP is switched off
	doubt  string // the message that Graph may have
	looked int
}

func (r *roads) way(_ context.Context, account string) (relay.Way, error) {
	r.looked++
	w, ok := r.ways[account]
	if !ok {
		return w, fault.New(fault.NotFound, "find account", "%q", account)
	}
	return w, nil
}

func (r *roads) Detour(_ context.Context, account string, _ time.Time) (relay.Detour, error) {
	if account != r.off {
		return relay.Detour{}, fault.New(fault.NotFound, "find detour", "%q", account)
	}
	return relay.Detour{Account: account, Over: relay.OverGraph}, nil
}

func (r *roads) PutDetour(context.Context, relay.Detour) error { return nil }
func (r *roads) EndDetour(context.Context, string) error       { return nil }

func (r *roads) Doubt(_ context.Context, id string) (time.Time, error) {
	if id == r.doubt {
		return time.Now(), nil
	}
	return time.Time{}, nil
}

func (r *roads) BeginDoubt(context.Context, string, time.Time) error { return nil }
func (r *roads) EndDoubt(context.Context, string) error              { return nil }

func TestPlanNamesTheNextTransport(t *testing.T) {
	t.Parallel()
	both := relay.Way{SMTP: true, Graph: true, Large: 100}
	told := both
	told.Fixed = relay.OverGraph
	r := &roads{off: "off", doubt: "doubtful", ways: map[string]relay.Way{
		"smtp": {SMTP: true}, "hve": {SMTP: true, HVE: true}, "graph": {Graph: true}, "both": both, "told": told, "off": both,
	}}
	plan := relay.New(relay.Config{Sender: &relay.Transports{Ways: r.way, Detours: r, Doubts: r, Now: time.Now}})
	for name, c := range map[string]struct {
		m    relay.Message
		want relay.Transport
	}{
		"the only one":             {relay.Message{Account: "smtp"}, relay.OverSMTP},
		"the only one, HVE":        {relay.Message{Account: "hve"}, relay.OverHVE},
		"the only one, Graph":      {relay.Message{Account: "graph", Size: 1000}, relay.OverGraph},
		"held":                     {relay.Message{Account: "graph", State: relay.Held}, relay.OverGraph},
		"SMTP first":               {relay.Message{Account: "both"}, relay.OverSMTP},
		"was given to Graph":       {relay.Message{Account: "both", ID: "doubtful", Over: relay.OverGraph}, relay.OverGraph},
		"was refused by Graph":     {relay.Message{Account: "both", Over: relay.OverGraph}, relay.OverSMTP},
		"SMTP is off":              {relay.Message{Account: "off", Size: 1000}, relay.OverGraph},
		"told to":                  {relay.Message{Account: "told", Size: 100}, relay.OverGraph},
		"told to, but it is large": {relay.Message{Account: "told", Size: 101}, relay.OverSMTP},
		"no such account":          {relay.Message{Account: "gone", Over: relay.OverHVE}, relay.OverHVE},
		"it has gone":              {relay.Message{Account: "both", State: relay.Delivered, Over: relay.OverGraph}, relay.OverGraph},
	} {
		if c.m.State == "" {
			c.m.State = relay.Queued
		}
		msgs := []relay.Message{c.m}
		if err := plan.Plan(t.Context(), msgs); err != nil || msgs[0].Over != c.want {
			t.Errorf("%s: %q, %v; want %q", name, msgs[0].Over, err, c.want)
		}
	}
	r.looked = 0
	if err := plan.Plan(t.Context(), []relay.Message{{Account: "smtp", State: relay.Queued}, {Account: "smtp", State: relay.Queued}}); err != nil || r.looked != 1 {
		t.Errorf("looked %d times, %v", r.looked, err)
	}
}
