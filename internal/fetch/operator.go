package fetch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
	"postern/internal/mail"
)

// Operator changes runs and the ledger by hand, and has it written down who did.
type Operator struct {
	*Fetcher
	Audit func(ctx context.Context, who, what, subject, detail string) error
}

// LedgerAction is what can be done to entries.
type LedgerAction string

// The actions.
const (
	Reprocess LedgerAction = "reprocess" // take the message again and hand it over again
	Reset     LedgerAction = "reset"     // forget it
)

// Chosen reports whether the filter leaves anything out.
func (f Filter) Chosen() bool {
	return f.Folder != "" || f.UID != "" || len(f.States) > 0 || f.Text != "" || f.Run != ""
}

func (f Filter) String() string {
	var words []string
	for _, w := range []struct{ name, value string }{
		{"folder", f.Folder}, {"uid", f.UID}, {"state", joined(f.States)}, {"text", f.Text}, {"run", f.Run},
	} {
		if w.value != "" {
			words = append(words, w.name+" "+w.value)
		}
	}
	if len(words) == 0 {
		return "everything"
	}
	return strings.Join(words, ", ")
}

// Run has a task run soon.
func (o Operator) Run(ctx context.Context, who, task string) error {
	if err := o.RunSoon(ctx, task); err != nil {
		return err
	}
	return o.Audit(ctx, who, "run task", task, "")
}

// Stop ends a run of the task, on whatever node it is.
func (o Operator) Stop(ctx context.Context, who, task string) error {
	if err := o.Fetcher.Stop(ctx, task, who); err != nil {
		return err
	}
	return o.Audit(ctx, who, "stop task", task, "")
}

// atOnce is how many entries are changed in one commit.
const atOnce = 500

// Do changes the entries that the filter chooses, and says how many. Those that are on
// their way are left alone: the next run brings them to their end. The task must not
// run meanwhile; fault.Conflict when it does.
func (o Operator) Do(ctx context.Context, who string, act LedgerAction, f Filter) (n int, err error) {
	now := o.cfg.Now()
	holder := o.cfg.Holder + "/by-hand-" + mail.NewID(now)
	err = o.cfg.Ledger.LockTask(ctx, f.Task, holder, now, now.Add(o.cfg.Lease))
	if errors.Is(err, fault.Conflict) {
		return 0, fault.New(fault.Conflict, string(act), "%w", err).WithHint("wait for the run to end, or: postern fetch stop %s", f.Task)
	}
	if err != nil {
		return 0, err
	}
	n, err = o.each(ctx, who, act, f)
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(err, o.cfg.Ledger.UnlockTask(rest, f.Task, holder))
	if n > 0 {
		err = errors.Join(err, o.Audit(rest, who, "fetch "+string(act), f.Task, fmt.Sprintf("%d messages: %s", n, f)))
	}
	return n, err
}

func (o Operator) each(ctx context.Context, who string, act LedgerAction, f Filter) (n int, err error) {
	f.Limit, f.Offset = atOnce, 0
	var chosen []Entry
	for {
		page, err := o.cfg.Ledger.Entries(ctx, f)
		if err != nil {
			return 0, err
		}
		for _, e := range page {
			if changeable(e, act) {
				chosen = append(chosen, e)
			}
		}
		if f.Offset += len(page); len(page) < atOnce {
			break
		}
	}
	for len(chosen) > 0 {
		now := chosen[:min(atOnce, len(chosen))]
		chosen = chosen[len(now):]
		if err := o.change(ctx, who, act, now); err != nil {
			return n, err
		}
		n += len(now)
	}
	return n, nil
}

func changeable(e Entry, act LedgerAction) bool {
	switch e.State {
	case Staged, Saved, HandedOver:
		return false
	}
	return act == Reset || e.UID != cutOffMark
}

func (o Operator) change(ctx context.Context, who string, act LedgerAction, entries []Entry) error {
	if act == Reset {
		keys := make([]Key, 0, len(entries))
		for _, e := range entries {
			keys = append(keys, e.Key)
		}
		return o.cfg.Ledger.DropEntries(ctx, keys...)
	}
	for i := range entries {
		e := &entries[i]
		e.State, e.Attempts, e.Reason, e.Files, e.Updated = EntryFailed, 0, "to be taken again, says "+who, nil, o.cfg.Now()
		e.Acted, e.Receipt = false, ""
		e.Again++
	}
	return o.cfg.Ledger.PutEntries(ctx, entries...)
}

// Log is what a run did, line by line; of the last run when none is named.
func (o Operator) Log(ctx context.Context, task, run string) ([]Line, error) {
	if _, err := o.cfg.Ledger.Task(ctx, task); err != nil {
		return nil, err
	}
	runs, err := o.cfg.Ledger.Runs(ctx, task, 1000)
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		if run == "" || r.ID == run {
			return o.cfg.Ledger.Lines(ctx, r.ID)
		}
	}
	return nil, fault.New(fault.NotFound, "read run", "task %q has no run %q", task, run).WithHint("postern fetch runs %s", task)
}

// SamplePath is the path that a file of a sample message would get.
func (t Task) SamplePath() (string, error) {
	if t.Handover.Directory == "" {
		return handover.Sample().Filename, nil
	}
	p, err := t.Handover.pathTemplate()
	if err != nil {
		return "", err
	}
	return p.Preview(extract.SafeName), nil
}
