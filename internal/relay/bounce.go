package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// reportFor is how long a report waits for an account that can send it.
const reportFor = 5 * 24 * time.Hour

// bounces queues the reports that are due, some at a time, and more while there is an
// account to send them. What cannot be queued now stays due, and is in nobody's way: the
// next time begins behind it.
func (r *Relay) bounces(ctx context.Context) {
	const most = 10 // looks into the store, with others waiting
	if r.cfg.Reporter == nil {
		return
	}
	for range most {
		behind := r.debtors
		if queued := r.settleSome(ctx); queued == 0 && (behind == "" || r.debtors != "") {
			return // else that was the end of the list, and its beginning is still to be looked at
		}
	}
}

// settleSome has a look at the next messages that owe a report, and counts the reports
// that it queued.
func (r *Relay) settleSome(ctx context.Context) (queued int) {
	due, err := r.cfg.Store.DueBounces(ctx, r.cfg.Now(), r.debtors)
	r.debtors = ""
	if err != nil {
		if ctx.Err() == nil {
			r.cfg.Log.LogAttrs(ctx, slog.LevelError, "reports to senders not queued", slog.Any("error", err))
		}
		return 0
	}
	for _, m := range due {
		queued += r.settleDebt(ctx, m)
		r.debtors = m.ID
	}
	return queued
}

// settleDebt queues the reports that are due on a message, and counts them.
func (r *Relay) settleDebt(ctx context.Context, m Message) (queued int) {
	for _, about := range [][]Recipient{m.owing(), m.waitingLate(r.cfg.Now())} {
		if len(about) == 0 {
			continue
		}
		switch done, err := r.bounce(ctx, m, about); {
		case done:
			queued++
		case err != nil && !errors.Is(err, fault.Conflict) && ctx.Err() == nil:
			r.cfg.Log.LogAttrs(ctx, slog.LevelError, "a report to a sender not queued", slog.String("id", m.ID), slog.Any("error", err))
		}
	}
	return queued
}

// bounce tells the sender of a message what became of some of its recipients, or that
// they wait, in a message of its own, if there is an account to send it. Its queueing and
// the end of the debt are one commit: nobody is told twice.
func (r *Relay) bounce(ctx context.Context, of Message, about []Recipient) (queued bool, err error) {
	now := r.cfg.Now()
	account, from, ok := r.cfg.Reporter(ctx, of)
	if !ok {
		if of.Done.IsZero() || now.Sub(of.Done) < reportFor {
			return false, nil
		}
		r.event(ctx, "unreported", of)
		return false, r.cfg.Store.DropBounce(ctx, of.ID)
	}
	d := report{of: of, about: about, from: from, to: of.From, hostname: r.cfg.Hostname, now: now, giveUp: of.Accepted.Add(r.cfg.GiveUp)}
	if of.State != Delivered { // what is delivered is kept no longer
		if d.original, d.whole, err = r.original(ctx, of, d.says() == Refused); err != nil {
			return false, err
		}
	}
	m := Message{
		ID: mail.NewID(now), Account: account, Device: of.Device, From: from, About: of.ID, Late: d.says() == Waiting, Tells: d.tells(),
		Subject:    d.subject(),
		Recipients: []Recipient{{Address: of.From, State: Waiting}}, EightBit: d.whole && of.EightBit,
		UTF8: of.From.NeedsUTF8() || from.NeedsUTF8() || d.whole && of.UTF8, State: Queued, Accepted: now, NotBefore: now,
	}
	if err := r.queueReport(ctx, &m, d); err != nil {
		return false, err
	}
	r.event(ctx, "reported", m, slog.String("about", of.ID), slog.String("of", string(of.State)), slog.String("says", string(d.says())))
	r.Wake()
	return true, nil
}

// queueReport streams a report into the queue: it may hold a whole message.
func (r *Relay) queueReport(ctx context.Context, m *Message, d report) error {
	if d.original != nil {
		defer func() { _ = d.original.Close() }()
	}
	out, in := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = in.CloseWithError(d.write(in))
	}()
	err := r.cfg.Store.PutMessage(ctx, m, out)
	_ = out.Close() // ends the writer where the store read no further
	<-written
	return err
}

// original opens what of a message goes back to its sender: all of it where the
// sender wants that and somebody did not get it, its header otherwise (RFC 3461 §4.3).
func (r *Relay) original(ctx context.Context, m Message, failed bool) (text io.ReadCloser, whole bool, err error) {
	if m.Notice.Return == mail.ReturnFull && failed && m.Size <= maxWhole {
		text, err = r.cfg.Store.Body(ctx, m.ID)
		return text, true, err
	}
	header, err := r.Header(ctx, m.ID)
	return io.NopCloser(bytes.NewReader(header[:min(len(header), maxReturned)])), false, err
}

// Header is that of a message, its lines as they are. fault.NotFound when the message
// is not kept any more.
func (r *Relay) Header(ctx context.Context, id string) ([]byte, error) {
	body, err := r.cfg.Store.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	h, err := scanHeader(bufio.NewReader(body))
	return h.fields, err
}
