package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

const (
	maxAttempts   = 3 // of a message, one a run
	maxReconnects = 5 // in a row without a message done
	actEvery      = 50
)

// run is one run of a task.
type run struct {
	*Fetcher
	task  Task
	opts  Options
	place string // of the folder on the present connection
	disk  disk
	rec   Run

	stumbled map[string]bool // messages that broke the connection once in this run
	settled  map[string]bool // messages this run has dealt with and does not come back to
	progress int             // grows with every message settled
	refusal  error           // why the server would not mark saved messages
}

// lost marks a failure after which a new connection may help.
type lost struct{ err error }

func (l lost) Error() string { return l.err.Error() }
func (l lost) Unwrap() error { return l.err }

// source classifies what a Source said.
func source(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	switch fault.KindOf(err) {
	case fault.Temporary, fault.Unknown, fault.Conflict:
		return lost{err}
	}
	return err
}

// all brings earlier messages to their end, then makes passes over the folder, a
// new one after each broken connection: what is done is known, so a pass simply
// starts over.
func (r *run) all(ctx context.Context) error {
	if err := r.disk.check(); err != nil {
		return err
	}
	if !r.opts.DryRun {
		if err := r.resume(ctx); err != nil {
			return err
		}
	}
	broken, before := 0, 0
	for {
		err := r.pass(ctx)
		var l lost
		if err == nil {
			return r.refusal
		}
		if !errors.As(err, &l) || ctx.Err() != nil {
			return err
		}
		if r.progress > before {
			broken, before = 0, r.progress
		}
		if broken++; broken > maxReconnects {
			return l.err
		}
		r.cfg.Log.WarnContext(ctx, "connection_lost", "task", r.task.Name, "run", r.rec.ID, "error", l.err, "reconnect", broken)
		if err := sleep(ctx, r.cfg.Pause<<(broken-1)); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// resume finishes what was promised before, which takes no mailbox, and sweeps
// what never was.
func (r *run) resume(ctx context.Context) error {
	unfinished, err := r.cfg.Ledger.Unfinished(ctx, r.task.Name)
	if err != nil {
		return ledgerError(err)
	}
	promised := make(map[string]bool)
	for _, e := range unfinished {
		for _, f := range e.Files {
			promised[f.Staging] = true
		}
	}
	if err := r.disk.sweep(promised, r.cfg.Now()); err != nil {
		return err
	}
	for _, e := range unfinished {
		if e.State != Staged {
			continue
		}
		if err := r.finish(ctx, &e); err != nil {
			return err
		}
		r.saved(ctx, Event{UID: e.UID, MessageID: e.MessageID, Files: e.attachments()})
	}
	return nil
}

// pass goes over the folder once on one connection.
func (r *run) pass(ctx context.Context) (err error) {
	src, err := r.cfg.Sources.Open(ctx, r.task.Account, IMAP)
	if err != nil {
		return source(ctx, err)
	}
	defer func() { _ = src.Close() }() // nothing depends on how it ends
	src.Use(r.task.Folder)
	r.place = Place(src.Mailbox(), r.task.Folder)
	if err := r.target(ctx, src); err != nil {
		return err
	}
	validity, uids, err := src.Search(ctx, mailbox.Query{Unread: r.task.Unread, Since: r.since()})
	if err != nil {
		return source(ctx, err)
	}
	known, err := r.cfg.Ledger.Known(ctx, r.task.Name, r.place, validity)
	if err != nil {
		return ledgerError(err)
	}
	failed, err := r.settle(ctx, src, validity)
	if err != nil {
		return err
	}
	todo := r.choose(uids, known, failed)
	for chunk := range slices.Chunk(todo, actEvery) {
		if err := r.chunk(ctx, src, validity, chunk, failed); err != nil {
			return err
		}
	}
	return nil
}

// target checks that messages can be moved before the first is read.
func (r *run) target(ctx context.Context, src Source) error {
	if r.task.After != AfterMove {
		return nil
	}
	there, err := src.HasFolder(ctx, r.task.MoveTo)
	if err != nil {
		return source(ctx, err)
	}
	if !there {
		return fault.New(fault.NeedsAdmin, "look for target folder", "the mailbox has no folder %q", r.task.MoveTo).
			WithHint("create the folder in the mailbox, or choose another")
	}
	return nil
}

// since is a lower bound of arrival that no time zone can spoil.
func (r *run) since() time.Time {
	if r.task.Start != StartNew || r.task.Created.IsZero() {
		return time.Time{}
	}
	return r.task.Created.UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
}

// early reports a message that arrived before the task was made. Servers keep
// whole seconds.
func (r *run) early(arrived time.Time) bool {
	return r.task.Start == StartNew && arrived.Before(r.task.Created.Truncate(time.Second))
}

// settle makes the outstanding actions of earlier runs, and returns the messages to
// be tried again. Entries of a folder that is no longer there, or no longer the
// task's, are closed: nothing more can be done under their numbers.
func (r *run) settle(ctx context.Context, src Source, validity uint32) (failed map[string]Entry, err error) {
	failed = make(map[string]Entry)
	unfinished, err := r.cfg.Ledger.Unfinished(ctx, r.task.Name)
	if err != nil {
		return nil, ledgerError(err)
	}
	var saved []Entry
	for _, e := range unfinished {
		here := e.Folder == r.place && e.UIDValidity == validity
		switch {
		case here && e.State == Saved:
			saved = append(saved, e)
		case here && e.State == EntryFailed:
			failed[e.UID] = e
		case !here && !r.opts.DryRun:
			if err := r.close(ctx, e); err != nil {
				return nil, err
			}
		}
	}
	return failed, r.act(ctx, src, validity, saved)
}

func (r *run) close(ctx context.Context, e Entry) error {
	switch e.State {
	case Saved:
		e.State, e.Reason = Done, "the folder was replaced; the message there is another's now"
	case EntryFailed:
		e.State, e.Reason = Parked, "the folder was replaced; "+e.Reason
	default:
		return nil
	}
	return r.put(ctx, &e)
}

// choose keeps the messages nobody has dealt with, and adds those to be tried again.
func (r *run) choose(uids []string, known map[string]EntryState, failed map[string]Entry) []string {
	var todo []string
	for _, uid := range uids {
		if _, seen := known[uid]; !seen && !r.settled[uid] {
			todo = append(todo, uid)
		}
	}
	for uid := range failed {
		if !r.settled[uid] && !slices.Contains(todo, uid) {
			todo = append(todo, uid)
		}
	}
	return todo
}

// chunk takes some messages and acts on those that were saved.
func (r *run) chunk(ctx context.Context, src Source, validity uint32, uids []string, failed map[string]Entry) error {
	type described struct {
		size    int64
		arrived time.Time
	}
	about := make(map[string]described, len(uids))
	err := src.Describe(ctx, validity, uids, false, func(b mailbox.Brief) {
		about[b.ID] = described{b.Size, b.Arrived}
	})
	if err != nil {
		return source(ctx, err)
	}
	var saved []Entry
	for _, uid := range uids {
		e, again := failed[uid]
		if !again {
			e = Entry{Key: Key{Task: r.task.Name, Folder: r.place, UIDValidity: validity, UID: uid}}
		}
		d, there := about[uid]
		if !there {
			err = r.gone(ctx, &e)
		} else if !r.early(d.arrived) {
			err = r.message(ctx, src, &e, d.size, d.arrived)
		}
		if err != nil {
			return err
		}
		if e.State == Saved {
			saved = append(saved, e)
		}
	}
	return r.act(ctx, src, validity, saved)
}

// gone closes the book on a message that failed before and has left the folder.
func (r *run) gone(ctx context.Context, e *Entry) error {
	if e.State != EntryFailed || r.opts.DryRun {
		return nil
	}
	e.State, e.Reason = Parked, "no longer in the folder; "+e.Reason
	return r.put(ctx, e)
}

// act makes the mailbox action for saved messages. When the server refuses, they
// stay saved and the next run asks again; fetching others goes on meanwhile.
func (r *run) act(ctx context.Context, src Source, validity uint32, saved []Entry) error {
	if len(saved) == 0 || r.opts.DryRun {
		return nil
	}
	uids := make([]string, 0, len(saved))
	for _, e := range saved {
		uids = append(uids, e.UID)
	}
	var err error
	switch r.task.After {
	case AfterRead:
		err = src.MarkRead(ctx, validity, uids)
	case AfterMove:
		err = src.Move(ctx, validity, uids, r.task.MoveTo)
	case AfterDelete:
		err = src.Delete(ctx, validity, uids)
	}
	if err != nil {
		err = source(ctx, fmt.Errorf("files are saved, but the messages are not dealt with (%s): %w", r.task.After, err))
		switch fault.KindOf(err) {
		case fault.Permanent, fault.NeedsAdmin, fault.NotFound, fault.Denied, fault.Invalid:
			r.refusal = err
			return nil
		}
		return err
	}
	r.step("acted")
	now := r.cfg.Now()
	for i := range saved {
		saved[i].State, saved[i].Run, saved[i].Updated = Done, r.rec.ID, now
	}
	if err := r.cfg.Ledger.PutEntries(ctx, saved...); err != nil {
		return ledgerError(err)
	}
	r.step(string(Done))
	return nil
}

// report tells about a message that is dealt with.
func (r *run) report(ctx context.Context, ev Event) {
	r.progress++
	level := slog.LevelInfo
	switch ev.State {
	case NoMatch:
		level = slog.LevelDebug
	case EntryFailed, Parked:
		level = slog.LevelWarn
	}
	if !r.opts.DryRun {
		r.cfg.Log.Log(ctx, level, "message_"+string(ev.State), "task", r.task.Name, "run", r.rec.ID,
			"uid", ev.UID, "message_id", ev.MessageID, "files", len(ev.Files), "reason", ev.Reason)
	}
	if r.opts.Progress != nil {
		r.opts.Progress(ev)
	}
}
