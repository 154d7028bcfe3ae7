package fetch

import (
	"context"
	"fmt"
	"log/slog"

	"postern/internal/fault"
)

// due reports whether the mailbox action may be made for an entry.
func (r *run) due(e Entry) bool {
	switch e.State {
	case HandedOver, ActionFailed:
		return true
	case Saved:
		return r.task.Handover.Kind() == "" || r.task.Handover.Act == ActSaved && !e.Acted
	}
	return false
}

// act makes the mailbox action for messages that are safe. When the server refuses, the
// next run asks again; fetching others goes on meanwhile.
func (r *run) act(ctx context.Context, src Source, list []*parcel) error {
	var owed []*parcel
	var ids []string
	for _, p := range list {
		if r.due(p.Entry) {
			owed, ids = append(owed, p), append(ids, p.UID)
		}
	}
	if len(owed) == 0 || r.opts.DryRun {
		return nil
	}
	err := r.do(ctx, src, r.task.After, ids)
	if err != nil && !refusal(err) {
		return err
	}
	if err != nil {
		err = fmt.Errorf("files are saved, but the messages are not dealt with (%s): %w", r.task.After, err)
		r.troubled(err)
	} else {
		r.step("acted")
		r.rec.Acted += len(owed)
	}
	for _, p := range owed {
		switch waits := p.State == Saved && r.task.Handover.Kind() != ""; {
		case err != nil && !waits:
			p.State, p.Reason = ActionFailed, oneLine(err.Error())
		case err == nil && waits:
			p.Acted = true
		case err == nil:
			p.State, p.Reason = Done, doneReason(p.Entry)
		}
	}
	return r.put(ctx, owed...)
}

// doneReason keeps why nothing was saved, and forgets why an action had failed.
func doneReason(e Entry) string {
	if len(e.Files) == 0 {
		return e.Reason
	}
	return ""
}

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

// refusal reports that the server will not make an action, whoever asks how often.
func refusal(err error) bool {
	if err == nil {
		return false
	}
	switch fault.KindOf(err) {
	case fault.Permanent, fault.NeedsAdmin, fault.NotFound, fault.Denied, fault.Invalid:
		return true
	}
	return false
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
