package graph_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/graph"
	"postern/internal/sim365/world"
)

// encoded is content in base64 lines.
func encoded(b []byte) string {
	var s strings.Builder
	for chunk := range slices.Chunk(b, 57) {
		s.WriteString(base64.StdEncoding.EncodeToString(chunk) + "\r\n")
	}
	return s.String()
}

func part(header, content string) string { return "--x\r\n" + header + "\r\n\r\n" + content + "\r\n" }

func large(parts ...string) string {
	return "From: Scan <scan@contoso.com>\r\nTo: A <a@contoso.com>\r\nCc: b@contoso.com\r\nReply-To: office@contoso.com\r\n" +
		"Subject: =?utf-8?q?gro=C3=9F?=\r\nMessage-ID: <large@test.example>\r\nIn-Reply-To: <before@test.example>\r\nReferences: <first@test.example>\r\n <before@test.example>\r\n" +
		"X-Scanner: second floor\r\nX-Priority: 1\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Join(parts, "") + "--x--\r\n"
}

// opened takes apart what arrived.
type opened struct {
	header netmail.Header
	body   string
	kind   string
	files  map[string]string
	ids    map[string]string // Content-ID by file name
}

func open(t *testing.T, raw string) opened {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	o := opened{header: m.Header, files: map[string]string{}, ids: map[string]string{}}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return o
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		if err != nil {
			t.Fatal(err)
		}
		if name := p.FileName(); name != "" {
			o.files[name], o.ids[name] = string(b), p.Header.Get("Content-ID")
			continue
		}
		o.body, o.kind = string(b), p.Header.Get("Content-Type")
	}
}

func TestLargeMailGoesInPieces(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	big, small := bytesOf(9<<20+17), bytesOf(1000)
	raw := large(
		part("Content-Type: multipart/alternative; boundary=y", "--y\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n--y\r\n"+
			"Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=FC=DFe</p>\r\n--y--"),
		part("Content-Type: application/pdf; name=\"scan.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"scan.pdf\"", encoded(big)),
		part("Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <logo@x>\r\nContent-Disposition: inline; filename*=utf-8''%C3%BC.png", encoded(small)),
		part("Content-Type: message/rfc822", "Subject: forwarded\r\n\r\ntext"),
		part("Content-Type: text/csv; charset=iso-8859-1\r\nContent-Disposition: attachment; filename=a.csv", "\xe4;\xf6"),
	)
	if err := p.send(raw, "a@contoso.com", "hidden@elsewhere.example"); err != nil {
		t.Fatal(err)
	}
	if got := p.reached(); !slices.Equal(got, []string{"a@contoso.com", "hidden@elsewhere.example"}) {
		t.Fatalf("reached %q", got)
	}
	o := open(t, p.got("a@contoso.com")[0])
	if !strings.HasPrefix(o.kind, "text/html") || o.body != "<p>Grüße</p>" {
		t.Errorf("body %q of %q", o.body, o.kind)
	}
	for name, want := range map[string]string{"scan.pdf": string(big), "ü.png": string(small), "a.csv": "\xe4;\xf6", "attachment-3.eml": "Subject: forwarded\r\n\r\ntext"} {
		if o.files[name] != want {
			t.Errorf("%s has %d octets, want %d; there are %d files", name, len(o.files[name]), len(want), len(o.files))
		}
	}
	if o.ids["ü.png"] != "<logo@x>" || o.ids["scan.pdf"] != "" {
		t.Errorf("Content-IDs %v", o.ids)
	}
	for name, want := range map[string]string{
		"Subject": "=?utf-8?q?gro=C3=9F?=", "Message-Id": "<large@test.example>", "In-Reply-To": "<before@test.example>",
		"References": "<first@test.example> <before@test.example>", "X-Scanner": "second floor", "Importance": "high", "Cc": "",
		"From": `"Scan" <scan@contoso.com>`, "Reply-To": "<office@contoso.com>", "Bcc": "",
	} {
		if got := o.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if n := p.world.Count("graph_upload"); n != 1 {
		t.Errorf("%d upload sessions, want one for the one file above 3 MB", n)
	}
}

func TestPlainTextAndNoParts(t *testing.T) {
	t.Parallel()
	p := newPost(t, func(c *graph.Config) { c.Request = 300 })
	raw := "From: scan@contoso.com\r\nTo: a@contoso.com\r\nMessage-ID: <t@test.example>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + strings.Repeat("Zeile für Zeile\r\n", 50)
	if err := p.send(raw, "a@contoso.com"); err != nil {
		t.Fatal(err)
	}
	if o := open(t, p.got("a@contoso.com")[0]); o.body != strings.Repeat("Zeile für Zeile\r\n", 50) || !strings.HasPrefix(o.kind, "text/plain") || len(o.files) != 0 {
		t.Errorf("got %q %.80q", o.kind, o.body)
	}
}

func TestUploadSurvivesTrouble(t *testing.T) {
	t.Parallel()
	big := bytesOf(9 << 20)
	raw := large(part("Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64", encoded(big)))
	for name, f := range map[string]world.Fault{
		"busy":       status("503", time.Second),
		"cut":        {Kind: world.FaultDrop},
		"cut after":  {Kind: world.FaultDropAfter},
		"broken off": reply("500 InternalServerError x"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t)
			f.Where, f.Stage = "graph", "upload"
			p.world.Arm(f)
			if err := p.send(raw, "a@contoso.com"); err != nil {
				t.Fatal(err)
			}
			if o := open(t, p.got("a@contoso.com")[0]); o.files["a.pdf"] != string(big) {
				t.Errorf("%d octets arrived, want %d", len(o.files["a.pdf"]), len(big))
			}
		})
	}
}

// What fails on the way leaves no draft behind, and does not count as sent.
func TestDraftsAreTidiedUp(t *testing.T) {
	t.Parallel()
	raw := large(part("Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64", encoded(bytesOf(3<<20+9))))
	for name, c := range map[string]struct {
		fault world.Fault
		kind  fault.Kind
	}{
		"attaching":      {world.Fault{Stage: "attach", Kind: world.FaultReply, Code: "503 x y"}, fault.Temporary},
		"uploading":      {world.Fault{Stage: "upload", Kind: world.FaultReply, Code: "404 ErrorItemNotFound gone"}, fault.Temporary},
		"draft deleted":  {world.Fault{Stage: "attach", Kind: world.FaultReply, Code: "404 ErrorItemNotFound gone"}, fault.Temporary},
		"file refused":   {world.Fault{Stage: "attach", Kind: world.FaultReply, Code: "400 ErrorInvalidRequest no"}, fault.Permanent},
		"sending denied": {world.Fault{Stage: "send", Kind: world.FaultReply, Code: "403 ErrorSendAsDenied no"}, fault.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t)
			c.fault.Where = "graph"
			p.world.Arm(c.fault)
			err := p.send(raw, "a@contoso.com")
			if f := fault.As(err); f == nil || f.Kind != c.kind || f.Ambiguous {
				t.Fatalf("got %v", err)
			}
			p.expectDrafts(0)
		})
	}
	t.Run("sending unsure", func(t *testing.T) {
		t.Parallel()
		p := newPost(t)
		f := status("504", 0)
		f.Where, f.Stage = "graph", "send"
		p.world.Arm(f)
		if f := fault.As(p.send(raw, "a@contoso.com")); f == nil || !f.Ambiguous {
			t.Fatalf("got %v", f)
		}
		p.expectDrafts(1)
		if err := p.box.DropDrafts(t.Context(), letter(t, raw, "a@contoso.com")); err != nil {
			t.Fatal(err)
		}
		p.expectDrafts(0)
	})
}

// expectDrafts counts what was made and neither sent nor deleted.
func (p *post) expectDrafts(want int) {
	p.t.Helper()
	if got := p.world.Count("graph_draft") - p.world.Count("graph_draft_gone"); got != want {
		p.t.Errorf("%d drafts are left, want %d", got, want)
	}
}

func TestWhatCannotBeTakenApart(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]string{
		"signed":    `multipart/signed; boundary=x; protocol="application/pkcs7-signature"`,
		"encrypted": "application/pkcs7-mime; smime-type=enveloped-data",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, func(c *graph.Config) { c.Request = 200 })
			raw := "From: scan@contoso.com\r\nContent-Type: " + kind + "\r\n\r\n" + strings.Repeat("x", 400)
			if err := p.send(raw, "a@contoso.com"); !errors.Is(err, fault.Permanent) || fault.HintOf(err) == "" {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("without the permission", func(t *testing.T) {
		t.Parallel()
		p := newPost(t, func(c *graph.Config) { c.Request = 200 })
		p.scopes = []string{"Mail.Send"}
		p.issue()
		if err := p.send(large(), "a@contoso.com"); !errors.Is(err, fault.Permanent) || !strings.Contains(fault.HintOf(err), "Mail.ReadWrite") {
			t.Errorf("got %v", err)
		}
	})
}

// Forty megabytes pass through with a few of memory, and leave nothing on disk.
func TestLargeMailCostsNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("forty megabytes")
	}
	spool := t.TempDir()
	p := newPost(t, func(c *graph.Config) { c.Spool = spool })
	line := strings.Repeat("QUJD", 19) + "\r\n"
	const octets = 40 << 20
	head, tail, _ := strings.Cut(large(part("Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64", "HERE")), "HERE")
	body := io.MultiReader(strings.NewReader(head), io.LimitReader(&endless{line: line}, octets/78*78), strings.NewReader(tail))
	p.world.Arm(world.Fault{Where: "graph", Stage: "upload", Kind: world.FaultReply, Code: "403 ErrorAccessDenied enough"}) // the simulator would keep it in memory
	var before, after runtime.MemStats
	l, err := graph.Read(envelope("a@contoso.com"), octets, body)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&before)
	_, err = p.box.Send(t.Context(), l)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, fault.Temporary) {
		t.Fatalf("got %v", err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 12<<20 {
		t.Errorf("%d MB were allocated on the way", grown>>20)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) != 0 {
		t.Errorf("on disk: %v, %v", left, err)
	}
}

type endless struct {
	line string
	at   int
}

func (e *endless) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		c := copy(b[n:], e.line[e.at:])
		n, e.at = n+c, (e.at+c)%len(e.line)
	}
	return n, nil
}

// A draft has one text, so of several kinds all that are not the same again go into it.
func TestNoTextIsLost(t *testing.T) {
	t.Parallel()
	plain := func(text string) string { return part("Content-Type: text/plain", text) }
	markup := func(text string) string { return part("Content-Type: text/html", "<p>"+text+"</p>") }
	either := func(parts ...string) string {
		return part("Content-Type: multipart/alternative; boundary=y", strings.ReplaceAll(strings.Join(parts, ""), "--x", "--y")+"--y--")
	}
	for name, c := range map[string]struct {
		parts      []string
		text       string
		want, lack []string // words in the text or in a file
	}{
		"a footer in HTML":       {[]string{plain("ONE < 2 & 3"), markup("FOOTER")}, "<pre>ONE &lt; 2 &amp; 3</pre><p>FOOTER</p>", nil, nil},
		"the same twice":         {[]string{either(plain("ONE"), markup("TWO"))}, "<p>TWO</p>", nil, []string{"ONE"}},
		"and a word before":      {[]string{plain("WORD"), either(plain("ONE"), markup("TWO"))}, "<pre>WORD</pre><p>TWO</p>", nil, []string{"ONE"}},
		"and an invitation":      {[]string{markup("TWO"), either(plain("ONE"), part("Content-Type: text/calendar", "ICS"))}, "<p>TWO</p>", []string{"ONE", "ICS"}, nil},
		"the other way about":    {[]string{either(markup("TWO"), plain("ONE"))}, "<p>TWO</p>", nil, []string{"ONE"}},
		"plain text behind HTML": {[]string{markup("TWO"), plain("ONE")}, "<p>TWO</p>", []string{"ONE"}, nil},
		"a list's footer":        {[]string{plain("ONE"), plain("TWO")}, "ONETWO", nil, nil},
		"an invitation in HTML":  {[]string{either(plain("ONE"), part("Content-Type: text/calendar", "ICS")), markup("TWO")}, "<pre>ONE</pre><p>TWO</p>", []string{"ICS"}, nil},
		"pictures beside the HTML": {[]string{either(plain("ONE"), part("Content-Type: multipart/related; boundary=z", "--z\r\nContent-Type: text/html\r\n\r\n<p>TWO</p>\r\n--z--"))},
			"<p>TWO</p>", nil, []string{"ONE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := large(c.parts...)
			l, err := graph.Read(envelope("a@contoso.com"), int64(len(raw)), strings.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			var files strings.Builder
			text, err := graph.TakeApart(l, func(_ string, r io.Reader) error {
				_, err := io.Copy(&files, r)
				return err
			})
			if err != nil || text != c.text {
				t.Errorf("the text is %q, %v; want %q", text, err, c.text)
			}
			for _, word := range c.want {
				if !strings.Contains(files.String(), word) {
					t.Errorf("%s is lost; the files are %q", word, files.String())
				}
			}
			for _, word := range c.lack {
				if strings.Contains(text+files.String(), word) {
					t.Errorf("%s is there twice", word)
				}
			}
		})
	}
}

func FuzzTakeApart(f *testing.F) {
	f.Add([]byte(large(part("Content-Type: text/plain", "text"), part("Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64", "QUJD"))))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n--"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nunclosed"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := graph.Read(envelope("a@contoso.com"), int64(len(raw)), bytes.NewReader(raw))
		if err != nil {
			return
		}
		total := 0
		text, err := graph.TakeApart(l, func(name string, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			total += int(n)
			if name == "" {
				return fmt.Errorf("a file has no name")
			}
			return err
		})
		if err != nil && fault.As(err) == nil {
			t.Fatalf("not classified: %v", err)
		}
		if len(text)+total > 6*len(raw)+100 { // legacy charsets grow in UTF-8, plain text in HTML
			t.Fatalf("%d octets became %d", len(raw), len(text)+total)
		}
	})
}
