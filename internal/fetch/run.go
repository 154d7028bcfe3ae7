package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/handover"
	"postern/internal/mailbox"
)

const (
	defaultTries  = 3 // of a message, one a run
	maxReconnects = 5 // in a row without a message done
)

// run is one run of a task.
type run struct {
	*Fetcher
	task   Task
	opts   Options
	rec    Run
	disk   disk
	path   handover.PathTemplate
	target handover.Target // nil: the folder is all
	log    journal
	reader *reader
	told   counter

	// The folder in use on the present connection.
	place    string
	validity uint32
	here     *contents

	settled  map[Key]mailbox.IDs // by folder, of those in hand before: what this run does not come back to
	stumbled map[Key]bool        // messages that broke the connection once in this run
	suspect  map[Key]bool        // messages that were in flight when one broke, and are read alone
	progress int                 // grows with every message settled
	trouble  error               // the first that did not stop the run
	noes     int                 // actions that the server refused without a reason
	refusals int                 // actions given up
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

// troubled notes what does not stop the run.
func (r *run) troubled(err error) {
	if r.trouble == nil {
		r.trouble = err
	}
	r.log.add(r.cfg.Now(), "trouble: "+err.Error())
}

// all brings earlier messages to their end, then goes over the folders, anew after each
// broken connection: what is done is known, so a pass simply starts over.
func (r *run) all(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if r.target != nil {
		defer func() { _ = r.target.Close() }() // nothing depends on how it ends
	}
	if !r.opts.DryRun {
		if err := r.resume(ctx); err != nil {
			return err
		}
	}
	broken, before := 0, 0
	for {
		err := r.session(ctx)
		var l lost
		if err == nil {
			return cmp.Or(r.blame(ctx), r.trouble)
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
		r.log.add(r.cfg.Now(), "connection lost: "+l.err.Error())
		if err := sleep(ctx, r.cfg.Pause<<(broken-1)); err != nil {
			return err
		}
	}
}

// prepare makes ready what the hand-over needs, before the mailbox is bothered.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.path, err = r.task.Handover.pathTemplate(); err != nil {
		return err
	}
	if r.opts.DryRun && r.task.Created.IsZero() { // its directory is made when it is saved
		return nil
	}
	if err := r.disk.check(); err != nil {
		return err
	}
	if r.opts.DryRun {
		return nil
	}
	r.disk.volume = openVolume(r.disk.dir)
	if r.task.Handover.Kind() == "" {
		return nil
	}
	r.target, err = r.cfg.Targets(ctx, r.task)
	return err
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

// resume finishes what was promised before, which takes no mailbox, and sweeps what
// never was.
func (r *run) resume(ctx context.Context) error {
	unfinished, err := r.cfg.Ledger.Unfinished(ctx, r.task.Name)
	if err != nil {
		return ledgerError(err)
	}
	promised := make(map[string]bool)
	var staged, owed []*parcel
	for _, e := range unfinished {
		for _, f := range e.Files {
			promised[f.Staging] = true
		}
		switch {
		case e.State == Staged:
			staged = append(staged, &parcel{Entry: e})
		case e.State == Saved && r.target != nil:
			owed = append(owed, &parcel{Entry: e})
		}
	}
	if err := r.disk.sweep(promised, r.cfg.Now()); err != nil {
		return err
	}
	if staged, err = r.finish(ctx, staged); err != nil {
		return err
	}
	return r.owed(ctx, append(owed, staged...))
}

// session goes over the folders once, on one connection.
func (r *run) session(ctx context.Context) error {
	src, err := r.cfg.Sources.Open(ctx, r.task.Account, r.task.protocol())
	if err != nil {
		return source(ctx, err)
	}
	defer func() { _ = src.Close() }() // nothing depends on how it ends
	r.rec.Left = 0
	if err := r.targets(ctx, src); err != nil {
		return err
	}
	folders, err := r.folders(ctx, src)
	if err != nil {
		return source(ctx, err)
	}
	if err := r.leave(ctx, src.Mailbox(), folders); err != nil {
		return err
	}
	for _, name := range folders {
		err := r.folder(ctx, src, name)
		if errors.Is(err, fault.NotFound) && !errors.As(err, new(lost)) {
			r.troubled(err) // a folder that is gone is no reason to leave the others
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t Task) protocol() Protocol {
	if t.Source.Protocol == "" {
		return IMAP
	}
	return t.Source.Protocol
}

// targets sees to it that messages can be moved before the first is read.
func (r *run) targets(ctx context.Context, src Source) error {
	for _, a := range []Action{r.task.After, r.task.Unmatched, r.task.Failure.Do} {
		if a.Do != Move {
			continue
		}
		there, err := src.HasFolder(ctx, a.To)
		if err == nil && !there && r.task.MakeFolders && !r.opts.DryRun {
			there, err = true, src.MakeFolder(ctx, a.To)
		}
		if err != nil {
			return source(ctx, err)
		}
		if !there && (!r.opts.DryRun || !r.task.MakeFolders) {
			return fault.New(fault.NeedsAdmin, "look for target folder", "the mailbox has no folder %q", a.To).
				WithHint("create the folder in the mailbox, choose another, or say make_folders: true")
		}
	}
	return nil
}

// folders lists the folders to look at. Patterns do not find those that messages are
// moved to: they would be taken again there.
func (r *run) folders(ctx context.Context, src Source) ([]string, error) {
	wanted := r.task.Source.Folders
	if len(wanted) == 0 {
		wanted = []string{"INBOX"}
	}
	out := newChoice(r.task.Source.Exclude)
	if !strings.ContainsAny(strings.Join(wanted, ""), "*?") {
		return out.without(wanted), nil
	}
	all, err := src.Folders(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range []Action{r.task.After, r.task.Unmatched, r.task.Failure.Do} {
		if a.Do == Move {
			out.words = append(out.words, a.To)
		}
	}
	in := newChoice(wanted)
	var names []string
	for _, f := range all {
		if !f.Closed && in.has(f.Name) {
			names = append(names, f.Name)
		}
	}
	return out.without(names), nil
}

// choice is a list of folder names, some of them patterns.
type choice struct {
	words    []string
	patterns Patterns
}

func newChoice(names []string) choice {
	var c choice
	for _, n := range names {
		p, err := NewPattern(n)
		if err == nil && strings.ContainsAny(n, "*?") && !p.negate {
			c.patterns = append(c.patterns, p)
		} else {
			c.words = append(c.words, n)
		}
	}
	return c
}

func (c choice) has(name string) bool {
	for _, w := range c.words {
		if w == name || strings.EqualFold(w, "INBOX") && strings.EqualFold(name, "INBOX") {
			return true
		}
	}
	return len(c.patterns) > 0 && c.patterns.Fit(name)
}

func (c choice) without(names []string) []string {
	var out []string
	for _, n := range names {
		if !c.has(n) {
			out = append(out, n)
		}
	}
	return out
}

// leave closes the entries of folders that are no longer the task's.
func (r *run) leave(ctx context.Context, box string, folders []string) error {
	if r.opts.DryRun {
		return nil
	}
	ours := make(map[string]bool)
	for _, f := range folders {
		ours[Place(box, f)] = true
	}
	unfinished, err := r.cfg.Ledger.Unfinished(ctx, r.task.Name)
	if err != nil {
		return ledgerError(err)
	}
	for _, e := range unfinished {
		if !ours[e.Folder] {
			if err := r.close(ctx, e, "the folder is no longer the task's"); err != nil {
				return err
			}
		}
	}
	return nil
}

// close ends an entry whose message cannot be reached any more under its id.
func (r *run) close(ctx context.Context, e Entry, why string) error {
	switch e.State {
	case Saved, HandedOver, ActionFailed:
		if e.State == Saved && r.target != nil {
			return nil // the target still wants it, which takes no mailbox
		}
		state, reason := e.ended()
		if e.State, e.Reason = state, why; e.Owed != nil {
			e.Reason, e.Owed = together(why, reason), nil
		}
	case EntryFailed:
		e.State, e.Reason = Parked, why+"; "+e.Reason
	default:
		return nil
	}
	return r.put(ctx, &parcel{Entry: e})
}

// query is what the server is asked for.
func (r *run) query() mailbox.Query {
	o := r.task.Source
	q := mailbox.Query{Unread: o.Which == Unread, Unflagged: o.Which == Unflagged, Raw: o.Search}
	if o.Which == Untagged {
		q.Untagged = r.task.After.To
	}
	if least := r.least(); !least.IsZero() {
		q.Since = least.UTC().Truncate(day).AddDate(0, 0, -1) // no time zone can spoil this bound
	}
	return q
}

// least is the earliest arrival of a message that the task looks at.
func (r *run) least() time.Time {
	o := r.task.Source
	least := o.Since.day
	later := func(t time.Time) {
		if t.After(least) {
			least = t
		}
	}
	if o.Start != StartAll && !r.task.Created.IsZero() {
		later(r.task.Created.Truncate(time.Second)) // servers keep whole seconds
	}
	if o.MaxAge > 0 {
		later(r.cfg.Now().Add(-time.Duration(o.MaxAge)))
	}
	return least
}

func (r *run) tries() int {
	if r.task.Failure.Tries > 0 {
		return r.task.Failure.Tries
	}
	return defaultTries
}

func (r *run) clash() handover.Clash { return r.task.Handover.Clash }

func (r *run) key(id string) Key {
	return Key{Task: r.task.Name, Folder: r.place, UIDValidity: r.validity, UID: id}
}

// advance enters the state that parcels have come to, in one commit.
func (r *run) advance(ctx context.Context, state EntryState, parcels []*parcel) error {
	if len(parcels) == 0 {
		return nil
	}
	now, keys := r.cfg.Now(), make([]Key, 0, len(parcels))
	for _, p := range parcels {
		p.State, p.Reason, p.Run, p.Updated = state, "", r.rec.ID, now
		keys = append(keys, p.Key)
	}
	if err := r.cfg.Ledger.Advance(ctx, state, r.rec.ID, now, keys...); err != nil {
		return ledgerError(err)
	}
	r.step(string(state))
	return nil
}

// put enters parcels in the ledger, in one commit.
func (r *run) put(ctx context.Context, parcels ...*parcel) error {
	entries := make([]Entry, 0, len(parcels))
	for _, p := range parcels {
		p.Run, p.Updated = r.rec.ID, r.cfg.Now()
		entries = append(entries, p.Entry)
	}
	if len(entries) == 0 || r.opts.DryRun {
		return nil
	}
	if err := r.cfg.Ledger.PutEntries(ctx, entries...); err != nil {
		return ledgerError(err)
	}
	r.step(fmt.Sprint(entries[0].State))
	return nil
}
