package fetch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postern/internal/extract"
	"postern/internal/handover"
)

// illustrated is a letter with a picture in its text, one attached, and a letter in it
// that has an attachment of its own.
const illustrated = "From: anna@fabrikam.com\r\nSubject: Hello\r\nMessage-ID: <i@x>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/mixed; boundary=outer\r\n\r\n" +
	"--outer\r\nContent-Type: multipart/related; boundary=inner\r\n\r\n" +
	"--inner\r\nContent-Type: text/html\r\n\r\n<p>Hello <img src=\"cid:logo\"></p>\r\n" +
	"--inner\r\nContent-Type: image/png; name=logo.png\r\nContent-Disposition: inline; filename=logo.png\r\nContent-ID: <logo>\r\n\r\nlogo\r\n" +
	"--inner--\r\n" +
	"--outer\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename=photo.png\r\n\r\nphoto\r\n" +
	"--outer\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment; filename=letter.eml\r\n\r\n" +
	"Subject: inside\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=deep\r\n\r\n" +
	"--deep\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=deep.pdf\r\n\r\ndeep\r\n--deep--\r\n" +
	"--outer--\r\n"

func TestWhichPartsAreTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		take   Take
		nested Nested
		want   []string
	}{
		"by default":            {Take{}, "", []string{"photo.png", "letter.eml"}},
		"pictures of the text":  {Take{Inline: true}, "", []string{"logo.png", "photo.png", "letter.eml"}},
		"letters kept":          {Take{}, Keep, []string{"photo.png", "letter.eml"}},
		"letters opened":        {Take{}, Open, []string{"photo.png", "deep.pdf"}},
		"the text as it is":     {Take{Save: []Kind{HTML}}, "", []string{"Hello.html"}},
		"the text and the rest": {Take{Save: []Kind{HTML, Attachments}}, "", []string{"Hello.html", "photo.png", "letter.eml"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, newPost(illustrated), func(task *Task) { task.Rules, task.Nested = []Rule{{Take: c.take}}, c.nested })
			b.run(t)
			var got []string
			for _, f := range b.ledger.find(func(Entry) bool { return true })[0].handed() {
				got = append(got, f.Name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("taken are %q, want %q", got, c.want)
			}
		})
	}
}

// A message of more files than anybody means to send is parked, and the others are taken.
func TestTooManyFiles(t *testing.T) {
	t.Parallel()
	var pairs []string
	for i := range maxFiles + 1 {
		pairs = append(pairs, fmt.Sprint(i, ".txt"), "x")
	}
	b := newBench(t, newPost(message("1", pairs...), message("2", "a.pdf", "alpha")), nil)
	b.run(t)
	parked := b.ledger.find(func(e Entry) bool { return e.State == Parked })
	if len(parked) != 1 || !strings.Contains(parked[0].Reason, extract.ErrTooMuch.Error()) {
		t.Errorf("parked %+v", parked)
	}
	if names := snapshot(t, b.task.Handover.Directory); !slices.Contains(names, "a.pdf") || len(names) != 3 { // its manifest, and the task's mark
		t.Errorf("there are %q", names)
	}
}

// A target is told how the text begins, and when the message arrived by the clock of the
// task's schedule.
func TestWhatATargetIsTold(t *testing.T) {
	t.Parallel()
	s := &told{}
	b := targetBench(t, newPost(message("1", "a.pdf", "alpha")), &s.shelf, true, func(task *Task) {
		task.Schedule = Schedule{Cron: "0 6 * * *", Zone: "Pacific/Honolulu"}
	})
	b.cfg.Targets = func(context.Context, Task) (handover.Target, error) { return s, nil }
	b.Fetcher = New(b.cfg)
	b.run(t)
	v := s.vars
	if v.BodyText != "Please find attached." || v.DateReceived.Format("2006-01-02 15:04") != "2026-03-03 19:06" || v.Subject != "Invoice 1" || v.AttachmentCount != 1 {
		t.Errorf("told %+v", v)
	}
}

// told is a shelf that remembers what it was told last.
type told struct {
	shelf
	vars handover.Vars
}

func (s *told) Deliver(ctx context.Context, d handover.Delivery) (string, error) {
	s.vars = d.Vars
	return s.shelf.Deliver(ctx, d)
}
