package fetch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// note is what Exchange puts in the place of a message that it cannot convert.
func note(protocol string) string {
	return "From: Microsoft Exchange Server\r\nSubject: Retrieval using the " + protocol + " protocol failed for the following message: 60\r\n\r\n" +
		"The server couldn't retrieve the following message:\r\n"
}

// A message that the server cannot convert is parked, not passed over as one without
// attachments or of another sender, and the others are taken.
func TestAMessageThatTheServerCannotConvert(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string][]Rule{
		"by its attachments": nil,
		"by its sender":      {{Match: Match{From: pattern(t, "anna@fabrikam.com")}}},
		"by what is skipped": {{Match: Match{From: pattern(t, "anna@fabrikam.com")}}, {Skip: true}},
	} {
		for _, protocol := range []string{"IMAP4", "POP3"} {
			t.Run(name+", "+protocol, func(t *testing.T) {
				t.Parallel()
				p := newPost(note(protocol), message("2", "b.pdf", "beta"))
				b := newBench(t, p, func(task *Task) {
					task.Rules, task.Unmatched, task.Failure.Do = rules, Action{Do: MarkRead}, Action{Do: Flag}
				})
				for range defaultTries {
					b.run(t)
				}
				parked := b.ledger.find(func(e Entry) bool { return e.State == Parked })
				if len(parked) != 1 || parked[0].UID != "1" || !strings.Contains(parked[0].Reason, "could not convert") || !p.inbox["1"].flagged || p.inbox["1"].seen {
					t.Errorf("parked %+v", parked)
				}
				if taken := b.ledger.find(func(e Entry) bool { return e.State == Done }); len(taken) != 1 || taken[0].UID != "2" {
					t.Errorf("taken %+v", taken)
				}
			})
		}
	}
}

// A rule that the note fits gets it as it is, with a warning; what is left in the mailbox
// is not dealt with as if it had been taken, wherever the power is cut.
func TestWhatCanBeHadOfAnUnconvertedMessage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		after Deed
		act   Act
	}{{Nothing, ""}, {Delete, ""}, {Delete, ActHandedOver}, {Nothing, ActSaved}} {
		t.Run(fmt.Sprintf("%s/%s", c.after, c.act), func(t *testing.T) {
			t.Parallel()
			steps := 0
			for n := 1; handOnNote(t, n, c.after, c.act) != ""; n++ {
				steps = n
			}
			if steps < 10 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

// handOnNote cuts a run at step n; without act there is no target.
func handOnNote(t *testing.T, n int, after Deed, act Act) (cut string) {
	t.Helper()
	p, s := newPost(note("IMAP4"), message("2", "b.pdf", "beta")), &shelf{}
	change := func(task *Task) {
		task.Rules = []Rule{{Take: Take{Save: []Kind{EML, List}, AnyMessage: true}}}
		task.After, task.Failure.Do, task.Handover.Act = action(after), Action{Move, "Unread by Exchange"}, act
	}
	var b *bench
	if act == "" {
		b = newBench(t, p, change)
	} else {
		b = targetBench(t, p, s, false, change)
	}
	cut = b.until(t, n)
	b.revive()
	b.run(t)
	if n == 1 || cut == "" {
		noteIsHandedOn(t, b, s)
	}
	if got := len(b.ledger.find(func(e Entry) bool {
		return e.UID == "1" && e.State == Parked && e.Reason == notConverted && len(e.Files) == 2
	})); got != 1 {
		t.Errorf("cut at step %d (%s): %+v", n, cut, b.ledger.find(func(Entry) bool { return true }))
	}
	if left := len(p.inbox); len(p.moved["Unread by Exchange"]) != 1 || left != map[Deed]int{Nothing: 1}[after] {
		t.Errorf("cut at step %d (%s): moved %v, %d left", n, cut, p.moved, left)
	}
	bodies, tries := p.bodies, s.tries
	if r := b.run(t); r.Looked != 0 || p.bodies != bodies || s.tries != tries {
		t.Errorf("cut at step %d (%s): looked at again: %+v", n, cut, r)
	}
	return cut
}

func noteIsHandedOn(t *testing.T, b *bench, s *shelf) {
	t.Helper()
	e := b.ledger.find(func(e Entry) bool { return e.UID == "1" })[0]
	dir := b.task.Handover.Directory
	if raw, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(e.Files[0].Name))); err != nil || string(raw) != note("IMAP4") {
		t.Errorf("handed on %q, %v", raw, err)
	}
	if list, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(e.Files[1].Name))); err != nil || !strings.Contains(string(list), notConverted) {
		t.Errorf("its manifest %s, %v", list, err)
	}
	if told := strings.Join(s.contents(), ""); b.task.Handover.Webhook != nil && !strings.Contains(told, "couldn't retrieve") {
		t.Errorf("the target was told %q", told)
	}
	lines, err := Operator{Fetcher: b.Fetcher}.Log(t.Context(), b.task.Name, e.Run)
	if must(t, err); !slices.ContainsFunc(lines, func(l Line) bool { return strings.Contains(l.Text, "parked") && strings.Contains(l.Text, notConverted) }) {
		t.Errorf("the run says %v", lines)
	}
}
