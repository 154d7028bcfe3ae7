package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"postern/internal/fault"
	"postern/internal/handover"
)

// commit hands over what a group of messages gave, and enters the rest.
func (r *run) commit(ctx context.Context, src Source, g *gathering) error {
	r.rec.Bytes += g.octets
	for _, f := range g.failed {
		r.refuse(f.parcel, f.err)
		g.passed = append(g.passed, f.parcel)
	}
	if err := r.twins(ctx, g.take); err != nil {
		r.abandon(g.take)
		return err
	}
	staged, err := r.promise(ctx, g)
	if err != nil {
		return err
	}
	if r.opts.DryRun {
		for _, p := range staged {
			p.State = Saved
			r.saved(ctx, p)
		}
		return r.pass(ctx, src, g.passed)
	}
	if err := r.pass(ctx, src, g.passed); err != nil {
		return err
	}
	saved, err := r.finish(ctx, staged)
	if err != nil {
		return err
	}
	if err := r.deliver(ctx, saved); err != nil {
		return err
	}
	return r.act(ctx, src, saved)
}

// promise names the staged files, makes them durable, and enters them in the ledger:
// from here on the messages count as ours to finish.
func (r *run) promise(ctx context.Context, g *gathering) (staged []*parcel, err error) {
	taken := make(names)
	for _, p := range g.take {
		switch err := r.label(p, taken); {
		case errors.Is(err, fault.Conflict), errors.Is(err, fault.Permanent):
			discard(p.Files)
			discard(p.drop)
			r.refuse(p, err)
			g.passed = append(g.passed, p)
		case err != nil:
			r.abandon(g.take)
			return nil, err
		default:
			staged = append(staged, p)
		}
	}
	if r.opts.DryRun || len(staged) == 0 {
		return staged, nil
	}
	var files []File
	for _, p := range staged {
		files = append(files, p.Files...)
	}
	if err := r.disk.harden(files); err != nil {
		r.abandon(g.take)
		return nil, err
	}
	r.step("staging durable")
	for _, p := range staged {
		discard(p.drop)
		if p.State = Staged; p.twin {
			p.State = HandedOver
		}
	}
	return staged, r.put(ctx, staged...) // a failing ledger may have kept the promise: the files stay, to be finished or swept
}

func (r *run) abandon(list []*parcel) {
	for _, p := range list {
		discard(p.Files)
		discard(p.drop)
	}
}

// label gives every file of a parcel its final name, and writes the manifest that knows
// them.
func (r *run) label(p *parcel, taken names) error {
	if p.twin {
		return nil
	}
	p.TakenBy = r.rec.ID
	if err := r.name(p, taken); err != nil {
		return err
	}
	if i := p.list(); i >= 0 && !r.disk.private && !r.opts.DryRun {
		return r.writeList(p, i)
	}
	return nil
}

// list is the index of the manifest among an entry's files, -1 when there is none.
func (e Entry) list() int {
	if n := len(e.Files) - 1; n >= 0 && e.Files[n].Kind == List {
		return n
	}
	return -1
}

// writeList stages the manifest.
func (r *run) writeList(p *parcel, i int) error {
	body, err := r.task.manifest(p.Entry).JSON()
	if err != nil {
		return fault.Wrap(fault.Permanent, "write manifest", err)
	}
	here := r.disk
	here.stock = nil
	if i > 0 && p.Files[0].Staging != "" {
		here.dir = filepath.Dir(p.Files[0].Staging)
	}
	out, err := here.create()
	if err != nil {
		return err
	}
	_, err = out.Write(body)
	if closed := out.Close(); err == nil {
		err = closed
	}
	f := out.file()
	f.Kind, f.Name, f.Original, f.ContentType = List, p.Files[i].Name, path.Base(p.Files[i].Name), p.Files[i].ContentType
	p.Files[i] = f
	return err
}

// finish gives every file of staged entries its final name, manifests last, and enters
// them as saved. It may be repeated from any point. It returns those that can go on.
func (r *run) finish(ctx context.Context, list []*parcel) ([]*parcel, error) {
	if r.disk.private {
		return r.stillThere(ctx, list)
	}
	var good, staged []*parcel
	for _, lists := range []bool{false, true} { // no manifest without its files, power cuts included
		good = good[:0:0]
		for _, p := range list {
			ok, err := r.placeFiles(ctx, p, lists)
			if err != nil {
				return nil, err
			}
			if ok {
				good = append(good, p)
			}
		}
		list = good
		if err := r.disk.syncNames(good); err != nil {
			return nil, err
		}
	}
	r.step("placed")
	for _, p := range good {
		if p.State == Staged {
			staged = append(staged, p)
		}
	}
	return good, r.placed(ctx, staged)
}

// placed enters that messages have their files in place; with that, some have all they
// are to have.
func (r *run) placed(ctx context.Context, list []*parcel) error {
	if r.target != nil {
		return r.advance(ctx, Saved, list)
	}
	done, owed := list[:0:0], list
	if r.task.After.None() {
		owed = nil
		for _, p := range list {
			if p.Unconverted {
				owed = append(owed, p)
			} else {
				done = append(done, p)
			}
		}
		r.rec.Acted += len(done)
	}
	if err := errors.Join(r.advance(ctx, Done, done), r.advance(ctx, Saved, owed)); err != nil {
		return err
	}
	for _, p := range list {
		r.saved(ctx, p)
	}
	return nil
}

// placeFiles renames the files of one entry, or its manifest. It reports whether the
// entry goes on.
func (r *run) placeFiles(ctx context.Context, p *parcel, lists bool) (bool, error) {
	for i := range p.Files {
		if p.State != Staged || (p.Files[i].Kind == List) != lists || p.Files[i].Staging == "" {
			continue
		}
		err := r.placeFile(ctx, p, i)
		switch {
		case errors.Is(err, errClash):
			r.rec.Failed++
			p.Attempts++
			p.Reason = oneLine(err.Error())
			r.troubled(err)
			return false, r.put(ctx, p) // it stays promised, and is tried again by the next run
		case err != nil:
			return false, err
		}
		r.step("renamed")
	}
	return true, nil
}

func (r *run) placeFile(ctx context.Context, p *parcel, i int) error {
	const tries = 20 // each lost to somebody who made a file of that very name just now
	for range tries {
		f := p.Files[i]
		became, err := r.disk.place(f, r.clash() == handover.ClashOverwrite && f.Kind != List)
		if err != nil || became != nameTaken && became != wayTaken {
			return err
		}
		clash := became == nameTaken && f.Kind != List
		if clash && r.clash() == handover.ClashFail {
			return fault.New(fault.Conflict, "hand over", "%w: %s", errClash, f.Name)
		}
		if err := r.promiseAnew(ctx, p, i, clash && r.clash() == handover.ClashSkip); err != nil || p.Files[i].Dropped {
			return err
		}
	}
	return r.disk.diskError("rename file", fmt.Errorf("%q and %d other names were taken", p.Files[i].Name, tries))
}

// promiseAnew promises another name for the i-th file, or that it is dropped: first a
// manifest that knows it, then the ledger.
func (r *run) promiseAnew(ctx context.Context, p *parcel, i int, dropped bool) error {
	taken := make(names)
	for _, f := range p.Files {
		taken[strings.ToLower(f.Name)] = true
	}
	before := append([]File(nil), p.Files...)
	dir := filepath.Dir(p.Files[i].Staging)
	f := &p.Files[i]
	if dropped {
		f.Dropped, f.Staging = true, ""
	} else {
		f.Name = taken.choose(dir, f.Name, false)
	}
	last := p.list()
	if last >= 0 && last != i {
		if err := r.writeList(p, last); err != nil {
			p.Files = before
			return err
		}
		if err := r.disk.harden(p.Files[last:]); err != nil {
			discard(p.Files[last:])
			p.Files = before
			return err
		}
	}
	r.step("promised anew")
	if err := r.put(ctx, p); err != nil {
		return err
	}
	for _, k := range []int{i, last} {
		if k >= 0 && before[k].Staging != p.Files[k].Staging {
			discard(before[k : k+1])
		}
	}
	return nil
}

// stillThere is finish for a private directory, in which nobody but us renames or takes
// files: what is not there was lost, or is on another node, and the message starts over.
func (r *run) stillThere(ctx context.Context, list []*parcel) ([]*parcel, error) {
	var good []*parcel
	for _, p := range list {
		lost := false
		for _, f := range p.Files {
			if f.Staging == "" {
				continue
			}
			if _, err := os.Lstat(f.Staging); errors.Is(err, fs.ErrNotExist) {
				lost = true
			}
		}
		if !lost {
			good = append(good, p)
			continue
		}
		discard(p.Files)
		p.State, p.Files, p.Reason = EntryFailed, nil, "its staged files are gone; it is taken again"
		if err := r.put(ctx, p); err != nil {
			return nil, err
		}
	}
	return good, nil
}

// saved counts and reports a message that was handed over.
func (r *run) saved(ctx context.Context, p *parcel) {
	r.rec.Saved++
	r.handed.Add(1)
	r.rec.Files += len(p.handed())
	ev := p.event()
	if r.target == nil {
		ev.State = Saved // whatever else it has come to
	}
	r.report(ctx, ev)
}
