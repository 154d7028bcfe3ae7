package relay

import (
	"context"
	"errors"

	"postern/internal/fault"
)

// planner is a [Sender] that knows its transports before it opens one.
type planner interface {
	plan(ctx context.Context, msgs []Message) error
}

// Plan says of messages that wait which transport carries them next. It opens nothing.
// One whose account is gone keeps what carried it last.
func (r *Relay) Plan(ctx context.Context, msgs []Message) error {
	if p, ok := r.cfg.Sender.(planner); ok {
		return p.plan(ctx, msgs)
	}
	return nil
}

// outlook is the way of an account, and whether SMTP is switched off on it.
type outlook struct {
	way Way
	off bool
}

func (t *Transports) plan(ctx context.Context, msgs []Message) error {
	known := map[string]outlook{}
	for i := range msgs {
		m := &msgs[i]
		if m.State != Queued && m.State != Held {
			continue
		}
		o, ok := known[m.Account]
		if !ok {
			var err error
			if o, err = t.look(ctx, m.Account); err != nil {
				if errors.Is(err, fault.NotFound) || errors.Is(err, fault.NeedsAdmin) {
					continue
				}
				return err
			}
			known[m.Account] = o
		}
		over, err := t.next(ctx, *m, o)
		if err != nil {
			return err
		}
		m.Over = over
	}
	return nil
}

func (t *Transports) look(ctx context.Context, account string) (outlook, error) {
	way, err := t.Ways(ctx, account)
	if err != nil || !way.Graph || !way.SMTP {
		return outlook{way: way}, err
	}
	off, err := t.off(ctx, account)
	return outlook{way, off}, err
}

// next chooses as [Transports.Open] and its Send do.
func (t *Transports) next(ctx context.Context, m Message, o outlook) (Transport, error) {
	overSMTP := OverSMTP
	if o.way.HVE {
		overSMTP = OverHVE
	}
	switch {
	case !o.way.Graph:
		return overSMTP, nil
	case !o.way.SMTP:
		return OverGraph, nil
	}
	doubt, err := t.Doubts.Doubt(ctx, m.ID)
	if err != nil || !doubt.IsZero() {
		return OverGraph, err
	}
	graph := o.way.Fixed == OverGraph || o.way.Fixed == Auto && o.off
	if graph && (o.off || m.Size <= o.way.Large) {
		return OverGraph, nil
	}
	return overSMTP, nil
}
