package api

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	netmail "net/mail"
	"path/filepath"
	"slices"
	"strings"

	message "github.com/emersion/go-message/mail"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Draft is a letter in the words of the API.
type Draft struct {
	From        string            `json:"from,omitempty" doc:"Sender, with or without a name. Left out: the mailbox of the token's device." example:"Scanner <scan@contoso.com>"`
	To          []string          `json:"to,omitempty" doc:"Recipients, with or without a name." example:"[\"someone@example.com\"]"`
	Cc          []string          `json:"cc,omitempty"`
	Bcc         []string          `json:"bcc,omitempty" doc:"Recipients that nobody sees."`
	ReplyTo     []string          `json:"reply_to,omitempty"`
	Subject     string            `json:"subject,omitempty"`
	Text        string            `json:"text,omitempty"`
	HTML        string            `json:"html,omitempty" doc:"Beside text, or instead of it."`
	Headers     map[string]string `json:"headers,omitempty" doc:"Further headers: X-…, List-…, In-Reply-To, References, Message-ID, Date, Importance, Priority, Sensitivity, Auto-Submitted, Organization."`
	Attachments []Attachment      `json:"attachments,omitempty"`
}

// Attachment is a file that goes with a letter.
type Attachment struct {
	Name      string `json:"name" minLength:"1"`
	Type      string `json:"type,omitempty" doc:"Media type. Left out: what the name's ending says." example:"application/pdf"`
	ContentID string `json:"content_id,omitempty" doc:"Shown where the HTML says cid:…, rather than attached."`
	Content   []byte `json:"content" doc:"Base64."`

	Open func() (io.ReadCloser, error) `json:"-"` // instead of Content
}

// Letter is a draft whose every field has been found good.
type Letter struct {
	From mail.Address // null when the draft names none
	To   []mail.Address

	header message.Header
	draft  Draft
}

// Letter checks a draft: addresses, headers and names that would break out of their
// line are fault.Invalid, and named.
func (d Draft) Letter() (Letter, error) {
	l := Letter{draft: d}
	for _, f := range []struct {
		field, header string
		list          []string
	}{{"from", "From", one(d.From)}, {"to", "To", d.To}, {"cc", "Cc", d.Cc}, {"bcc", "", d.Bcc}, {"reply_to", "Reply-To", d.ReplyTo}} {
		shown, plain, err := parseAll(f.field, f.list)
		if err != nil {
			return l, err
		}
		switch f.field {
		case "from":
			if len(plain) > 0 {
				l.From = plain[0]
			}
		case "to", "cc", "bcc":
			l.To = append(l.To, plain...)
		}
		if f.header != "" && len(shown) > 0 {
			l.header.SetAddressList(f.header, shown)
		}
	}
	if len(d.To)+len(d.Cc) == 0 {
		l.header.Set("To", "undisclosed-recipients:;") // some readers and filters dislike a letter to nobody
	}
	if err := oneLine("subject", d.Subject); err != nil {
		return l, err
	}
	l.header.SetSubject(d.Subject)
	if err := l.setHeaders(); err != nil {
		return l, err
	}
	return l, l.checkAttachments()
}

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// parseAll reads addresses, as shown and as the envelope has them.
func parseAll(field string, list []string) (shown []*message.Address, plain []mail.Address, err error) {
	for i, text := range list {
		if err := oneLine(field, text); err != nil {
			return nil, nil, err
		}
		parsed, err := netmail.ParseAddress(text)
		if err != nil {
			return nil, nil, invalid(fmt.Sprintf("%s[%d]", field, i), "%q is not a mail address", text)
		}
		a, err := mail.ParseAddress(parsed.Address)
		if err != nil {
			return nil, nil, invalid(fmt.Sprintf("%s[%d]", field, i), "%w", err)
		}
		shown, plain = append(shown, parsed), append(plain, a)
	}
	return shown, plain, nil
}

// allowed are the headers that a draft may set by name; the others have a field of
// their own, or are not the sender's to set.
var allowed = [...]string{"in-reply-to", "references", "message-id", "date", "importance", "priority", "sensitivity", "auto-submitted", "organization"}

func (l *Letter) setHeaders() error {
	for name, value := range l.draft.Headers {
		low := strings.ToLower(name)
		free := strings.HasPrefix(low, "x-") && !strings.HasPrefix(low, "x-ms-exchange-") || strings.HasPrefix(low, "list-")
		switch {
		case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }):
			return invalid("headers", "%q is not the name of a header", name)
		case !free && !slices.Contains(allowed[:], low):
			return invalid("headers", "%s may not be set; allowed: X-…, List-…, %s", name, strings.Join(allowed[:], ", "))
		case len(value) > 900:
			return invalid("headers", "%s is longer than 900 octets", name)
		}
		if err := oneLine("headers: "+name, value); err != nil {
			return err
		}
		l.header.SetText(name, value)
	}
	return nil
}

func (l *Letter) checkAttachments() error {
	for i := range l.draft.Attachments {
		a := &l.draft.Attachments[i]
		field := fmt.Sprintf("attachments[%d]", i)
		for _, s := range []string{a.Name, a.Type, a.ContentID} {
			if err := oneLine(field, s); err != nil {
				return err
			}
		}
		if strings.ContainsAny(a.ContentID, " <>") {
			return invalid(field, "%q is not a content id", a.ContentID)
		}
		if a.Type == "" {
			a.Type = mime.TypeByExtension(filepath.Ext(a.Name))
		}
		kind, _, err := mime.ParseMediaType(a.Type)
		switch {
		case a.Type == "":
			a.Type = "application/octet-stream"
		case err != nil:
			return invalid(field, "%q is not a media type", a.Type)
		case strings.HasPrefix(kind, "multipart/"), strings.HasPrefix(kind, "message/"):
			a.Type = "application/octet-stream" // those may not be in base64 (RFC 2045 §6.4)
		}
	}
	return nil
}

// oneLine refuses what would end a header line and begin another.
func oneLine(field, s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return invalid(field, "a line end or control character is not allowed there")
	}
	return nil
}

func invalid(field, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "read message: "+field, format, args...)
}

// Reader yields the letter as a message. Close ends it early.
func (l Letter) Reader() io.ReadCloser {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(l.write(w)) }()
	return r
}

func (l Letter) write(w io.Writer) error {
	if len(l.draft.Attachments) == 0 {
		if l.draft.HTML == "" || l.draft.Text == "" {
			h := l.header.Copy()
			kind, text := l.only()
			h.SetContentType(kind, map[string]string{"charset": "utf-8"})
			part, err := message.CreateSingleInlineWriter(w, h)
			return fill(part, err, strings.NewReader(text))
		}
		both, err := message.CreateInlineWriter(w, l.header)
		if err != nil {
			return err
		}
		return l.writeBoth(both)
	}
	whole, err := message.CreateWriter(w, l.header)
	if err != nil {
		return err
	}
	if err := l.writeText(whole); err != nil {
		return err
	}
	for _, a := range l.draft.Attachments {
		if err := a.write(whole); err != nil {
			return err
		}
	}
	return whole.Close()
}

// only is the one text of a letter that has one.
func (l Letter) only() (kind, text string) {
	if l.draft.HTML != "" {
		return "text/html", l.draft.HTML
	}
	return "text/plain", l.draft.Text
}

func (l Letter) writeText(whole *message.Writer) error {
	if l.draft.HTML != "" && l.draft.Text != "" {
		both, err := whole.CreateInline()
		if err != nil {
			return err
		}
		return l.writeBoth(both)
	}
	kind, text := l.only()
	part, err := whole.CreateSingleInline(textHeader(kind))
	return fill(part, err, strings.NewReader(text))
}

func (l Letter) writeBoth(both *message.InlineWriter) error {
	for _, t := range [][2]string{{"text/plain", l.draft.Text}, {"text/html", l.draft.HTML}} {
		part, err := both.CreatePart(textHeader(t[0]))
		if err := fill(part, err, strings.NewReader(t[1])); err != nil {
			return err
		}
	}
	return both.Close()
}

func textHeader(kind string) (h message.InlineHeader) {
	h.SetContentType(kind, map[string]string{"charset": "utf-8"})
	return h
}

func (a Attachment) write(whole *message.Writer) (err error) {
	var from io.Reader = bytes.NewReader(a.Content)
	if a.Open != nil {
		f, err := a.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	kind, params, _ := mime.ParseMediaType(a.Type)
	if a.ContentID != "" {
		var h message.InlineHeader
		h.SetContentType(kind, params)
		h.Set("Content-Id", "<"+a.ContentID+">")
		h.Set("Content-Transfer-Encoding", "base64")
		part, err := whole.CreateSingleInline(h)
		return fill(part, err, from)
	}
	var h message.AttachmentHeader
	h.SetContentType(kind, params)
	h.SetFilename(a.Name)
	part, err := whole.CreateAttachment(h)
	return fill(part, err, from)
}

// fill writes a part and ends it.
func fill(part io.WriteCloser, err error, from io.Reader) error {
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, from); err != nil {
		return err
	}
	return part.Close()
}
