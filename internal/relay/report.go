package relay

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"regexp"
	"strings"
	"time"

	"postern/internal/mail"
)

// report is a delivery status notification about to be written (RFC 3464).
type report struct {
	of       Message
	from     mail.Address // whose mailbox sends it
	to       mail.Address
	hostname string
	now      time.Time
	header   []byte // of the message it is about
}

// maxReturned bounds how much of the original header goes back.
const maxReturned = 32 << 10

// write writes the whole message: words for a person, fields for a program, and the
// header of what could not be delivered.
func (d report) write(w io.Writer) error {
	body := multipart.NewWriter(w)
	head := []struct{ key, value string }{
		{"From", mime.QEncoding.Encode("utf-8", "Mail delivery") + " <" + d.from.String() + ">"},
		{"To", "<" + d.to.String() + ">"},
		{"Subject", mime.QEncoding.Encode("utf-8", d.subject())},
		{"Date", d.now.Format(rfc5322Date)},
		{"Message-ID", mail.NewMessageID(d.now, d.from.Domain)},
		{"Auto-Submitted", "auto-replied"}, // RFC 3834: nobody answers this by machine
		{"References", d.of.MessageID},
		{"MIME-Version", "1.0"},
		{"Content-Type", mime.FormatMediaType("multipart/report", map[string]string{"report-type": "delivery-status", "boundary": body.Boundary()})},
	}
	var b bytes.Buffer
	for _, h := range head {
		if h.value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", h.key, h.value)
		}
	}
	b.WriteString("\r\n")
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	for _, part := range []func(*multipart.Writer) error{d.words, d.fields, d.original} {
		if err := part(body); err != nil {
			return err
		}
	}
	return body.Close()
}

const rfc5322Date = "Mon, 02 Jan 2006 15:04:05 -0700"

func (d report) subject() string {
	if d.of.Subject == "" {
		return "Not delivered"
	}
	return "Not delivered: " + d.of.Subject
}

// refused are the recipients it is about.
func (d report) refused() []Recipient {
	var out []Recipient
	for _, r := range d.of.Recipients {
		if r.State == Refused {
			out = append(out, r)
		}
	}
	return out
}

func (d report) words(body *multipart.Writer) error {
	p, err := body.CreatePart(textproto.MIMEHeader{
		"Content-Type": {"text/plain; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"},
	})
	if err != nil {
		return err
	}
	q := quotedprintable.NewWriter(p)
	fmt.Fprintf(q, "This message could not be delivered to everybody:\r\n\r\n  Subject: %s\r\n  Handed in: %s\r\n  By: %s\r\n",
		d.of.Subject, d.of.Accepted.UTC().Format(time.RFC1123), d.of.Device)
	for _, r := range d.refused() {
		fmt.Fprintf(q, "\r\nNot delivered to %s. The server said:\r\n  %s\r\n", r.Address, r.Reply)
	}
	fmt.Fprintf(q, "\r\nPostern keeps it under the number %s. To try again: postern queue retry %s\r\n", d.of.ID, d.of.ID)
	return q.Close()
}

// fields writes the part that programs read (RFC 3464 section 2).
func (d report) fields(body *multipart.Writer) error {
	p, err := body.CreatePart(textproto.MIMEHeader{"Content-Type": {"message/delivery-status"}})
	if err != nil {
		return err
	}
	fmt.Fprintf(p, "Reporting-MTA: dns; %s\r\nX-Postern-Queue-ID: %s\r\nArrival-Date: %s\r\n",
		atom(d.hostname), d.of.ID, d.of.Accepted.Format(rfc5322Date))
	for _, r := range d.refused() {
		kind := "rfc822"
		if r.Address.NeedsUTF8() {
			kind = "utf-8" // RFC 6533 section 3
		}
		fmt.Fprintf(p, "\r\nFinal-Recipient: %s; %s\r\nAction: failed\r\nStatus: %s\r\n", kind, r.Address, status(r.Reply))
		if r.Reply != "" {
			fmt.Fprintf(p, "Diagnostic-Code: smtp; %s\r\n", fold(r.Reply))
		}
		if _, err := fmt.Fprintf(p, "Last-Attempt-Date: %s\r\n", d.of.Done.Format(rfc5322Date)); err != nil {
			return err
		}
	}
	return nil
}

func (d report) original(body *multipart.Writer) error {
	kind := "text/rfc822-headers"
	p, err := body.CreatePart(textproto.MIMEHeader{"Content-Type": {kind}, "Content-Transfer-Encoding": {"quoted-printable"}})
	if err != nil {
		return err
	}
	q := quotedprintable.NewWriter(p)
	if _, err := q.Write(d.header[:min(len(d.header), maxReturned)]); err != nil {
		return err
	}
	return q.Close()
}

var enhanced = regexp.MustCompile(`\b([245]\.\d{1,3}\.\d{1,3})\b`)

// status is the enhanced code of a server's words (RFC 3463); a message that was
// given up after temporary failures has 4.x.x as its last word and failed all the
// same: then it is 4.4.7, delivery time expired.
func status(reply string) string {
	m := enhanced.FindString(reply)
	switch {
	case m == "" || m[0] == '2':
		return "5.0.0"
	case m[0] == '4':
		return "4.4.7"
	}
	return m
}

// fold keeps a field's value on lines a mail may have.
func fold(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	var b strings.Builder
	for line := 0; len(s) > 0; {
		word, rest, _ := strings.Cut(s, " ")
		if line > 0 && line+len(word) > 70 {
			b.WriteString("\r\n ")
			line = 0
		} else if line > 0 {
			b.WriteByte(' ')
		}
		for len(word) > 500 { // RFC 5322 allows 998 octets a line
			b.WriteString(word[:500] + "\r\n ")
			word = word[500:]
		}
		b.WriteString(word)
		line += len(word) + 1
		s = rest
	}
	return b.String()
}
