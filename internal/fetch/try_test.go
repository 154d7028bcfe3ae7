package fetch

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"postern/internal/fault"
)

// A task that nobody saved can be tried: its directory need not be there, and what is in
// the mailbox is looked at from the newest.
func TestTryBeforeTheTaskIsSaved(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"), message("2", "b.pdf", "beta"))
	b := newBench(t, p, func(*Task) {})
	task := b.task
	task.Name, task.Source.Start, task.Created = "unsaved", StartNew, time.Time{}
	task.Handover.Directory = filepath.Join(t.TempDir(), "not", "there")
	var events []Event
	r, err := b.Try(t.Context(), task, Options{Messages: 1, Progress: func(e Event) { events = append(events, e) }})
	if err != nil || r.Saved != 1 || len(events) != 1 || events[0].UID != "2" || events[0].Files[0].Name != "b.pdf" {
		t.Errorf("%+v %+v: %v", r, events, err)
	}
	if len(b.ledger.entries)+len(b.ledger.runs)+p.changes != 0 {
		t.Error("the ledger or the mailbox was changed")
	}
	task.Handover.Path = "{nothing}"
	if _, err := b.Try(t.Context(), task, Options{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("with a wrong template: %v", err)
	}
}
