package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"syscall"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/mailbox"
)

// What is done at once: descriptions cost little, bodies lie on the disk until they are
// committed together.
const (
	describedAtOnce = 500
	groupMessages   = 250
	groupBytes      = 32 << 20
)

// folder goes over one folder.
func (r *run) folder(ctx context.Context, src Source, name string) error {
	src.Use(name)
	r.place = Place(src.Mailbox(), name)
	validity, ids, err := src.Search(ctx, r.query())
	if err != nil {
		return source(ctx, err)
	}
	r.validity, r.present = validity, make(map[string]bool, len(ids))
	for _, id := range ids {
		r.present[id] = true
	}
	known, err := r.cfg.Ledger.Known(ctx, r.task.Name, r.place, validity)
	if err != nil {
		return ledgerError(err)
	}
	if done, err := r.cutOff(ctx, ids, known); done || err != nil {
		return err
	}
	failed, err := r.settle(ctx, src)
	if err != nil {
		return err
	}
	todo := r.choose(ids, known, failed)
	r.rec.Total = max(r.rec.Total, r.rec.Looked+len(todo))
	for len(todo) > 0 {
		n := r.room(min(len(todo), describedAtOnce))
		if n == 0 {
			r.rec.Left += len(todo)
			return nil
		}
		if err := r.chunk(ctx, src, todo[:n], failed); err != nil {
			return err
		}
		todo = todo[n:]
	}
	return nil
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

// cutOffMark stands in the ledger, under no message's id, for the cut-off being made.
const cutOffMark = ""

// cutOff is for protocols that do not tell when a message arrived: what is there when
// the task first looks is what was there before.
func (r *run) cutOff(ctx context.Context, ids []string, known map[string]EntryState) (done bool, err error) {
	if r.task.protocol() != POP3 || r.task.Source.Start == StartAll || len(known) > 0 || r.opts.Everything {
		return false, nil
	}
	seen := []*parcel{{Entry: Entry{Key: r.key(cutOffMark), State: Seen, Reason: "what was there before is left alone"}}}
	for _, id := range ids {
		seen = append(seen, &parcel{Entry: Entry{Key: r.key(id), State: Seen}})
	}
	return true, r.put(ctx, seen...)
}

// settle makes the outstanding actions of earlier runs in this folder, and returns the
// messages to be tried again. When the folder has been renumbered, nothing more can be
// done under the old numbers.
func (r *run) settle(ctx context.Context, src Source) (failed map[string]Entry, err error) {
	unfinished, err := r.cfg.Ledger.Unfinished(ctx, r.task.Name)
	if err != nil {
		return nil, ledgerError(err)
	}
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
func (r *run) choose(ids []string, known map[string]EntryState, failed map[string]Entry) []string {
	var todo []string
	for _, id := range ids {
		state, old := known[id]
		if (!old || r.opts.Everything && state != EntryFailed) && !r.settled[r.key(id)] {
			todo = append(todo, id)
		}
	}
	for id := range failed {
		if !r.settled[r.key(id)] {
			todo = append(todo, id)
		}
	}
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
	briefs := make(map[string]mailbox.Brief, len(ids))
	err := src.Describe(ctx, r.validity, ids, true, func(b mailbox.Brief) { briefs[b.ID] = b })
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
	if !r.stumbled[p.Key] {
		r.rec.Looked++
	}
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

// groups reads messages, as many at once as are then committed together.
func (r *run) groups(ctx context.Context, src Source, list []wanted) error {
	for len(list) > 0 {
		most := r.octets()
		if most <= 0 {
			r.rec.Left += len(list)
			r.rec.Looked -= len(list)
			return nil
		}
		n, size := 0, int64(0)
		for n < len(list) && n < groupMessages && (n == 0 || size+list[n].size <= most && !r.suspect[list[n].parcel.Key]) {
			size += list[n].size
			if n++; r.suspect[list[n-1].parcel.Key] || r.told.probing {
				break
			}
		}
		if err := r.group(ctx, src, list[:n]); err != nil {
			return err
		}
		list = list[n:]
		if err := r.tell(ctx); err != nil {
			return err
		}
	}
	return nil
}

// group reads some messages and hands them over. What was read before a connection broke
// or a disk was full is handed over all the same: a disk with room for less than a group
// would never see the first of it.
func (r *run) group(ctx context.Context, src Source, list []wanted) error {
	by, ids := make(map[string]wanted, len(list)), make([]string, 0, len(list))
	for _, w := range list {
		by[w.parcel.UID] = w
		ids = append(ids, w.parcel.UID)
	}
	g := &gathering{}
	var own error
	err := src.Bodies(ctx, r.validity, ids, func(id string, body io.Reader, err error) error {
		own = r.read(ctx, by[id], body, err, g)
		return own
	})
	switch {
	case own != nil:
		err = own
	case err != nil:
		err = r.undecided(ctx, list, err, g)
	}
	if err != nil && !errors.As(err, new(lost)) && !errors.Is(err, syscall.ENOSPC) {
		r.abandon(g.take)
		return err
	}
	if commit := r.commit(ctx, src, g); commit != nil {
		return commit
	}
	return err
}

// undecided finds out whose fault a broken connection is: those of the group that were
// not told of yet are read alone from now on, and one that was alone did it.
func (r *run) undecided(ctx context.Context, list []wanted, err error, g *gathering) error {
	if err = source(ctx, err); !errors.As(err, new(lost)) {
		return err
	}
	if len(list) == 1 && !r.settled[list[0].parcel.Key] {
		return r.refused(ctx, list[0].parcel, err, g)
	}
	for _, w := range list {
		r.suspect[w.parcel.Key] = true
	}
	return err
}

// gathering is what became of the messages of a group.
type gathering struct{ take, passed []*parcel }

// read takes in one message. An error ends the group.
func (r *run) read(ctx context.Context, w wanted, body io.Reader, err error, g *gathering) error {
	h := &harvest{reader: r.reader, rules: w.rules, create: r.create()}
	if err == nil {
		err = h.reap(body, r.limits(w.rules), r.largest())
		r.rec.Bytes += h.summary.Size
	}
	if err != nil {
		discard(h.surplus(nil))
		return r.refused(ctx, w.parcel, err, g)
	}
	switch taken := r.taken(w.parcel, h); {
	case taken:
		g.take = append(g.take, w.parcel)
	case w.parcel.Unconverted:
		return r.refused(ctx, w.parcel, unconvertedError(), g)
	default:
		g.passed = append(g.passed, w.parcel)
	}
	return nil
}

func (r *run) create() func() (output, error) {
	if r.opts.DryRun {
		return newMeasure
	}
	return r.disk.create
}

func (r *run) limits(rules []Rule) extract.Limits {
	const opened = 5
	l := extract.Limits{Size: r.largest()}
	if r.target != nil {
		l.Text = toldText
	}
	if slices.ContainsFunc(rules, func(rule Rule) bool { return len(rule.Match.Body) > 0 }) {
		l.Text = filteredText
	}
	if r.task.Nested == Open {
		l.Open = opened
	}
	return l
}

// taken has the rules decide about a message that was read.
func (r *run) taken(p *parcel, h *harvest) bool {
	r.settled[p.Key] = true
	p.About, p.MessageID, p.Digest = h.about(p.About), h.summary.MessageID, h.digest
	rule, files, ok := h.choose()
	discard(h.surplus(files))
	if !ok {
		p.State, p.Reason, p.Files = NoMatch, "", nil
		return false
	}
	p.Rule, p.Files, p.Reason, p.save = rule.Name, files, "", rule.Take
	if p.Unconverted {
		p.Reason = notConverted
	}
	return true
}

// twins finds the messages that were saved when they were numbered otherwise: the other
// is of another UIDVALIDITY, or is no longer in the folder. Their files are not kept.
func (r *run) twins(ctx context.Context, list []*parcel) error {
	var digests []string
	for _, p := range list {
		digests = append(digests, p.Digest)
	}
	if len(list) == 0 || r.opts.DryRun {
		return nil
	}
	found, err := r.cfg.Ledger.Twins(ctx, r.task.Name, r.place, digests...)
	if err != nil {
		return ledgerError(err)
	}
	by := make(map[string]string)
	for _, t := range found {
		if t.UIDValidity != r.validity || !r.present[t.UID] {
			by[t.Digest] = t.Run
		}
	}
	for _, p := range list {
		if by[p.Digest] != "" && p.Again == 0 {
			discard(p.Files)
			p.Files, p.twin, p.Reason = nil, true, "it was saved before, by run "+by[p.Digest]
		}
	}
	return nil
}

// refused decides whose fault it was that a message could not be read.
func (r *run) refused(ctx context.Context, p *parcel, err error, g *gathering) error {
	if ctx.Err() != nil || errors.Is(err, errDisk) {
		return err
	}
	broken := source(ctx, err)
	fail := func() { r.refuse(p, err); g.passed = append(g.passed, p) }
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
	r.settled[p.Key] = true
	p.State, p.Reason, p.Files = EntryFailed, oneLine(err.Error()), nil
	p.Attempts++
	if p.Attempts >= r.tries() || errors.Is(err, extract.ErrTooMuch) {
		p.State = Parked
	}
}

// gone closes the book on a message that failed before and has left the folder.
func (r *run) gone(ctx context.Context, p *parcel) error {
	r.settled[p.Key] = true
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
	for _, s := range []struct {
		state EntryState
		do    Action
	}{{NoMatch, r.task.Unmatched}, {Parked, r.task.Failure.Do}} {
		if err := r.dismiss(ctx, src, list, s.state, s.do); err != nil {
			return err
		}
	}
	for _, p := range list {
		r.settled[p.Key] = true
		if p.State == Seen || p.State == NoMatch {
			p.About, p.Files = p.brief(), nil
		}
	}
	if err := r.put(ctx, list...); err != nil {
		return err
	}
	for _, p := range list {
		if p.State == NoMatch {
			r.rec.NoMatch++
		}
		if p.State != Seen {
			r.report(ctx, p.event())
		}
	}
	return nil
}

func (r *run) dismiss(ctx context.Context, src Source, list []*parcel, state EntryState, do Action) error {
	var ids []string
	for _, p := range list {
		if p.State == state {
			ids = append(ids, p.UID)
		}
	}
	if do.None() || len(ids) == 0 || r.opts.DryRun {
		return nil
	}
	err := r.do(ctx, src, do, ids)
	if r.refusal(err) {
		r.troubled(err)
		return nil
	}
	return err
}
