package fetch

import (
	"fmt"
	"slices"
	"testing"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

func ids(of ...string) mailbox.IDs { return mailbox.NewIDs(slices.Values(of)) }

func TestContents(t *testing.T) {
	t.Parallel()
	c := newContents(ids("8", "9", "10", "11"), slices.Values([]string{"9", "5", "3"}), ids("3", "10"))
	c.know("8")
	c.know("1")
	c.settle("11")
	c.settle("1")
	for id, want := range map[string][2]bool{ // listed, settled
		"8": {true, false}, "9": {true, false}, "10": {true, true}, "11": {true, true},
		"5": {false, false}, "3": {false, true}, "1": {false, false},
	} {
		if got := [2]bool{c.has(id), c.isSettled(id)}; got != want {
			t.Errorf("%s is %v, want %v", id, got, want)
		}
	}
	for what, tt := range map[string]struct{ got, want []string }{
		"open":      {c.pick(c.open()), []string{"9"}},
		"unsettled": {c.pick(c.unsettled(slices.Values([]string{"5", "3", "9", "8", "1"}))), []string{"8", "9", "5"}},
		"done":      {slices.Sorted(c.done().All()), []string{"10", "11", "3"}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s: %q, want %q", what, tt.got, tt.want)
		}
	}
}

// What was dealt with is not looked at again after a broken connection, in whatever folder
// it was; only when the folder was renumbered, for then it is another message. A dry run
// has no ledger to remind it.
func TestPassThatStartsOver(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		validity uint32
		times    int // that the first message of the first folder is told
		all      int
	}{
		"broken connection": {14, 1, 6},
		"renumbered":        {15, 2, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(message("1", "a.pdf", "x"), message("2", "b.pdf", "y"), message("3", "c.pdf", "z"))
			bodies := 0
			p.fail = func(op, _ string) error {
				if op != "body" {
					return nil
				}
				if bodies++; bodies == 5 { // the second of the second folder
					p.validity = tt.validity
					return fault.New(fault.Temporary, "body", "connection reset")
				}
				return nil
			}
			b := newBench(t, p, func(task *Task) { task.Source.Folders = []string{"A", "B"} })
			told := map[string]int{}
			all := 0
			_, err := b.RunTask(t.Context(), b.task.Name, Options{DryRun: true, Progress: func(e Event) {
				told[fmt.Sprint(e.Folder, " ", e.UID)]++
				all++
			}})
			if err != nil || all != tt.all || told["in@contoso.com/A 1"] != tt.times {
				t.Errorf("told %v (%v), want %d", told, err, tt.all)
			}
		})
	}
}

// A message that failed before and that the search does not find is tried again all the
// same, once in a run.
func TestFailedBeforeAndNotListed(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "x"), message("2", "b.pdf", "y"))
	p.inbox["1"].seen = true
	broken := false
	p.fail = func(op, uid string) error {
		if op == "body" && uid == "1" && !broken { // the last of them
			broken = true
			return fault.New(fault.Temporary, "body", "connection reset")
		}
		return nil
	}
	b := newBench(t, p, func(task *Task) { task.Source.Which = Unread })
	key := Key{Task: b.task.Name, Folder: "in@contoso.com/INBOX", UIDValidity: 14, UID: "1"}
	if err := b.ledger.PutEntries(t.Context(), Entry{Key: key, State: EntryFailed, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	var told []string
	_, err := b.RunTask(t.Context(), b.task.Name, Options{DryRun: true, Progress: func(e Event) { told = append(told, e.UID) }})
	if want := []string{"2", "1"}; err != nil || !slices.Equal(told, want) {
		t.Errorf("told %v (%v), want %v", told, err, want)
	}
}
