package relay_test

import (
	"context"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	pmail "postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

func refusedForGood() (smtp.Result, error) {
	return smtp.Result{}, &fault.Error{Kind: fault.Permanent, Op: "smtp RCPT TO",
		Reply: &fault.Reply{Protocol: "smtp", Code: "550", Enhanced: "5.1.10", Text: "RESOLVER.ADR.RecipientNotFound; Recipient not found"}}
}

// other sends reports from another mailbox than the one that failed.
func other(relay.Message) (string, pmail.Address, bool) {
	return "office", pmail.Address{Local: "office", Domain: "contoso.com"}, true
}

func TestSenderIsToldOnceThroughAnotherAccount(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.reporter = other
		s.sendAs = func(_ context.Context, _ int, env pmail.Envelope) (smtp.Result, error) {
			if env.From.Local == "scan" {
				return refusedForGood()
			}
			return taken(), nil
		}
		s.run()
		id := s.accept("scan", "gone@example.net")
		s.after(10 * time.Minute)
		reports := s.store.about(id)
		if len(reports) != 1 || s.message(id).Bounce != relay.BounceSent {
			t.Fatalf("%d reports on %+v", len(reports), s.message(id))
		}
		m := reports[0]
		if m.State != relay.Delivered || m.Account != "office" || m.Recipients[0].Address.String() != "scan@contoso.com" {
			t.Errorf("the report is %+v", m.Message)
		}
		s.end()
	})
}

func TestReportIsNeverReportedOn(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.reporter = other
		s.sendAs = func(context.Context, int, pmail.Envelope) (smtp.Result, error) { return refusedForGood() }
		s.run()
		id := s.accept("scan", "gone@example.net")
		s.after(time.Hour)
		report := s.store.about(id)
		if len(report) != 1 || report[0].State != relay.Failed || report[0].Bounce != "" || len(s.store.about(report[0].ID)) != 0 {
			t.Errorf("reports %+v", report)
		}
		s.end()
	})
}

func TestReportWaitsForAWay(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.sendAs = func(_ context.Context, _ int, env pmail.Envelope) (smtp.Result, error) {
			if env.From.Local == "scan" {
				return refusedForGood()
			}
			return taken(), nil
		}
		s.run()
		id := s.accept("scan", "gone@example.net")
		s.after(time.Hour)
		if m := s.message(id); m.Bounce != relay.BounceDue {
			t.Errorf("got %+v", m)
		}
		s.mu.Lock()
		s.reporter = other
		s.mu.Unlock()
		s.after(time.Hour)
		if len(s.store.about(id)) != 1 {
			t.Error("the report did not go when there was a way")
		}
		s.mu.Lock()
		s.reporter = nil
		s.mu.Unlock()
		late := s.accept("scan", "gone@example.net")
		s.after(6 * 24 * time.Hour)
		if m := s.message(late); m.Bounce != relay.BounceNone || len(s.store.about(late)) != 0 {
			t.Errorf("after six days %+v", m)
		}
		s.end()
	})
}

// Reports that nobody can send for now hold up no others, however many they are.
func TestReportsWithoutAWayHoldUpNobody(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		const many = 250
		s.sendAs = func(_ context.Context, _ int, env pmail.Envelope) (smtp.Result, error) {
			if env.From.Local == "office" {
				return taken(), nil
			}
			return refusedForGood()
		}
		s.run()
		for range many {
			s.accept("scan", "gone@example.net")
		}
		s.after(time.Minute)
		var newer []string
		for range many {
			newer = append(newer, s.accept("fax", "gone@example.net"))
		}
		s.after(time.Hour)
		s.mu.Lock()
		s.reporter = func(of relay.Message) (string, pmail.Address, bool) {
			account, from, _ := other(of)
			return account, from, of.Account == "fax"
		}
		s.mu.Unlock()
		s.after(10 * time.Minute)
		for _, id := range newer {
			if n := len(s.store.about(id)); n != 1 {
				t.Fatalf("%d reports on %+v", n, s.message(id))
			}
		}
		s.end()
	})
}

// The report is read by software that is not ours: net/mail and mime/multipart.
func TestReportIsAMessageProgramsRead(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.reporter = other
		var raw string
		s.sendAs = func(_ context.Context, _ int, env pmail.Envelope) (smtp.Result, error) {
			if env.From.Local == "scan" {
				return refusedForGood()
			}
			return smtp.Result{}, fault.New(fault.Temporary, "send", "later") // so that the body is kept
		}
		s.run()
		id := s.accept("scan", "gone@example.net", "also-gone@example.net")
		s.after(time.Second)
		for _, k := range s.store.about(id) {
			raw = string(k.body)
		}
		s.end()
		for line := range strings.SplitSeq(raw, "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("line %q", line)
			}
		}
		m, err := mail.ReadMessage(strings.NewReader(raw))
		if err != nil {
			t.Fatalf("%v in %q", err, raw)
		}
		kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
		if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
			t.Fatalf("%v %v %v", kind, params, err)
		}
		if m.Header.Get("Auto-Submitted") != "auto-replied" || !strings.Contains(m.Header.Get("Subject"), "hush hush") {
			t.Errorf("header %v", m.Header)
		}
		var kinds []string
		parts := multipart.NewReader(m.Body, params["boundary"])
		for {
			p, err := parts.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(p)
			kinds = append(kinds, p.Header.Get("Content-Type"))
			if p.Header.Get("Content-Type") == "message/delivery-status" {
				for _, want := range []string{"Final-Recipient: rfc822; gone@example.net\r\n", "Final-Recipient: rfc822; also-gone@example.net\r\n",
					"Action: failed\r\n", "Status: 5.1.10\r\n", "Reporting-MTA: dns; gate.example\r\n", "Diagnostic-Code: smtp; "} {
					if !strings.Contains(string(b), want) {
						t.Errorf("no %q in %q", want, b)
					}
				}
			}
		}
		if want := "text/plain; charset=utf-8, message/delivery-status, text/rfc822-headers"; strings.Join(kinds, ", ") != want {
			t.Errorf("parts %q", kinds)
		}
	})
}
