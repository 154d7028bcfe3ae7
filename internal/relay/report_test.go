package relay

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"postern/internal/mail"
)

// FuzzReport lets strangers choose every word of a report: what a server says, what a
// sender asked for, its subject and header. It must stay one message that programs read,
// with no field in it that is not ours.
func FuzzReport(f *testing.F) {
	f.Add("550 5.1.10 RESOLVER.ADR.RecipientNotFound", "rfc822;bob@example.net", "QQ314159", "hush", "Subject: hush\r\n", byte(0))
	f.Add("x\r\nAction: delivered\r\n\r\n--", "a\r\nBcc: b@c", "\r\n.\r\n", "a\r\nBcc: x@y", "\x00\xff\r\n", byte(1))
	f.Add("550 5.1.1 Empfänger unbekannt", "utf-8;jörg@müller.example", "QQ", "hush", "", byte(0))
	f.Add(strings.Repeat("w", 3000), "", "", "", "", byte(2))
	f.Fuzz(func(t *testing.T, reply, original, envelope, subject, header string, kind byte) {
		of := Message{
			ID: "m1", Device: "scanner", From: mail.Address{Local: "scan", Domain: "contoso.com"}, Subject: oneLine(subject), Hint: reply,
			State: []State{Failed, Delivered, Queued}[kind%3], Notice: mail.Notice{EnvelopeID: envelope}, Accepted: time.Unix(0, 0), Done: time.Unix(1, 0),
			Recipients: []Recipient{{Address: mail.Address{Local: "bob", Domain: "example.net"}, Reply: reply, Blind: true,
				State: []RecipientState{Refused, Accepted, Waiting}[kind%3], RecipientNotice: mail.RecipientNotice{Notify: mail.NotifyFailure | mail.NotifyDelay, Original: original}}},
		}
		var b bytes.Buffer
		d := report{of: of, about: of.Recipients, from: of.From, to: of.From, hostname: "gate.example", now: time.Unix(2, 0), giveUp: time.Unix(3, 0),
			original: io.NopCloser(strings.NewReader(header))}
		if err := d.write(&b); err != nil {
			t.Fatal(err)
		}
		m, err := netmail.ReadMessage(bytes.NewReader(b.Bytes()))
		if err != nil || m.Header.Get("Bcc") != "" || m.Header.Get("To") != "<scan@contoso.com>" {
			t.Fatalf("%v, header %v", err, m.Header)
		}
		_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		parts := multipart.NewReader(m.Body, params["boundary"])
		for n, want := range []string{"text/plain; charset=utf-8", "message/delivery-status", "text/rfc822-headers"} {
			p, err := parts.NextPart()
			if err != nil || p.Header.Get("Content-Type") != want {
				t.Fatalf("part %d is %v, %v", n, p, err)
			}
			text, err := io.ReadAll(p)
			if err != nil {
				t.Fatal(err)
			}
			if n == 1 {
				wellFormed(t, string(text), []string{"failed", "relayed", "delayed"}[kind%3])
			}
		}
		if p, err := parts.NextPart(); err != io.EOF {
			t.Fatalf("a fourth part: %v, %v", p, err)
		}
	})
}

func TestStatusOfWords(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"smtp RCPT TO: 550 5.1.10 RESOLVER.ADR.RecipientNotFound":                        "5.1.10",
		"smtp message: 554 5.2.0 STOREDRV.Submission.Exception:X":                        "5.2.0",
		"smtp message: 550 Blocked (5.7.1).":                                             "5.7.1",
		"smtp message: 550 Relaying is denied, 5.7.1.":                                   "5.7.1",
		"smtp RCPT TO: 451 4.7.500-699 (ASxxx) Server busy":                              "4.4.7",
		"smtp connect: dial tcp 10.5.1.2:587: connect: connection refused":               "5.0.0",
		"smtp RCPT TO: 550 Client host [5.1.2.3] is blocked":                             "5.0.0",
		"smtp RCPT TO: 550 5.7.1 Client host [5.1.2.3] is blocked":                       "5.7.1",
		"smtp RCPT TO: 550 Client host [5.1.2.3] is blocked, 5.7.606":                    "5.7.606",
		"graph sendMail: 403 ErrorSendAsDenied The user account does not have the right": "5.0.0",
		"": "5.0.0",
	} {
		if got := status(words); got != want {
			t.Errorf("%q is %s, want %s", words, got, want)
		}
	}
}

// wellFormed holds the fields to two groups of ASCII, one of them the one recipient's, with
// the one action that is true.
func wellFormed(t *testing.T, fields, action string) {
	t.Helper()
	if groups := strings.Split(strings.TrimRight(fields, "\r\n"), "\r\n\r\n"); len(groups) != 2 {
		t.Fatalf("%d groups in %q", len(groups), fields)
	}
	for line := range strings.SplitSeq(fields, "\r\n") {
		if len(line) > 998 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
			t.Fatalf("line %q", line)
		}
		if strings.HasPrefix(line, "Action: ") && line != "Action: "+action {
			t.Fatalf("%q, want %s", line, action)
		}
	}
}
