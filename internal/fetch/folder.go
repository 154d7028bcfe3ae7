package fetch

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/mailbox"
)

// What is done at once: descriptions cost little, bodies lie on the disk until they are
// committed together.
const (
	describedAtOnce = 1000
	groupMessages   = 250
	groupBytes      = 32 << 20
	groupsAhead     = 4
)

// folder goes over one folder.
func (r *run) folder(ctx context.Context, src Source, name string) error {
	src.Use(name)
	unfinished, err := r.list(ctx, src, Place(src.Mailbox(), name))
	if err != nil {
		return err
	}
	looked, err := r.recall(ctx)
	if err != nil {
		return err
	}
	if done, err := r.cutOff(ctx, looked); done || err != nil {
		return err
	}
	failed, err := r.settle(ctx, src, unfinished)
	if err != nil {
		return err
	}
	todo := r.choose(failed)
	r.rec.Total = max(r.rec.Total, r.rec.Looked+len(todo))
	for len(todo) > 0 {
		n := r.room(min(len(todo), describedAtOnce))
		if n == 0 {
			r.rec.Left += len(todo)
			return nil
		}
		if err := r.chunk(ctx, src, r.here.pick(todo[:n]), failed); err != nil {
			return err
		}
		todo = todo[n:]
	}
	return nil
}

// list finds out what a folder holds, and what earlier runs left undone.
func (r *run) list(ctx context.Context, src Source, place string) (unfinished []Entry, err error) {
	validity, ids, err := src.Search(ctx, r.query())
	if err != nil {
		return nil, source(ctx, err)
	}
	if unfinished, err = r.cfg.Ledger.Unfinished(ctx, r.task.Name); err != nil {
		return nil, ledgerError(err)
	}
	r.leaveFolder()
	r.place, r.validity = place, validity
	var others []string
	for _, e := range unfinished {
		if e.Folder == place && e.UIDValidity == validity {
			others = append(others, e.UID)
		}
	}
	r.here = newContents(ids, slices.Values(others), r.settled[r.key("")])
	return unfinished, nil
}

// leaveFolder keeps of the folder in hand what this run must not come back to.
func (r *run) leaveFolder() {
	if r.here != nil {
		r.settled[r.key("")] = r.here.done()
	}
}

// recall has the ledger tell which messages need not be looked at, and whether the task
// has looked into the folder before.
func (r *run) recall(ctx context.Context) (looked bool, err error) {
	half := false
	err = r.cfg.Ledger.Known(ctx, r.task.Name, r.place, r.validity, func(uid string, state EntryState) {
		looked = true
		half = half || uid == cutOffMark && state == cutOffBegun
		if !r.opts.Everything || state == EntryFailed { // that is tried again for what it is
			r.here.know(uid)
		}
	})
	return looked && !half, ledgerError(err)
}

// room says how many messages of n this run may still look at.
func (r *run) room(n int) int {
	most := r.task.Limits.Messages
	if r.opts.Messages > 0 {
		most = r.opts.Messages
	}
	if r.octets() <= 0 {
		return 0
	}
	if most > 0 {
		return max(0, min(n, most-r.rec.Looked))
	}
	return n
}

// octets says how many this run may still read at once.
func (r *run) octets() int64 {
	if limit := int64(r.task.Limits.Bytes); limit > 0 {
		return min(groupBytes, limit-r.rec.Bytes)
	}
	return groupBytes
}

// cutOffMark stands in the ledger, under no message's id, for the cut-off: it was begun,
// and is made when the mark is Seen.
const (
	cutOffMark  = ""
	cutOffBegun = NoMatch
)

// cutOff is for protocols that do not tell when a message arrived: what is there when
// the task first looks is what was there before. One that was cut short is made anew.
func (r *run) cutOff(ctx context.Context, looked bool) (done bool, err error) {
	if r.task.protocol() != POP3 || r.task.Source.Start == StartAll || looked || r.opts.Everything {
		return false, nil
	}
	mark := func(state EntryState) *parcel {
		return &parcel{Entry: Entry{Key: r.key(cutOffMark), State: state, Reason: "what was there before is left alone"}}
	}
	if err := r.put(ctx, mark(cutOffBegun)); err != nil {
		return true, err
	}
	for some := range slices.Chunk(r.here.open(), describedAtOnce) {
		seen := make([]*parcel, 0, len(some))
		for _, id := range r.here.pick(some) {
			seen = append(seen, &parcel{Entry: Entry{Key: r.key(id), State: Seen}})
		}
		if err := r.put(ctx, seen...); err != nil {
			return true, err
		}
	}
	return true, r.put(ctx, mark(Seen))
}

// settle makes the outstanding actions of earlier runs in this folder, and returns the
// messages to be tried again. When the folder has been renumbered, nothing more can be
// done under the old numbers.
func (r *run) settle(ctx context.Context, src Source, unfinished []Entry) (failed map[string]Entry, err error) {
	failed = make(map[string]Entry)
	var owed, given []*parcel
	for _, e := range unfinished {
		switch here := e.UIDValidity == r.validity; {
		case e.Folder != r.place:
		case !here && !r.opts.DryRun:
			if err := r.close(ctx, e, "the folder was renumbered; the message there is another's now"); err != nil {
				return nil, err
			}
		case here && e.State == EntryFailed && e.Attempts >= r.tries(): // the target refused it too often
			e.State = Parked
			given = append(given, &parcel{Entry: e})
		case here && e.State == EntryFailed:
			failed[e.UID] = e
		case here:
			owed = append(owed, &parcel{Entry: e})
		}
	}
	if err := r.pass(ctx, src, given); err != nil {
		return nil, err
	}
	return failed, r.act(ctx, src, owed)
}

// choose keeps the messages nobody has dealt with, and adds those to be tried again.
func (r *run) choose(failed map[string]Entry) []uint32 {
	todo := append(r.here.open(), r.here.unsettled(maps.Keys(failed))...)
	if r.opts.Everything {
		slices.Reverse(todo) // somebody wants to see what would become of the newest
	}
	return todo
}

// wanted is a message to be read, and the rules that may take it.
type wanted struct {
	parcel *parcel
	size   int64
	rules  []Rule
}

// chunk sorts out which of some messages are worth reading, and reads those.
func (r *run) chunk(ctx context.Context, src Source, ids []string, failed map[string]Entry) error {
	briefs, err := r.describe(ctx, src, ids, failed)
	if err != nil {
		return source(ctx, err)
	}
	var list []wanted
	var passed []*parcel
	for _, id := range ids {
		e, again := failed[id]
		if !again {
			e = Entry{Key: r.key(id)}
		}
		p := &parcel{Entry: e}
		b, there := briefs[id]
		delete(briefs, id)
		if !there {
			if err := r.gone(ctx, p); err != nil {
				return err
			}
			continue
		}
		if w, ok := r.sort(p, b); ok {
			list = append(list, w)
		} else {
			passed = append(passed, p)
		}
	}
	if err := r.pass(ctx, src, passed); err != nil {
		return err
	}
	return r.groups(ctx, src, list)
}

// describe asks for sizes and days, and for headers where they decide: where a rule looks
// at them, or the day is not known without. A message that may not be read, because it is
// too large or failed before, is to be known by its header at least.
func (r *run) describe(ctx context.Context, src Source, ids []string, failed map[string]Entry) (map[string]mailbox.Brief, error) {
	briefs := make(map[string]mailbox.Brief, len(ids))
	keep := func(b mailbox.Brief) { briefs[b.ID] = b }
	heads := ids
	if !slices.ContainsFunc(r.task.rules(), func(rule Rule) bool { return rule.Match.readsHeader() }) {
		if err := src.Describe(ctx, r.validity, ids, false, keep); err != nil {
			return nil, err
		}
		heads = nil
		for _, id := range ids {
			_, again := failed[id]
			if b, there := briefs[id]; there && (again || b.Arrived.IsZero() || b.Size > r.largest()) {
				heads = append(heads, id)
			}
		}
	}
	if len(heads) == 0 {
		return briefs, nil
	}
	return briefs, src.Describe(ctx, r.validity, heads, true, keep)
}

// sort decides by what is known before a message is read.
func (r *run) sort(p *parcel, b mailbox.Brief) (wanted, bool) {
	s, _ := r.reader.Head(bytes.NewReader(b.Header), extract.Limits{}) // what it holds is true all the same
	if b.Arrived.IsZero() {
		b.Arrived = s.Date
	}
	h := harvest{summary: s}
	h.summary.Size = b.Size
	p.About = h.about(About{Arrived: b.Arrived, Again: p.Again})
	p.MessageID = s.MessageID
	if p.State != EntryFailed && !b.Arrived.IsZero() && b.Arrived.Before(r.least()) {
		p.State = Seen
		return wanted{}, false
	}
	r.rec.Looked++
	rules := r.task.rules()
	if len(b.Header) > 0 {
		rules = candidates(rules, s)
	}
	switch most := r.largest(); {
	case idle(rules) && p.Unconverted:
		r.refuse(p, unconvertedError())
	case idle(rules):
		p.State, p.Reason = NoMatch, ""
	case b.Size > most:
		r.refuse(p, tooLarge(b.Size, most))
	default:
		return wanted{p, b.Size, rules}, true
	}
	return wanted{}, false
}

func tooLarge(size, most int64) error {
	return fault.New(fault.Permanent, "read message", "%w: %d octets, more than %d", extract.ErrTooMuch, size, most)
}

// largest is the size of the largest message that is read.
func (r *run) largest() int64 {
	if limit := int64(r.task.Limits.Message); limit > 0 {
		return min(limit, r.cfg.MaxMessage)
	}
	return r.cfg.MaxMessage
}

// refused decides whose fault it was that a message could not be read.
func (r *run) refused(ctx context.Context, p *parcel, err error, g *gathering) error {
	if ctx.Err() != nil || errors.Is(err, errDisk) {
		return err
	}
	broken := source(ctx, err)
	fail := func() {
		r.here.settle(p.UID)
		g.failed = append(g.failed, failure{p, err})
	}
	switch kind := fault.KindOf(err); {
	case errors.Is(err, extract.ErrTooMuch):
		fail()
		return nil
	case kind == fault.NotFound:
		return r.gone(ctx, p)
	case kind == fault.Conflict:
		return broken
	case kind == fault.Throttled, kind == fault.Quota, kind == fault.NeedsSignIn, kind == fault.NeedsAdmin:
		return err
	case errors.As(broken, new(lost)):
		if r.stumbled[p.Key] {
			fail() // any connection may break once; twice at one message is the message
		}
		r.stumbled[p.Key] = true
		return broken
	}
	fail()
	return nil
}

// refuse notes a failed attempt, and parks the message when trying again is of no use
// or was tried enough. This run does not come back to it.
func (r *run) refuse(p *parcel, err error) {
	r.rec.Failed++
	r.here.settle(p.UID)
	p.State, p.Reason, p.Files = EntryFailed, oneLine(err.Error()), nil
	p.Attempts++
	if p.Attempts >= r.tries() || errors.Is(err, extract.ErrTooMuch) {
		p.State = Parked
	}
}

// gone closes the book on a message that failed before and has left the folder.
func (r *run) gone(ctx context.Context, p *parcel) error {
	r.here.settle(p.UID)
	if p.State != EntryFailed {
		return nil
	}
	p.State, p.Reason = Parked, "no longer in the folder; "+p.Reason
	return r.put(ctx, p)
}

// pass enters the messages that were not taken, after what is to become of them in the
// mailbox: a cut in between has them sorted out once more, which doubles nothing.
func (r *run) pass(ctx context.Context, src Source, list []*parcel) error {
	if len(list) == 0 {
		return nil
	}
	for _, d := range r.dismissals() {
		if err := r.dismiss(ctx, src, list, d); err != nil {
			return err
		}
	}
	for _, p := range list {
		r.here.settle(p.UID)
		if is := p.became(); is == Seen || is == NoMatch {
			p.About, p.Files = p.brief(), nil
		}
	}
	if err := r.put(ctx, list...); err != nil {
		return err
	}
	for _, p := range list {
		if p.became() == NoMatch {
			r.rec.NoMatch++
		}
		if p.State != Seen {
			r.report(ctx, p.event())
		}
	}
	return nil
}
