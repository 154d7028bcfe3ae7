package fetch

import (
	"context"
	"errors"
	"slices"
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
	Audit func(ctx context.Context, d ByHand) error
}

// ByHand is what somebody did, for the audit log. Before and After are what it changed.
type ByHand struct {
	Who, What, Subject, Detail string
	Before, After              any
}

// count says of entries how many were in each state.
type count map[EntryState]int

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

// Fits reports whether an entry is what the filter's words mean. States, numbers and runs
// a ledger compares itself; it cannot tell letters from their escapes, nor capital from
// small ones beyond the first hundred, so that it is only asked for what may fit.
func (f Filter) Fits(e Entry) bool {
	_, folder := split(e.Folder)
	inbox := strings.EqualFold(f.Folder, "INBOX") && strings.EqualFold(folder, "INBOX")
	if f.Folder != "" && f.Folder != folder && f.Folder != e.Folder && !inbox {
		return false
	}
	if f.Text == "" {
		return true
	}
	words := append([]string{e.From, e.Subject, e.MessageID}, e.Senders...)
	for _, file := range e.Files {
		words = append(words, file.Name, file.Original)
	}
	text := strings.ToLower(f.Text)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(w), text) })
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
	return o.Audit(ctx, ByHand{Who: who, What: "run task", Subject: task, After: map[string]string{"run": "as soon as there is room"}})
}

// Stop ends a run of the task, on whatever node it is.
func (o Operator) Stop(ctx context.Context, who, task string) error {
	if err := o.Fetcher.Stop(ctx, task, who); err != nil {
		return err
	}
	return o.Audit(ctx, ByHand{Who: who, What: "stop task", Subject: task, After: map[string]string{"run": "to be stopped"}})
}

// atOnce is how many entries are changed in one commit.
const atOnce = 500

// Do changes the entries of a task that the filter chooses, and says how many; tell
// hears of it on the way, and may be nil. Those that are on their way to their end are
// left alone: the next run brings them there. The task must not run meanwhile;
// fault.Conflict when it does.
func (o Operator) Do(ctx context.Context, who string, act LedgerAction, f Filter, tell func(n int)) (n int, err error) {
	return o.locked(ctx, who, act, f.Task, f.String(), func(keep func() error, was count) (n int, err error) {
		f.Limit, f.After = atOnce, ""
		for {
			page, err := o.cfg.Ledger.Entries(ctx, f)
			if err != nil || len(page) == 0 {
				return n, err
			}
			f.After = page[len(page)-1].Mark().String() // what is changed now stands before it
			changed, err := o.change(ctx, who, act, page, was)
			if n += changed; err != nil {
				return n, err
			}
			if tell != nil {
				tell(n)
			}
			if err := keep(); err != nil {
				return n, err
			}
		}
	})
}

// DoEntries changes some entries of one task, and says how many. One that is gone is
// passed over.
func (o Operator) DoEntries(ctx context.Context, who string, act LedgerAction, task string, keys ...Key) (int, error) {
	return o.locked(ctx, who, act, task, "chosen by hand", func(_ func() error, was count) (int, error) {
		var chosen []Entry
		for _, k := range keys {
			k.Task = task
			e, err := o.cfg.Ledger.Entry(ctx, k)
			if err == nil {
				chosen = append(chosen, e)
			} else if !errors.Is(err, fault.NotFound) {
				return 0, err
			}
		}
		return o.change(ctx, who, act, chosen, was)
	})
}

// locked has do change entries of a task while it cannot run, and writes down what came
// of it. do keeps the lock by calling keep.
func (o Operator) locked(ctx context.Context, who string, act LedgerAction, task, what string, do func(keep func() error, was count) (int, error)) (n int, err error) {
	holder := o.cfg.Holder + "/by-hand-" + mail.NewID(o.cfg.Now())
	lock := func() error {
		now := o.cfg.Now()
		return o.cfg.Ledger.LockTask(ctx, task, holder, now, now.Add(o.cfg.Lease))
	}
	err = lock()
	if errors.Is(err, fault.Conflict) {
		return 0, fault.New(fault.Conflict, string(act), "%w", err).WithHint("wait for the run to end, or: postern fetch stop %s", task)
	}
	if err != nil {
		return 0, err
	}
	was := count{}
	n, err = do(lock, was)
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(err, o.cfg.Ledger.UnlockTask(rest, task, holder))
	if n > 0 {
		d := ByHand{Who: who, What: "fetch " + string(act), Subject: task, Detail: mail.Count(n, "message") + ": " + what, Before: was}
		if act == Reprocess {
			d.After = count{EntryFailed: n}
		}
		err = errors.Join(err, o.Audit(rest, d))
	}
	return n, err
}

func changeable(e Entry, act LedgerAction) bool {
	switch e.State {
	case Staged, Saved, HandedOver:
		return false
	}
	return act == Reset || e.UID != cutOffMark
}

// change changes those of the entries that may be, in one commit, says how many and
// counts in was how they stood.
func (o Operator) change(ctx context.Context, who string, act LedgerAction, entries []Entry, was count) (int, error) {
	var chosen []Entry
	var keys []Key
	stood := count{}
	for _, e := range entries {
		if !changeable(e, act) {
			continue
		}
		stood[e.State]++
		e.State, e.Attempts, e.Reason, e.Files, e.Updated = EntryFailed, 0, "to be taken again, says "+who, nil, o.cfg.Now()
		e.Acted, e.Receipt, e.Owed = false, "", nil
		e.Again++
		chosen, keys = append(chosen, e), append(keys, e.Key)
	}
	if len(chosen) == 0 {
		return 0, nil
	}
	var err error
	if act == Reset {
		err = o.cfg.Ledger.DropEntries(ctx, keys...)
	} else {
		err = o.cfg.Ledger.PutEntries(ctx, chosen...)
	}
	if err != nil {
		return 0, err
	}
	for state, n := range stood {
		was[state] += n
	}
	return len(chosen), nil
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

// Delete forgets a task with its ledger and its runs; what it saved stays where it is.
// It is fault.Conflict while the task runs.
func (o Operator) Delete(ctx context.Context, who, task string) error {
	now := o.cfg.Now()
	before, err := o.cfg.Ledger.Task(ctx, task)
	if err != nil {
		return err
	}
	err = o.cfg.Ledger.LockTask(ctx, task, o.cfg.Holder+"/by-hand-"+mail.NewID(now), now, now.Add(o.cfg.Lease))
	if errors.Is(err, fault.Conflict) {
		return fault.New(fault.Conflict, "delete task", "%w", err).WithHint("stop the run first: postern fetch stop %s", task)
	}
	if err == nil {
		err = o.cfg.Ledger.DeleteTask(ctx, task)
	}
	if err != nil {
		return err
	}
	return o.Audit(ctx, ByHand{Who: who, What: "delete task", Subject: task, Before: before})
}
