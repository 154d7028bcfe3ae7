package relay_test

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// wishes is a message to one recipient of whom its sender wants to hear.
func (s *setting) wishes(on mail.Notify, ret mail.Return) string {
	s.t.Helper()
	sub := s.submission("scan", "bob@example.net")
	sub.Notice = mail.Notice{Return: ret, EnvelopeID: "QQ314159"}
	sub.Notices = []mail.RecipientNotice{{Notify: on, Original: "rfc822;Robert@example.net"}}
	return s.submit(sub, "Subject: hush hush\n\nthe text of it\n")
}

// reportOn reads the report on a message as programs do: its parts by media type.
func (s *setting) reportOn(id string) map[string]string {
	s.t.Helper()
	reports := s.store.about(id)
	if len(reports) != 1 {
		s.t.Fatalf("%d reports", len(reports))
	}
	s.mu.Lock()
	raw := s.read[reports[0].ID]
	s.mu.Unlock()
	m, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		s.t.Fatalf("%v in %q", err, raw)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		s.t.Fatal(err)
	}
	found := map[string]string{}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			s.t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			s.t.Fatal(err)
		}
		kind, _, _ := strings.Cut(p.Header.Get("Content-Type"), ";")
		found[kind] = string(b)
	}
}

// upstream answers the mail of scan in one way, and takes everything else.
func (s *setting) upstream(answer func() (smtp.Result, error)) {
	s.reporter = other
	s.sendAs = func(_ context.Context, _ int, env mail.Envelope) (smtp.Result, error) {
		if env.From.Local == "scan" {
			return answer()
		}
		return taken(), nil
	}
}

func TestSenderHearsWhatItAskedFor(t *testing.T) {
	t.Parallel()
	reporting := func() (smtp.Result, error) {
		res := taken()
		res.Reports = true
		return res, nil
	}
	silent := func() (smtp.Result, error) { return taken(), nil }
	for name, c := range map[string]struct {
		on     mail.Notify
		answer func() (smtp.Result, error)
		want   string // Action of the report, "" for none
	}{
		"nothing was said":           {0, refusedForGood, "failed"},
		"failure":                    {mail.NotifyFailure, refusedForGood, "failed"},
		"never":                      {mail.NotifyNever, refusedForGood, ""},
		"success, and it failed":     {mail.NotifySuccess, refusedForGood, ""},
		"success":                    {mail.NotifySuccess | mail.NotifyFailure, silent, "relayed"},
		"success, upstream promises": {mail.NotifySuccess, reporting, ""},
		"failure, and it arrived":    {mail.NotifyFailure, silent, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				s.upstream(c.answer)
				s.run()
				id := s.wishes(c.on, "")
				s.after(10 * time.Minute)
				if c.want == "" {
					if n := len(s.store.about(id)); n != 0 || s.message(id).Bounce == relay.BounceDue {
						t.Errorf("%d reports, bounce %q", n, s.message(id).Bounce)
					}
					return
				}
				fields := s.reportOn(id)["message/delivery-status"]
				for _, want := range []string{"Original-Envelope-Id: QQ314159\r\n", "Original-Recipient: rfc822;Robert@example.net\r\n",
					"Final-Recipient: rfc822; bob@example.net\r\nAction: " + c.want + "\r\n"} {
					if !strings.Contains(fields, want) {
						t.Errorf("no %q in %q", want, fields)
					}
				}
			})
		})
	}
}

func TestLateMessageIsReportedOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.upstream(func() (smtp.Result, error) { return smtp.Result{}, told(fault.Temporary, "451", "4.4.0") })
		s.run()
		id := s.wishes(mail.NotifyDelay, mail.ReturnFull)
		s.after(4*time.Hour - time.Minute)
		if len(s.store.about(id)) != 0 {
			t.Error("it is not late yet")
		}
		s.after(24 * time.Hour)
		parts := s.reportOn(id)
		if f := parts["message/delivery-status"]; !strings.Contains(f, "Action: delayed\r\n") || !strings.Contains(f, "Will-Retry-Until: ") {
			t.Errorf("fields %q", f)
		}
		if _, whole := parts["message/rfc822"]; whole || !strings.Contains(parts["text/rfc822-headers"], "hush hush") {
			t.Errorf("a report of no failure brings the header back: %q", parts)
		}
		s.after(48 * time.Hour)
		if m := s.message(id); m.State != relay.Failed || len(s.store.about(id)) != 1 {
			t.Errorf("in the end %+v, %d reports", m, len(s.store.about(id)))
		}
	})
}

// A message whose account is paused is never tried, and late all the same.
func TestLateWithoutATry(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		s.upstream(func() (smtp.Result, error) { return taken(), nil })
		s.paused["scan"] = "sign in"
		s.run()
		id := s.wishes(mail.NotifyDelay, "")
		s.after(5 * time.Hour)
		if !strings.Contains(s.reportOn(id)["message/delivery-status"], "Action: delayed\r\n") {
			t.Error("its sender was not told")
		}
	})
}

func TestHowMuchComesBack(t *testing.T) {
	t.Parallel()
	for ret, want := range map[mail.Return]string{"": "text/rfc822-headers", mail.ReturnHeader: "text/rfc822-headers", mail.ReturnFull: "message/rfc822"} {
		t.Run("RET="+string(ret), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, s *setting) {
				s.upstream(refusedForGood)
				s.run()
				id := s.wishes(0, ret)
				s.after(time.Minute)
				parts := s.reportOn(id)
				if len(parts) != 3 || !strings.Contains(parts[want], "Subject: hush hush") ||
					strings.Contains(parts[want], "the text of it") != (ret == mail.ReturnFull) {
					t.Errorf("parts %q", parts)
				}
			})
		})
	}
}
