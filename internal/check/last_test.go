package check_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"postern/internal/check"
	"postern/internal/mail"
)

func testTo() mail.Address { return mail.Address{Local: "you", Domain: "example.com"} }

// TestTheTestMail is sent on request, and every way it can be refused is explained.
func TestTheTestMail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, start, answer string
		ok                  bool
		says                string
	}{
		{"taken", "", "", true, "took the test message for you@example.com"},
		{"recipient refused", "RCPT TO:<you@example.com>", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found", false, "The recipient does not exist."},
		{"message refused", ".", "554 5.2.252 SendAsDenied; scan@contoso.com not allowed to send as scan@contoso.com", false, "may not send as the address in From"},
		{"no answer", ".", "CLOSE", false, "was not taken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var heard []string
			d := smtpServer().with("DATA", "354 Start mail input").with(".", "250 2.0.0 OK <id@outlook>")
			if c.start != "" {
				d = d.with(c.start, c.answer)
			}
			d.heard = func(line string) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, strings.TrimSpace(line))
			}
			f := arrange(t, check.Send, withoutEcho(d))
			f.target.TestTo = testTo()
			r := f.run(t)
			st := stage(t, r, check.StageTest)
			if r.OK != c.ok || !strings.Contains(st.Summary, c.says) {
				t.Errorf("%v\n%s", r.OK, st.Text())
			}
			if doubt := slices.ContainsFunc(st.Details, func(d check.Detail) bool { return d.Name == "in doubt" }); doubt != (c.answer == "CLOSE") {
				t.Errorf("in doubt: %v\n%s", doubt, st.Text())
			}
			mu.Lock()
			defer mu.Unlock()
			if c.ok && (!slices.Contains(heard, "To: <you@example.com>") || !slices.Contains(heard, "From: <scan@contoso.com>")) {
				t.Errorf("the message has no recipient or sender:\n%s", strings.Join(heard, "\n"))
			}
		})
	}
}

// withoutEcho answers no line of a message but its last.
func withoutEcho(d dialogue) dialogue {
	for _, start := range []string{"Date:", "From:", "To:", "Message-ID:", "Subject:", "Auto-Submitted:", "MIME-Version:", "Content-Type:", "", "This is", "the account"} {
		if d.answers[start] == "" {
			d = d.with(start, "SILENCE")
		}
	}
	return d
}

// TestFoldersOfATask are opened, and those it moves to looked for.
func TestFoldersOfATask(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		read, moveTo []string
		ok           bool
		says         string
	}{
		{"its own", []string{"Archive", "Bills*"}, nil, true, "Archive of scan@contoso.com opens for reading"},
		{"a target", nil, []string{"Archive"}, true, "The folder Archive, which messages are moved to, is there."},
		{"no target", nil, []string{"Archive", "Done"}, false, `has no folder "Done"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, check.IMAP, imapServer())
			f.target.Folders, f.target.MoveTo = c.read, c.moveTo
			r := f.run(t)
			if st := stage(t, r, check.StageMailbox); r.OK != c.ok || !strings.Contains(st.Summary, c.says) || (!c.ok && !strings.Contains(st.Next, "make_folders")) {
				t.Errorf("%v\n%s", r.OK, st.Text())
			}
		})
	}
}
