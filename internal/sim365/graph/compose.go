package graph

import (
	"bytes"
	"encoding/base64"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"net/textproto"
	"strings"
	"time"

	"postern/internal/sim365/world"
)

// message is the draft as Exchange would put it on the wire.
func (i item) message(mailbox string, now time.Time) []byte {
	var b bytes.Buffer
	field := func(name, value string) {
		if value != "" {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	from := "<" + mailbox + ">"
	if i.From != nil {
		from = list([]recipient{*i.From})
	}
	field("From", from)
	field("To", list(i.To))
	field("Cc", list(i.Cc))
	field("Bcc", list(i.Bcc))
	field("Reply-To", list(i.ReplyTo))
	field("Subject", mime.QEncoding.Encode("utf-8", i.Subject))
	field("Message-ID", i.MessageID)
	field("Date", now.Format(time.RFC1123Z))
	field("Importance", i.Importance)
	for _, p := range i.Properties {
		field(map[string]string{"String 0x1042": "In-Reply-To", "String 0x1039": "References"}[p.ID], p.Value)
	}
	for _, h := range i.Headers {
		field(h.Name, h.Value)
	}
	parts := multipart.NewWriter(&b)
	field("MIME-Version", "1.0")
	field("Content-Type", "multipart/mixed; boundary="+parts.Boundary())
	b.WriteString("\r\n")
	body := itemBody{ContentType: "text"}
	if i.Body != nil {
		body = *i.Body
	}
	kind := map[string]string{"html": "text/html"}[strings.ToLower(body.ContentType)]
	if kind == "" {
		kind = "text/plain"
	}
	add(parts, textproto.MIMEHeader{"Content-Type": {kind + "; charset=utf-8"}}, []byte(body.Content))
	for _, f := range i.files {
		h := textproto.MIMEHeader{"Content-Type": {f.Kind}, "Content-Disposition": {mime.FormatMediaType("attachment", map[string]string{"filename": f.Name})}}
		if f.Inline {
			h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": f.Name}))
			h.Set("Content-ID", "<"+f.ContentID+">")
		}
		add(parts, h, f.Bytes)
	}
	_ = parts.Close() // into memory
	return b.Bytes()
}

// add writes a part in base64.
func add(parts *multipart.Writer, h textproto.MIMEHeader, content []byte) {
	const line = 57 // octets that make 76 characters
	h.Set("Content-Transfer-Encoding", "base64")
	w, err := parts.CreatePart(h)
	if err != nil {
		return // into memory: it does not happen
	}
	for len(content) > 0 {
		n := min(line, len(content))
		_, _ = w.Write([]byte(base64.StdEncoding.EncodeToString(content[:n]) + "\r\n"))
		content = content[n:]
	}
}

func list(rs []recipient) string {
	words := make([]string, len(rs))
	for i, r := range rs {
		words[i] = (&netmail.Address{Name: r.EmailAddress.Name, Address: r.EmailAddress.Address}).String()
	}
	return strings.Join(words, ",\r\n ")
}

// itemOf is a message of Sent Items in JSON.
func itemOf(sent world.Stored) (item, bool) {
	m, err := netmail.ReadMessage(bytes.NewReader(sent.Raw))
	if err != nil {
		return item{}, false
	}
	i := item{ID: "AAMk" + world.Random(40), MessageID: m.Header.Get("Message-Id"), Subject: m.Header.Get("Subject"), SentDateTime: &sent.Received}
	for name, at := range map[string]*[]recipient{"To": &i.To, "Cc": &i.Cc, "Bcc": &i.Bcc} {
		found, err := addresses(m.Header, name)
		if err != nil {
			return item{}, false
		}
		for _, a := range found {
			var r recipient
			r.EmailAddress.Address = a
			*at = append(*at, r)
		}
	}
	return i, true
}
