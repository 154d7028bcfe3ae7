package relay_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

func acceptor(store *memory) *relay.Relay {
	now := time.Date(2026, 11, 21, 9, 30, 0, 0, time.FixedZone("", 3600))
	return relay.New(relay.Config{Store: store, Hostname: "gate.example", Now: func() time.Time { return now }})
}

func submission() relay.Submission {
	return relay.Submission{Device: "scan ner", Account: "office", From: mail.Address{Local: "o", Domain: "contoso.com"},
		To: []mail.Address{{Local: "a", Domain: "example.net"}}, RemoteAddr: "[::ffff:192.0.2.7]:99"}
}

func TestAcceptCompletesTheHeader(t *testing.T) {
	t.Parallel()
	const top = "Received: from scan-ner ([192.0.2.7])\r\n\tby gate.example with ESMTPSA id ID;\r\n\tSat, 21 Nov 2026 09:30:00 +0100\r\n"
	const date = "Date: Sat, 21 Nov 2026 09:30:00 +0100\r\n"
	const id = "Message-ID: <MID>\r\n"
	for name, c := range map[string]struct{ in, want, subject, messageID string }{
		"complete":           {"Date: x\r\nMessage-Id: <1@x>\r\nSubject: s\r\n\r\nbody", "Date: x\r\nMessage-Id: <1@x>\r\nSubject: s\r\n\r\nbody", "s", "<1@x>"},
		"nothing there":      {"Subject: s\n\nbody\n", date + id + "Subject: s\r\n\r\nbody\r\n", "s", "new"},
		"folded":             {"Message-ID:\n <1@x>\nSubject: a\n b\n\tc\nDate: x\n\nb", "Message-ID:\r\n <1@x>\r\nSubject: a\r\n b\r\n\tc\r\nDate: x\r\n\r\nb", "a b c", "<1@x>"},
		"encoded subject":    {"Date: x\nMessage-ID: <1@x>\nSubject: =?iso-8859-2?Q?P=F8=EDloha?=\n =?utf-8?B?IOKCrA==?=\n\n", "Date: x\r\nMessage-ID: <1@x>\r\nSubject: =?iso-8859-2?Q?P=F8=EDloha?=\r\n =?utf-8?B?IOKCrA==?=\r\n\r\n", "Příloha €", "<1@x>"},
		"no header":          {"hello\nworld", date + id + "\r\nhello\r\nworld", "", "new"},
		"no blank line":      {"Date: x\nMessage-ID: <1@x>\nhello\n", "Date: x\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n", "", "<1@x>"},
		"blank line first":   {"\nSubject: in the body\n", date + id + "\r\nSubject: in the body\r\n", "", "new"},
		"header only":        {"Date: x\nMessage-ID: <1@x>", "Date: x\r\nMessage-ID: <1@x>\r\n\r\n", "", "<1@x>"},
		"mbox line":          {"From o@x Sat Nov 21 09:30:00 2026\nDate: x\nMessage-ID: <1@x>\n\nb", "Date: x\r\nMessage-ID: <1@x>\r\n\r\nb", "", "<1@x>"},
		"empty":              {"", date + id + "\r\n", "", "new"},
		"for nobody's eyes":  {"Date: x\nMessage-ID: <1@x>\nBCC: a@x,\n\tb@x\nSubject: s\nResent-Bcc : c@x\nReturn-Path: <d@x>\n\nBcc: text\n", "Date: x\r\nMessage-ID: <1@x>\r\nSubject: s\r\n\r\nBcc: text\r\n", "s", "<1@x>"},
		"blank before colon": {"Date : x\nMessage-ID\t: <1@x>\n\n", "Date : x\r\nMessage-ID\t: <1@x>\r\n\r\n", "", "<1@x>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newMemory(&history{})
			got, err := acceptor(store).Accept(t.Context(), submission(), strings.NewReader(c.in))
			if err != nil {
				t.Fatal(err)
			}
			k := store.messages[got]
			if c.messageID == "new" {
				c.messageID = k.MessageID
				if !strings.HasSuffix(k.MessageID, "@contoso.com>") {
					t.Errorf("made %q", k.MessageID)
				}
			}
			const from = "From: <o@contoso.com>\r\n" // where there is none
			added, own := "", strings.ReplaceAll(c.want, "<MID>", k.MessageID)
			for _, line := range []string{date, "Message-ID: " + k.MessageID + "\r\n"} {
				if rest, ours := strings.CutPrefix(own, line); ours && !strings.HasPrefix(c.in, line) {
					added, own = added+line, rest
				}
			}
			want := strings.ReplaceAll(top, "ID;", got+";") + added + from + own
			if string(k.body) != want {
				t.Errorf("got\n%q\nwant\n%q", k.body, want)
			}
			if k.Subject != c.subject || k.MessageID != c.messageID || k.State != relay.Queued || k.Size != int64(len(want)) {
				t.Errorf("message %+v", k.Message)
			}
		})
	}
}

func TestAcceptRefuses(t *testing.T) {
	t.Parallel()
	gone := errors.New("connection gone")
	for name, c := range map[string]struct {
		change func(*relay.Submission)
		body   io.Reader
		want   error
	}{
		"no recipient":       {func(s *relay.Submission) { s.To = nil }, strings.NewReader(""), fault.Invalid},
		"no sender":          {func(s *relay.Submission) { s.From = mail.Address{} }, strings.NewReader(""), fault.Invalid},
		"endless header":     {nil, strings.NewReader(strings.Repeat("X: y\n", 100_000)), fault.Invalid},
		"endless line":       {nil, strings.NewReader("X: " + strings.Repeat("y", 1<<20)), fault.Invalid},
		"circle":             {nil, strings.NewReader(strings.Repeat("Received: y\n", 51)), fault.Invalid},
		"broken in header":   {nil, io.MultiReader(strings.NewReader("X: y\n"), failing{gone}), gone},
		"broken in the body": {nil, io.MultiReader(strings.NewReader("X: y\n\nbody"), failing{gone}), gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newMemory(&history{})
			sub := submission()
			if c.change != nil {
				c.change(&sub)
			}
			if id, err := acceptor(store).Accept(t.Context(), sub, c.body); !errors.Is(err, c.want) || id != "" {
				t.Errorf("got %q, %v", id, err)
			}
			if len(store.messages) != 0 {
				t.Error("something was kept")
			}
		})
	}
}

func TestAcceptPassesTheStoresRefusal(t *testing.T) {
	t.Parallel()
	store := newMemory(&history{})
	store.fail("PutMessage", fault.New(fault.Temporary, "put message", "disk full"))
	if _, err := acceptor(store).Accept(t.Context(), submission(), strings.NewReader("x")); !errors.Is(err, fault.Temporary) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Programs ask for SMTPUTF8 wherever it is offered; a message that could do
// without must not fail at a server that has not got it.
func TestAcceptKeepsSMTPUTF8WhereItIsNeeded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		asked bool
		to    string
		in    string
		want  bool
	}{
		"asked, all ASCII":        {true, "a", "Subject: s\n\nbody", false},
		"asked, 8-bit body":       {true, "a", "Subject: s\n\nGrüße", false},
		"asked, UTF-8 in header":  {true, "a", "Subject: s\nX-Note: Grüße\n\nbody", true},
		"not asked, UTF-8 header": {false, "a", "Subject: Grüße\n\nbody", false},
		"UTF-8 in the address":    {false, "größe", "Subject: s\n\nbody", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newMemory(&history{})
			s := submission()
			s.UTF8, s.To[0].Local = c.asked, c.to
			id, err := acceptor(store).Accept(t.Context(), s, strings.NewReader(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := store.messages[id].UTF8; got != c.want {
				t.Errorf("needs SMTPUTF8: %t, want %t", got, c.want)
			}
		})
	}
}
