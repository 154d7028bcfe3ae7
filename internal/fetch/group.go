package fetch

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"syscall"

	"postern/internal/extract"
)

// groups reads messages, as many as can be asked for at once.
func (r *run) groups(ctx context.Context, src Source, list []wanted) error {
	for len(list) > 0 {
		most := r.octets()
		if most <= 0 {
			r.rec.Left += len(list)
			r.rec.Looked -= len(list)
			return nil
		}
		n, size := 0, int64(0)
		for n < len(list) && n < r.atOnce() && (n == 0 || size+list[n].size <= most && !r.suspect[list[n].parcel.Key]) {
			size += list[n].size
			if n++; r.suspect[list[n-1].parcel.Key] || r.told.probing {
				break
			}
		}
		if err := r.group(ctx, src, list[:n]); err != nil {
			r.rec.Looked -= r.open(list) // that is done anew
			return err
		}
		list = list[n:]
	}
	return nil
}

// open is how many of some messages nothing was found out about.
func (r *run) open(list []wanted) (n int) {
	for _, w := range list {
		if !r.here.isSettled(w.parcel.UID) {
			n++
		}
	}
	return n
}

// atOnce is how many messages are asked for at once: those that are committed together,
// and more where nothing but our own disk is busy meanwhile: these come while a group is
// committed.
func (r *run) atOnce() int {
	if r.target == nil && r.task.After.None() && r.task.Unmatched.None() && r.task.Failure.Do.None() {
		return groupsAhead * groupMessages
	}
	return groupMessages
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
	r.disk.stock = r.stock(list)
	defer func() {
		r.disk.stock.close()
		r.disk.stock = nil
	}()
	g := &gathering{}
	var own, commit error
	var ahead flight
	err := src.Bodies(ctx, r.validity, ids, func(id string, body io.Reader, err error) error {
		if own = r.read(ctx, by[id], body, err, g); own != nil || !g.full() || len(list) <= groupMessages {
			return own
		}
		if commit = ahead.land(); commit == nil {
			whole := g
			ahead.start(func() error { return r.handOver(ctx, src, whole) })
			g = &gathering{}
		}
		return commit
	})
	switch commit = cmp.Or(commit, ahead.land()); {
	case commit != nil:
		r.abandon(g.take)
		return commit
	case own != nil:
		err = own
	case err != nil:
		err = r.undecided(ctx, list, err, g)
	}
	if err != nil && !errors.As(err, new(lost)) && !errors.Is(err, syscall.ENOSPC) {
		r.abandon(g.take)
		return err
	}
	return cmp.Or(r.handOver(ctx, src, g), err)
}

// handOver commits a gathering, and makes it known.
func (r *run) handOver(ctx context.Context, src Source, g *gathering) error {
	if err := r.commit(ctx, src, g); err != nil {
		return err
	}
	return r.tell(ctx)
}

// stock has files made for messages that will be kept whole, if they are many.
func (r *run) stock(list []wanted) *stock {
	whole := 0
	for _, w := range list {
		if keptWhole(w.rules) {
			whole++
		}
	}
	if r.opts.DryRun || whole < manyFiles {
		return nil
	}
	return r.disk.stockUp(whole)
}

// flight is a commit that is under way while more is read, one at a time. Reading keeps
// what it finds in the next gathering, and touches nothing else that a commit does.
type flight struct{ landed chan error }

func (f *flight) start(commit func() error) {
	f.landed = make(chan error, 1)
	go func() { f.landed <- commit() }()
}

// land waits for the commit, if there is one.
func (f *flight) land() (err error) {
	if f.landed != nil {
		err, f.landed = <-f.landed, nil
	}
	return err
}

// undecided finds out whose fault a broken connection is: those of the group that were
// not told of yet are read alone from now on, and one that was alone did it.
func (r *run) undecided(ctx context.Context, list []wanted, err error, g *gathering) error {
	if err = source(ctx, err); !errors.As(err, new(lost)) {
		return err
	}
	if len(list) == 1 && !r.here.isSettled(list[0].parcel.UID) {
		return r.refused(ctx, list[0].parcel, err, g)
	}
	untold := 0
	for _, w := range list {
		if untold == groupMessages { // those behind it had not begun to come
			break
		}
		if !r.here.isSettled(w.parcel.UID) {
			r.suspect[w.parcel.Key] = true
			untold++
		}
	}
	return err
}

// gathering is what was found out of some messages, and is not entered yet.
type gathering struct {
	take, passed []*parcel
	failed       []failure
	octets       int64 // read
}

// failure is a message that could not be read, and why.
type failure struct {
	*parcel
	err error
}

func (g *gathering) full() bool { return len(g.take)+len(g.passed)+len(g.failed) >= groupMessages }

// read takes in one message. An error ends the group.
func (r *run) read(ctx context.Context, w wanted, body io.Reader, err error, g *gathering) error {
	h := &harvest{reader: r.reader, rules: w.rules, create: r.create()}
	if err == nil {
		err = h.reap(body, r.limits(w.rules), r.largest())
		g.octets += h.summary.Size
	}
	if err != nil {
		discard(h.surplus(nil))
		if s := h.summary; s.Subject != "" || len(s.From) > 0 { // it came as far as that
			size := w.parcel.About.Size
			w.parcel.About, w.parcel.MessageID = h.about(w.parcel.About), s.MessageID
			w.parcel.About.Size = size
		}
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
	if r.target != nil || r.path.Has("body_text") {
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
	r.here.settle(p.UID)
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
		if t.UIDValidity != r.validity || !r.here.has(t.UID) {
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
