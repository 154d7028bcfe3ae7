package fetch

import (
	"context"
	"errors"
	"time"

	"postern/internal/fault"
)

// message takes one message as far as saved, no_match, failed or parked. An error
// ends the pass or the run; what is wrong with the message alone is none.
func (r *run) message(ctx context.Context, src Source, e *Entry, size int64, arrived time.Time) error {
	if !r.stumbled[e.UID] {
		r.rec.Looked++
	}
	if size > r.cfg.MaxMessage {
		return r.fail(ctx, e, Event{UID: e.UID}, tooMuch("%d octets, more than %d", size, r.cfg.MaxMessage))
	}
	create := r.disk.create
	if r.opts.DryRun {
		create = newMeasure
	}
	h, err := r.reap(ctx, src, e.UIDValidity, e.UID, create)
	files := h.files()
	ev := Event{UID: e.UID, MessageID: h.header.text("Message-Id"), Subject: h.header.text("Subject"), Files: files}
	e.MessageID, e.Digest = ev.MessageID, h.digest
	if err != nil {
		discard(files)
		return r.refused(ctx, e, ev, err)
	}
	r.settled[e.UID] = true
	switch {
	case len(files) == 0:
		return r.noMatch(ctx, e, ev)
	case r.opts.DryRun:
		return r.wouldSave(ctx, ev)
	}
	return r.save(ctx, e, ev, r.manifest(e.Key, arrived, h))
}

func (r *run) noMatch(ctx context.Context, e *Entry, ev Event) error {
	ev.State = NoMatch
	e.State, e.Reason, e.Files = NoMatch, "", nil
	if !r.opts.DryRun {
		if err := r.put(ctx, e); err != nil {
			return err
		}
	}
	r.report(ctx, ev)
	return nil
}

func (r *run) wouldSave(ctx context.Context, ev Event) error {
	taken := make(names)
	for i := range ev.Files {
		f := &ev.Files[i]
		f.Name = taken.choose(r.disk.dir, safeName(f.Original, f.ContentType, i+1))
	}
	r.saved(ctx, ev)
	return nil
}

// save hands the files over, unless the message was saved under an earlier
// numbering of the folder.
func (r *run) save(ctx context.Context, e *Entry, ev Event, m Manifest) error {
	twin, err := r.cfg.Ledger.Twin(ctx, e.Key, e.MessageID, e.Digest)
	switch {
	case err == nil:
		discard(ev.Files)
		e.State, e.Files, e.Reason = Saved, nil, "saved before the folder was renumbered, by run "+twin.Run
		return r.put(ctx, e)
	case !errors.Is(err, fault.NotFound):
		discard(ev.Files)
		return ledgerError(err)
	}
	e.Reason = ""
	if err := r.promise(ctx, e, ev.Files, m); err != nil {
		return err
	}
	if err := r.finish(ctx, e); err != nil {
		return err
	}
	ev.Files = e.attachments()
	r.saved(ctx, ev)
	return nil
}

// saved counts and reports a message that was handed over.
func (r *run) saved(ctx context.Context, ev Event) {
	ev.State = Saved
	r.rec.Saved++
	r.rec.Files += len(ev.Files)
	r.report(ctx, ev)
}

// refused decides whose fault it was that a message could not be read.
func (r *run) refused(ctx context.Context, e *Entry, ev Event, err error) error {
	if ctx.Err() != nil || errors.Is(err, errDisk) {
		return err
	}
	if errors.Is(err, errTooMuch) {
		return r.fail(ctx, e, ev, err)
	}
	broken := source(ctx, err)
	switch kind := fault.KindOf(err); {
	case kind == fault.NotFound:
		return r.gone(ctx, e)
	case kind == fault.Conflict:
		return broken
	case kind == fault.Throttled, kind == fault.Quota, kind == fault.NeedsSignIn, kind == fault.NeedsAdmin:
		return err
	case errors.As(broken, new(lost)):
		if !r.stumbled[e.UID] {
			r.stumbled[e.UID] = true // any connection may break once; twice at one message is the message
			return broken
		}
		if err := r.fail(ctx, e, ev, err); err != nil {
			return err
		}
		return broken
	}
	return r.fail(ctx, e, ev, err)
}

// fail enters a failed attempt, and parks the message when trying again is of no
// use or was tried enough. This run does not come back to it.
func (r *run) fail(ctx context.Context, e *Entry, ev Event, err error) error {
	r.rec.Failed++
	r.settled[e.UID] = true
	e.State, e.Reason, e.Files = EntryFailed, validText(bounded(err.Error())), nil
	e.Attempts++
	if e.Attempts >= maxAttempts || errors.Is(err, errTooMuch) {
		e.State = Parked
	}
	ev.State, ev.Files, ev.Reason = e.State, nil, e.Reason
	if !r.opts.DryRun {
		if err := r.put(ctx, e); err != nil {
			return err
		}
	}
	r.report(ctx, ev)
	return nil
}
