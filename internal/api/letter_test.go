package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	netmail "net/mail"
	"strings"
	"testing"

	message "github.com/emersion/go-message/mail"

	"postern/internal/fault"
)

// read composes a letter and takes it apart again.
func read(t testing.TB, d Draft) (netmail.Header, map[string]string) {
	t.Helper()
	l, err := d.Letter()
	if err != nil {
		t.Fatal(err)
	}
	r := l.Reader()
	defer r.Close()
	whole, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	top, err := netmail.ReadMessage(strings.NewReader(string(whole)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := message.CreateReader(strings.NewReader(string(whole)))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for {
		p, err := m.NextPart()
		if errors.Is(err, io.EOF) {
			return top.Header, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(p.Header.Get("Content-Type"), ";")
		if a, ok := p.Header.(*message.AttachmentHeader); ok {
			name, _ := a.Filename()
			kind += " " + name
		}
		parts[kind+p.Header.Get("Content-Id")] = string(b)
	}
}

func TestLetter(t *testing.T) {
	t.Parallel()
	binary := strings.Repeat("\x00\r\n.\xff", 1000)
	h, parts := read(t, Draft{
		From: "Jörg <scan@contoso.com>", To: []string{"A <a@x.example>"}, Bcc: []string{"secret@x.example"}, ReplyTo: []string{"b@x.example"},
		Subject: "Grüße", Text: "text ü\n.\n", HTML: "<b>html</b>", Headers: map[string]string{"X-Job": "17 ü"},
		Attachments: []Attachment{{Name: "Übersicht.pdf", Content: []byte(binary)}, {Name: "mail", Type: "message/rfc822", Content: []byte("x")},
			{Name: "logo.png", ContentID: "logo", Content: []byte("png")}},
	})
	for kind, want := range map[string]string{"text/plain": "text ü\r\n.\r\n", "text/html": "<b>html</b>", "application/pdf Übersicht.pdf": binary,
		"application/octet-stream mail": "x", "image/png<logo>": "png"} {
		if parts[kind] != want {
			t.Errorf("%s holds %.60q (parts: %d)", kind, parts[kind], len(parts))
		}
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if err != nil || subject != "Grüße" || h.Get("Bcc") != "" || strings.Contains(h.Get("To"), "secret") || h.Get("Reply-To") == "" {
		t.Errorf("header %v", h)
	}
	for _, d := range []Draft{{To: []string{"a@x.example"}, Text: "t"}, {Bcc: []string{"a@x.example"}, HTML: "t"}} {
		if h, parts := read(t, d); len(parts) != 1 || h.Get("To") == "" {
			t.Errorf("%v %v", h, parts)
		}
	}
}

// FuzzDraft wants every draft that is good to make a message with no header that was
// not asked for.
func FuzzDraft(f *testing.F) {
	f.Add([]byte(`{"from":"a <a@x.example>","to":["b@x.example"],"subject":"s","text":"t","headers":{"X-A":"b"},"attachments":[{"name":"n","type":"a/b; c=d","content":"AA=="}]}`))
	f.Add([]byte(`{"to":["\"a\rb\"@x.example"],"subject":"x\nBcc: y","attachments":[{"name":"a\"b","content_id":"c"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var d Draft
		if json.Unmarshal(in, &d) != nil {
			return
		}
		l, err := d.Letter()
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		r := l.Reader()
		defer r.Close()
		whole, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		m, err := netmail.ReadMessage(strings.NewReader(string(whole)))
		if err != nil {
			t.Fatalf("%v in %q", err, whole)
		}
		asked := map[string]bool{"From": true, "To": true, "Cc": true, "Reply-To": true, "Subject": true, "Mime-Version": true, "Content-Type": true, "Content-Transfer-Encoding": true}
		for name := range m.Header {
			if _, own := d.Headers[name]; !asked[name] && !own && !anyFold(d.Headers, name) {
				t.Errorf("%s was not asked for", name)
			}
		}
	})
}

func anyFold(headers map[string]string, name string) bool {
	for h := range headers {
		if strings.EqualFold(h, name) {
			return true
		}
	}
	return false
}
