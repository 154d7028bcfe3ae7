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
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/mail"
)

// report is a delivery status notification about to be written (RFC 3464).
type report struct {
	of       Message
	about    []Recipient  // whom of it this report names
	from     mail.Address // whose mailbox sends it
	to       mail.Address
	hostname string
	now      time.Time
	giveUp   time.Time     // of a message that is late: until when it is tried
	original io.ReadCloser // its header, or all of it; nil when it is kept no longer
	whole    bool
}

// Bounds of what goes back.
const (
	maxReturned = 32 << 10 // octets of a header
	maxWhole    = 10 << 20 // octets of a whole message; of a larger one the header goes
)

// write writes the whole message: words for a person, fields for a program, and what
// is left of the message it is about.
func (d report) write(w io.Writer) error {
	body := multipart.NewWriter(w)
	// Nobody knew the number before the message was handed in, so it is not in there.
	if err := body.SetBoundary("report_" + d.of.ID); err != nil {
		return err
	}
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
	for _, part := range []func(*multipart.Writer) error{d.words, d.fields, d.returned} {
		if err := part(body); err != nil {
			return err
		}
	}
	return body.Close()
}

const rfc5322Date = "Mon, 02 Jan 2006 15:04:05 -0700"

func (d report) subject() string {
	what := map[RecipientState]string{Refused: "Not delivered", Accepted: "Passed on", Waiting: "Delayed"}[d.says()]
	if d.of.Subject == "" {
		return what
	}
	return what + ": " + d.of.Subject
}

// says is what it says of its recipients, the worst of it.
func (d report) says() RecipientState {
	for _, s := range []RecipientState{Refused, Accepted} {
		if slices.ContainsFunc(d.about, func(r Recipient) bool { return r.State == s }) {
			return s
		}
	}
	return Waiting
}

// tells are the recipients whose outcome is no longer owed once it is in the queue.
func (d report) tells() []mail.Address {
	var all []mail.Address
	for _, r := range d.about {
		if r.State != Waiting {
			all = append(all, r.Address)
		}
	}
	return all
}

func (d report) words(body *multipart.Writer) error {
	p, err := body.CreatePart(textproto.MIMEHeader{
		"Content-Type": {"text/plain; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"},
	})
	if err != nil {
		return err
	}
	q := quotedprintable.NewWriter(p)
	first := map[RecipientState]string{
		Refused:  "This message could not be delivered to everybody:",
		Accepted: "This message was passed on to the mail server, which does not report on its own when it arrives:",
		Waiting:  "This message has not been delivered yet. You need not send it again:",
	}[d.says()]
	fmt.Fprintf(q, "%s\r\n\r\n  Subject: %s\r\n  Handed in: %s\r\n  By: %s\r\n",
		first, d.of.Subject, d.of.Accepted.UTC().Format(time.RFC1123), d.of.Device)
	for _, r := range d.about {
		d.wordsOn(q, r)
	}
	if d.says() == Refused {
		switch {
		case d.of.Done.IsZero(): // what its hint says is about those
			fmt.Fprint(q, "\r\nOthers have not got it yet; for them Postern goes on trying.\r\n")
		case d.of.Hint != "":
			fmt.Fprintf(q, "\r\nWhat to do: %s\r\n", oneLine(d.of.Hint))
		}
		fmt.Fprintf(q, "\r\nPostern keeps it under the number %s. To try again: postern queue retry %s\r\n", d.of.ID, d.of.ID)
	}
	return q.Close()
}

func (d report) wordsOn(w io.Writer, r Recipient) {
	switch r.State {
	case Refused:
		fmt.Fprintf(w, "\r\nNot delivered to %s. The server said:\r\n  %s\r\n", r.Address, r.Reply)
	case Accepted:
		fmt.Fprintf(w, "\r\nPassed on for %s. The server said:\r\n  %s\r\n", r.Address, r.Reply)
	default:
		fmt.Fprintf(w, "\r\nNot yet delivered to %s; Postern tries until %s.\r\n", r.Address, d.giveUp.UTC().Format(time.RFC1123))
		if r.Reply != "" {
			fmt.Fprintf(w, "The server said:\r\n  %s\r\n", r.Reply)
		}
	}
}

// fields writes the part that programs read (RFC 3464 section 2).
func (d report) fields(body *multipart.Writer) error {
	p, err := body.CreatePart(textproto.MIMEHeader{"Content-Type": {"message/delivery-status"}})
	if err != nil {
		return err
	}
	if id := d.of.Notice.EnvelopeID; id != "" {
		fmt.Fprintf(p, "Original-Envelope-Id: %s\r\n", fold(ascii(id)))
	}
	fmt.Fprintf(p, "Reporting-MTA: dns; %s\r\nX-Postern-Queue-ID: %s\r\nArrival-Date: %s\r\n",
		atom(d.hostname), d.of.ID, d.of.Accepted.Format(rfc5322Date))
	for _, r := range d.about {
		if err := d.fieldsOf(p, r); err != nil {
			return err
		}
	}
	return nil
}

// fieldsOf writes the group of one recipient (RFC 3464 §2.3; relayed: RFC 3461 §5.2.2).
func (d report) fieldsOf(p io.Writer, r Recipient) error {
	kind, action, code := "rfc822", "delayed", "4.4.7"
	if r.Address.NeedsUTF8() {
		kind = "utf-8" // RFC 6533 section 3
	}
	switch r.State {
	case Refused:
		action, code = "failed", status(r.Reply)
	case Accepted:
		action, code = "relayed", "2.0.0"
	}
	var b strings.Builder
	b.WriteString("\r\n")
	if r.Original != "" {
		fmt.Fprintf(&b, "Original-Recipient: %s\r\n", fold(ascii(r.Original)))
	}
	fmt.Fprintf(&b, "Final-Recipient: %s; %s\r\nAction: %s\r\nStatus: %s\r\n", kind, ascii(r.Address.String()), action, code)
	if r.Reply != "" {
		fmt.Fprintf(&b, "Diagnostic-Code: smtp; %s\r\n", fold(ascii(r.Reply)))
	}
	switch {
	case r.State == Waiting:
		fmt.Fprintf(&b, "Will-Retry-Until: %s\r\n", d.giveUp.Format(rfc5322Date))
	case !d.of.Done.IsZero(): // while others wait nobody has kept when this one was tried
		fmt.Fprintf(&b, "Last-Attempt-Date: %s\r\n", d.of.Done.Format(rfc5322Date))
	}
	_, err := io.WriteString(p, b.String())
	return err
}

// returned writes the third part, which may be left out. A whole message goes as it
// is, because no other coding is allowed for it (RFC 2046 §5.2.1).
func (d report) returned(body *multipart.Writer) error {
	if d.original == nil {
		return nil
	}
	if d.whole {
		return d.returnedWhole(body)
	}
	p, err := body.CreatePart(textproto.MIMEHeader{"Content-Type": {"text/rfc822-headers"}, "Content-Transfer-Encoding": {"quoted-printable"}})
	if err != nil {
		return err
	}
	q := quotedprintable.NewWriter(p)
	if _, err := io.Copy(q, d.original); err != nil {
		return err
	}
	return q.Close()
}

func (d report) returnedWhole(body *multipart.Writer) error {
	h := textproto.MIMEHeader{"Content-Type": {"message/rfc822"}}
	if d.of.UTF8 {
		h.Set("Content-Type", "message/global") // RFC 6532 section 3.7
	}
	if d.of.EightBit || d.of.UTF8 {
		h.Set("Content-Transfer-Encoding", "8bit")
	}
	p, err := body.CreatePart(h)
	if err == nil {
		_, err = io.Copy(p, d.original)
	}
	return err
}

// ascii writes text for the part that programs read, which has none but ASCII there, and
// no control characters: an address as RFC 6533 section 3 does (utf-8-addr-xtext), and
// other text likewise.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range oneLine(s) {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

// enhanced finds an enhanced code among words, and no piece of an address or a version.
var enhanced = regexp.MustCompile(`(?:^|[^\d.])([245]\.\d{1,3}\.\d{1,3})(?:[^\d.]|\.?$|\.\s)`)

// status is the enhanced code of a server's words (RFC 3463); a message that was
// given up after temporary failures has 4.x.x as its last word and failed all the
// same: then it is 4.4.7, delivery time expired.
func status(reply string) string {
	m := enhanced.FindStringSubmatch(reply)
	switch {
	case m == nil || m[1][0] == '2':
		return "5.0.0"
	case m[1][0] == '4':
		return "4.4.7"
	}
	return m[1]
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
