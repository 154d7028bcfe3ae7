package fetch

import (
	"context"
	"log/slog"

	"postern/internal/fault"
)

// due reports whether the mailbox action may be made for an entry.
func (r *run) due(e Entry) bool {
	switch e.State {
	case HandedOver:
		return true
	case ActionFailed:
		return e.Owed == nil || e.Run != r.rec.ID // tries are runs
	case Saved:
		return r.task.Handover.Kind() == "" || r.task.Handover.Act == ActSaved && !e.Acted
	}
	return false
}

// act makes the mailbox action for messages that are safe: for notes that the server gave
// in the place of messages, that of failures.
func (r *run) act(ctx context.Context, src Source, list []*parcel) error {
	if r.opts.DryRun {
		return nil
	}
	var whole, notes []*parcel
	owed := make(map[EntryState][]*parcel)
	for _, p := range list {
		switch {
		case !r.due(p.Entry):
		case p.Owed != nil:
			owed[p.Owed.State] = append(owed[p.Owed.State], p)
		case p.Unconverted:
			notes = append(notes, p)
		default:
			whole = append(whole, p)
		}
	}
	if err := r.actOn(ctx, src, r.task.After, whole); err != nil {
		return err
	}
	if err := r.actOn(ctx, src, r.task.Failure.Do, notes); err != nil {
		return err
	}
	for _, d := range r.dismissals() {
		if err := r.actOn(ctx, src, d.do, owed[d.state]); err != nil {
			return err
		}
	}
	for _, p := range notes {
		if p.State == Parked {
			r.rec.Failed++
			r.report(ctx, p.event())
		}
	}
	return nil
}

// actOn makes one action. What the server refuses the next run asks again; fetching
// others goes on meanwhile. One message that it refuses is no reason to leave the others.
func (r *run) actOn(ctx context.Context, src Source, do Action, owed []*parcel) error {
	if len(owed) == 0 {
		return nil
	}
	ids := make([]string, 0, len(owed))
	for _, p := range owed {
		ids = append(ids, p.UID)
	}
	err := r.do(ctx, src, do, ids)
	switch {
	case err == nil:
		r.step("acted")
		r.rec.Acted += len(owed)
		return r.acted(ctx, owed)
	case !r.refusal(err):
		return err
	case len(owed) > 1 && oneMay(err) && r.refusals < mostRefused:
		half := len(owed) / 2
		if err := r.actOn(ctx, src, do, owed[:half]); err != nil {
			return err
		}
		return r.actOn(ctx, src, do, owed[half:])
	}
	r.refusals++
	so := "files are saved, but the messages are not dealt with"
	if owed[0].Owed != nil {
		so = notTaken
	}
	why := r.refusedTo(do, so, err)
	for _, p := range owed {
		switch {
		case p.Owed != nil:
			p.owe(why, r.tries())
		case !r.waits(p.Entry):
			p.State, p.Reason = ActionFailed, why
		}
	}
	return r.put(ctx, owed...)
}

// acted enters that the action is made.
func (r *run) acted(ctx context.Context, owed []*parcel) error {
	for _, p := range owed {
		if r.waits(p.Entry) {
			p.Acted = true
		} else {
			p.State, p.Reason = p.ended()
			p.Owed = nil
		}
	}
	return r.put(ctx, owed...)
}

// waits reports whether the target is still to have a message.
func (r *run) waits(e Entry) bool { return e.State == Saved && r.task.Handover.Kind() != "" }

// do makes an action; it may be repeated.
func (r *run) do(ctx context.Context, src Source, a Action, ids []string) error {
	var err error
	switch a.Do {
	case MarkRead:
		err = src.MarkRead(ctx, r.validity, ids)
	case Flag:
		err = src.Flag(ctx, r.validity, ids)
	case Tag:
		err = src.Tag(ctx, r.validity, ids, a.To)
	case Move:
		err = src.Move(ctx, r.validity, ids, a.To)
	case Delete:
		err = src.Delete(ctx, r.validity, ids)
	}
	return source(ctx, err)
}

// mostRefused is how many refusals of a run are looked into: whether one message is the
// reason, or all of them are.
const mostRefused = 3

// refusal reports that the server will not make an action, whoever asks how often. A No
// without a reason may be for the moment: it is one when a new connection hears it too.
func (r *run) refusal(err error) bool {
	if err == nil {
		return false
	}
	switch fault.KindOf(err) {
	case fault.Permanent, fault.NeedsAdmin, fault.NotFound, fault.Denied, fault.Invalid, fault.Quota:
		return true
	case fault.Temporary:
		if reply := fault.ReplyOf(err); reply != nil && (reply.Code == "NO" || reply.Code == "-ERR") {
			r.noes++
			return r.noes > 1
		}
	}
	return false
}

// oneMay reports that one message may be the reason of a refusal.
func oneMay(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.Permanent || kind == fault.Temporary
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
		r.log.event(r.cfg.Now(), ev)
	}
	if r.opts.Progress != nil {
		ev.Run = r.rec
		r.opts.Progress(ev)
	}
}
