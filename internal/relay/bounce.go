package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// reportFor is how long a report waits for an account that can send it.
const reportFor = 5 * 24 * time.Hour

// bounces queues the reports that are due. What cannot be queued now stays due.
func (r *Relay) bounces(ctx context.Context) {
	if r.cfg.Reporter == nil {
		return
	}
	due, err := r.cfg.Store.DueBounces(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.cfg.Log.LogAttrs(ctx, slog.LevelError, "reports on failed messages not queued", slog.Any("error", err))
		}
		return
	}
	for _, m := range due {
		if err := r.bounce(ctx, m); err != nil && !errors.Is(err, fault.Conflict) && ctx.Err() == nil {
			r.cfg.Log.LogAttrs(ctx, slog.LevelError, "a report on a failed message not queued", slog.String("id", m.ID), slog.Any("error", err))
		}
	}
}

// bounce tells the sender of a failed message, in a message of its own. Its queueing
// and the end of the debt are one commit: nobody is told twice.
func (r *Relay) bounce(ctx context.Context, failed Message) error {
	now := r.cfg.Now()
	account, from, ok := r.cfg.Reporter(ctx, failed)
	if !ok {
		if now.Sub(failed.Done) < reportFor {
			return nil
		}
		r.event(ctx, "unreported", failed)
		return r.cfg.Store.DropBounce(ctx, failed.ID)
	}
	header, err := r.headerOf(ctx, failed.ID)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	d := report{of: failed, from: from, to: failed.From, hostname: r.cfg.Hostname, now: now, header: header}
	if err := d.write(&b); err != nil {
		return err
	}
	m := Message{
		ID: mail.NewID(now), Account: account, Device: failed.Device, From: from, About: failed.ID, Subject: d.subject(),
		Recipients: []Recipient{{Address: failed.From, State: Waiting}},
		UTF8:       failed.From.NeedsUTF8() || from.NeedsUTF8(), State: Queued, Accepted: now, NotBefore: now,
	}
	if err := r.cfg.Store.PutMessage(ctx, &m, &b); err != nil {
		return err
	}
	r.event(ctx, "reported", m, slog.String("about", failed.ID))
	r.Wake()
	return nil
}

// headerOf reads the header of a message that was kept.
func (r *Relay) headerOf(ctx context.Context, id string) ([]byte, error) {
	body, err := r.cfg.Store.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	h, err := scanHeader(bufio.NewReader(body))
	return h.fields, err
}
