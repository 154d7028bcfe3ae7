package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"postern/internal/fault"
	"postern/internal/handover"
)

// targetDown is how many deliveries in a row may fail before the target, and not the
// messages, is held to be the reason.
const targetDown = 3

// waiting is a message that the target would not take for now.
type waiting struct {
	*parcel
	after int // how many the target had taken by then
}

// counter is what a run knows of its target.
type counter struct {
	took    int // deliveries
	streak  int // failed ones since
	waiting []waiting
	probing bool // one more message is to show whether it is the target or the messages
}

// maxProbes bounds how many messages may lie staged for a target that takes none.
const maxProbes = 3 * targetDown

// owed delivers what earlier runs left undone, what was tried last the last. A target
// that takes none of it may be down, or these may be messages it can never take: while
// they are few, the next message is tried too, so that they do not block the task.
func (r *run) owed(ctx context.Context, list []*parcel) error {
	slices.SortStableFunc(list, func(a, b *parcel) int { return a.Updated.Compare(b.Updated) })
	err := r.deliver(ctx, list)
	if !errors.Is(err, errTarget) || fault.KindOf(err) != fault.Temporary || len(list) >= maxProbes {
		return err
	}
	if e := fault.As(err); e != nil && e.RetryAfter > 0 {
		return err
	}
	r.told.probing = true
	r.troubled(err)
	return nil
}

// errTarget marks failures of the target, which end a run.
var errTarget = errors.New("target")

// deliver gives the target what is saved, or staged for it alone. A message the target
// refuses is no reason to keep the others back; a target that takes none is.
func (r *run) deliver(ctx context.Context, list []*parcel) error {
	if r.target == nil {
		return nil
	}
	for _, p := range list {
		if p.State != Saved && p.State != Staged {
			continue
		}
		err := r.give(ctx, p)
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err == nil {
			err = r.given(ctx, p)
		} else {
			err = r.notGiven(ctx, p, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// give makes the deliveries of one message; those made before are not made again.
func (r *run) give(ctx context.Context, p *parcel) error {
	d := handover.Delivery{ID: p.delivery(), Vars: r.task.vars(p.Entry)}
	if p.list() >= 0 {
		var err error
		if d.Manifest, err = r.task.manifest(p.Entry).JSON(); err != nil {
			return fault.Wrap(fault.Permanent, "write manifest", err)
		}
	}
	files, err := r.content(p)
	if err != nil {
		return err
	}
	if r.task.Handover.Each != EachAttachment {
		d.Files = files
		receipt, err := r.target.Deliver(ctx, d)
		if err == nil {
			p.Receipt = receipt
		}
		return err
	}
	id, at := d.ID, 0
	for i := range p.Files {
		f := &p.Files[i]
		if f.Kind == List || f.Dropped {
			continue
		}
		file := files[at]
		at++
		if f.Receipt != "" {
			continue
		}
		d.ID, d.Files = fmt.Sprintf("%s/%d", id, i+1), []handover.File{file}
		receipt, err := r.target.Deliver(ctx, d)
		if err != nil {
			return err
		}
		if f.Receipt = receipt; receipt == "" {
			f.Receipt = "taken"
		}
		r.step("delivered one")
		if err := r.put(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// content is where a message's files are now.
func (r *run) content(p *parcel) ([]handover.File, error) {
	var files []handover.File
	for _, f := range p.handed() {
		at := f.Staging
		if !r.disk.private {
			at = filepath.Join(filepath.Dir(f.Staging), filepath.FromSlash(f.Name))
		}
		if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.Permanent, "hand over", "%s was taken away before the target had it", f.Name).
				WithHint("leave the files in the directory until the target has them, or give the target alone")
		}
		files = append(files, handedFile(f, at))
	}
	return files, nil
}

// given enters a message as handed over.
func (r *run) given(ctx context.Context, p *parcel) error {
	r.step("delivered")
	r.told.took++
	r.told.streak, r.told.probing = 0, false
	staged := append([]File(nil), p.Files...)
	if p.State, p.Reason = HandedOver, ""; p.Acted {
		p.State, p.Reason = p.ended()
	}
	if r.disk.private {
		for i := range p.Files {
			p.Files[i].Staging = ""
		}
	}
	if err := r.put(ctx, p); err != nil {
		return err
	}
	if r.disk.private {
		discard(staged)
	}
	r.saved(ctx, p)
	return nil
}

// notGiven decides what a refusal means: for this message, or for all.
func (r *run) notGiven(ctx context.Context, p *parcel, err error) error {
	if errors.Is(err, errLedger) {
		return err
	}
	r.rec.Failed++
	p.Reason = oneLine(err.Error())
	r.cfg.Log.WarnContext(ctx, "delivery_failed", "task", r.task.Name, "run", r.rec.ID, "uid", p.UID, "error", err)
	r.log.add(r.cfg.Now(), fmt.Sprintf("uid %s not delivered: %s", p.UID, p.Reason))
	switch fault.KindOf(err) {
	case fault.Permanent, fault.Conflict, fault.Invalid, fault.NotFound:
		p.Attempts = max(p.Attempts, r.tries()-1) // it will never be taken
		return r.undeliverable(ctx, p)
	case fault.NeedsAdmin, fault.NeedsSignIn, fault.Denied:
		return errors.Join(targetError(err), r.put(ctx, p))
	}
	r.told.waiting = append(r.told.waiting, waiting{p, r.told.took})
	if putErr := r.put(ctx, p); putErr != nil {
		return putErr
	}
	if r.told.streak++; r.told.streak >= targetDown {
		return targetError(err)
	}
	if r.trouble == nil {
		r.trouble = targetError(err)
	}
	return nil
}

func targetError(err error) error { return fmt.Errorf("%w: %w", errTarget, err) }

// undeliverable counts a refusal. After the last one the message is only still to be
// dealt with in its mailbox.
func (r *run) undeliverable(ctx context.Context, p *parcel) error {
	p.Attempts++
	if p.Attempts < r.tries() {
		return r.put(ctx, p)
	}
	staged := p.Files
	p.State = EntryFailed
	if r.disk.private {
		p.Files = nil
	}
	if err := r.put(ctx, p); err != nil {
		return err
	}
	if r.disk.private {
		discard(staged)
	}
	return nil
}

// blame counts a try against messages that failed while later ones did not: it was not
// the target's fault.
func (r *run) blame(ctx context.Context) error {
	for _, w := range r.told.waiting {
		if w.after == r.told.took || w.State != Saved && w.State != Staged {
			continue
		}
		if err := r.undeliverable(ctx, w.parcel); err != nil {
			return err
		}
	}
	return nil
}
