package extract

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden manifests anew; then read what changed")

const hostile = "testdata/hostile"

// manifest is what a message must give.
type manifest struct {
	Error     string         `json:"error,omitempty"`
	Subject   string         `json:"subject,omitempty"`
	MessageID string         `json:"message_id,omitempty"`
	From      []Address      `json:"from,omitempty"`
	To        []Address      `json:"to,omitempty"`
	Date      string         `json:"date,omitempty"`
	AutoReply bool           `json:"auto_reply,omitempty"`
	Bounce    bool           `json:"bounce,omitempty"`
	Text      string         `json:"text,omitempty"`
	Warnings  []string       `json:"warnings,omitempty"`
	Parts     []manifestPart `json:"parts"`
}

type manifestPart struct {
	Kind      string `json:"kind"`
	Inline    bool   `json:"inline,omitempty"`
	Name      string `json:"name,omitempty"`
	Safe      string `json:"safe"`
	Type      string `json:"type"`
	Detected  string `json:"detected,omitempty"`
	ContentID string `json:"content_id,omitempty"`
	Size      int    `json:"size"`
	SHA256    string `json:"sha256"`
	Begins    string `json:"begins,omitempty"`
}

const enoughParts = 5 // of a message with thousands

// describe walks a message and writes down what came of it.
func describe(t *testing.T, name string, r io.Reader) manifest {
	t.Helper()
	limits := Limits{Text: 300}
	if strings.HasPrefix(name, "open-") {
		limits.Open = 3
	}
	m := manifest{Parts: []manifestPart{}}
	s, err := new(Extractor).Walk(r, limits, func(p Part, body io.Reader) error {
		content, err := io.ReadAll(body)
		if err != nil || len(m.Parts) == enoughParts && p.Index > 10 {
			return err
		}
		sum := sha256.Sum256(content)
		safe := SafeName(p.Name, p.Type(), p.Index)
		checkName(t, p.Name, safe)
		m.Parts = append(m.Parts, manifestPart{
			Kind: p.Kind.String(), Inline: p.Inline, Name: p.Name, Safe: safe, Type: p.ContentType, Detected: p.Detected,
			ContentID: p.ContentID, Size: len(content), SHA256: hex.EncodeToString(sum[:8]), Begins: beginningOf(content),
		})
		return nil
	})
	if err != nil {
		m.Error = err.Error()
	}
	m.Subject, m.MessageID, m.From, m.To = s.Subject, s.MessageID, s.From[:min(len(s.From), 3)], s.To
	m.AutoReply, m.Bounce, m.Text, m.Warnings = s.AutoReply, s.Bounce, s.Text, s.Warnings
	if !s.Date.IsZero() {
		m.Date = s.Date.UTC().Format(time.RFC3339)
	}
	m.Parts = m.Parts[:min(len(m.Parts), enoughParts)]
	return m
}

// beginningOf is what a person needs to see that it is the right content.
func beginningOf(content []byte) string {
	s := fmt.Sprintf("%q", content[:min(len(content), 48)])
	return strings.ReplaceAll(s[1:len(s)-1], `\"`, `"`)
}

// golden compares a message with its manifest, read at once and octet by octet.
func golden(t *testing.T, name, path string, raw []byte) {
	t.Helper()
	got := describe(t, name, bytes.NewReader(raw))
	if len(raw) < 64<<10 {
		if diff := cmp.Diff(got, describe(t, name, iotest.OneByteReader(bytes.NewReader(raw)))); diff != "" {
			t.Errorf("it matters how the octets arrive:\n%s", diff)
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s:\n%s", path, diff)
	}
}

// TestHostileMail: every message of the folder and every generated one gives what
// its manifest says.
func TestHostileMail(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(hostile, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	check := func(name, path string, raw []byte) {
		known[path] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name, path, raw)
		})
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		check(strings.TrimSuffix(filepath.Base(f), ".eml"), strings.TrimSuffix(f, ".eml")+".json", raw)
	}
	for name, raw := range generated() {
		check(name, filepath.Join(hostile, "generated", name+".json"), raw)
	}
	if len(known) < 400 {
		t.Errorf("only %d messages", len(known))
	}
	for _, pattern := range []string{"*.json", "generated/*.json"} {
		manifests, _ := filepath.Glob(filepath.Join(hostile, pattern))
		for _, m := range manifests {
			if !known[m] {
				t.Errorf("%s belongs to no message", m)
			}
		}
	}
}

// TestHead: the header alone tells of itself what the whole message does.
func TestHead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(hostile, "*.eml"))
	if err != nil || len(files) < 100 {
		t.Fatal(err, len(files))
	}
	all := generated()
	for _, f := range files {
		if all[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	x := new(Extractor)
	for name, raw := range all {
		whole, _, wholeErr := walkAll(bytes.NewReader(raw), Limits{})
		head, err := x.Head(bytes.NewReader(raw), Limits{})
		if err != nil && wholeErr == nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(head.Warnings) > len(whole.Warnings) {
			t.Errorf("%s: warnings %q, of the whole %q", name, head.Warnings, whole.Warnings)
		}
		for _, s := range []*Summary{&head, &whole} {
			s.Size, s.Expanded, s.Parts, s.Warnings = 0, 0, 0, nil
		}
		if diff := cmp.Diff(whole, head); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// generated makes the messages that are too large to keep, or one of a family.
func generated() map[string][]byte {
	all := make(map[string][]byte)
	add := func(name, raw string) { all[name] = []byte(raw) }
	mixed := "Subject: generated\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
	add("nested-90-levels", nested(90))
	add("nested-1000-levels", nested(1000))
	add("messages-1000-levels", messages(1000))
	add("open-messages-1000-levels", messages(1000))
	add("parts-2000", mixed+strings.Repeat("--b\r\n\r\nx\r\n", 2000)+"--b--\r\n")
	add("parts-100000", mixed+strings.Repeat("--b\r\n\r\n", 100_000))
	add("files-1000", mixed+strings.Repeat("--b\r\nContent-Type: image/png; name=a.png\r\n\r\nx\r\n", 1000)+"--b--\r\n")
	add("header-field-2MiB", "X: "+strings.Repeat("x", 2<<20)+"\r\n\r\n")
	add("header-subject-900KiB", "Subject: "+strings.Repeat("x", 900<<10)+"\r\n\r\nbody\r\n")
	add("header-fields-300000", strings.Repeat("X: y\r\n", 300_000))
	add("header-folds-100000", "Subject: a\r\n"+strings.Repeat(" b\r\n", 100_000)+"\r\nbody\r\n")
	add("header-of-part-2MiB", mixed+"--b\r\nX: "+strings.Repeat("x", 2<<20))
	add("header-words-100KiB", "Subject: "+strings.Repeat("=?utf-8?Q?=C3?=", 7000)+"\r\n\r\n")
	add("header-params-10000", "Content-Type: text/plain"+strings.Repeat("; a=b", 10_000)+"\r\n\r\nbody\r\n")
	add("header-from-100000", "From: "+strings.Repeat("a@x.example, ", 100_000)+"\r\n\r\n")
	add("header-comments-10000", "From: "+strings.Repeat("(", 10_000)+"a@x.example\r\n\r\n")
	add("line-without-end-4MiB", mixed+"--b\r\nContent-Disposition: attachment; filename=long\r\n\r\n"+strings.Repeat("x", 4<<20)+"\r\n--b--\r\n")
	add("line-of-dashes", mixed+"--b\r\n\r\n"+strings.Repeat("-", 100_000)+"\r\n--b--\r\n")
	add("lines-like-delimiters-100000", mixed+"--b\r\n\r\n"+strings.Repeat("--bb\r\n", 100_000)+"--b--\r\n")
	add("line-ends-1000000", mixed+"--b\r\n\r\n"+strings.Repeat("\r\n", 1_000_000)+"--b--\r\n")
	add("carriage-returns-1000000", mixed+"--b\r\n\r\n"+strings.Repeat("\r", 1_000_000)+"\n--b--\r\n")
	add("delimiter-with-blanks", mixed+"--b"+strings.Repeat(" ", 900)+"\r\n\r\none\r\n--b"+strings.Repeat(" ", 2000)+"\r\n\r\nstill one\r\n--b--\r\n")
	add("quoted-line-1MiB", "Content-Transfer-Encoding: quoted-printable\r\n\r\n"+strings.Repeat("=41", 350_000))
	add("quoted-blanks-1MiB", "Content-Transfer-Encoding: quoted-printable\r\n\r\n"+strings.Repeat(" ", 1<<20)+"x\r\n")
	add("html-cids-100000", "Content-Type: text/html\r\n\r\n"+strings.Repeat("<img src=cid:x@y>", 100_000))
	add("html-tags-1MiB", "Content-Type: text/html\r\n\r\n"+strings.Repeat("<", 1<<20))
	add("html-entities-1MiB", "Content-Type: text/html\r\n\r\n"+strings.Repeat("&#x41;", 200_000))
	add("boundaries-100-open", nested(99)+strings.Repeat("--b5\r\n\r\nx\r\n", 50))
	names(add)
	damaged(all)
	return all
}

// names makes one message for each charset, each way of writing a name in it.
func names(add func(name, raw string)) {
	for _, charset := range []struct{ label, octets string }{
		{"utf-8", "\xe6\x97\xa5\xe6\x9c\xac"}, {"iso-8859-1", "\xe4\xf6\xfc"}, {"windows-1252", "\x80\xe4"}, {"iso-8859-2", "\xb9\xe8"},
		{"iso-8859-5", "\xbf\xe0"}, {"iso-8859-7", "\xe1\xe2"}, {"iso-8859-8-i", "\xf9\xec"}, {"windows-1251", "\xcf\xf0"}, {"windows-1256", "\xe3\xd1"},
		{"koi8-u", "\xf0\xd2"}, {"gb18030", "\xc4\xe3"}, {"big5", "\xa7\x41"}, {"euc-jp", "\xc6\xfc"}, {"shift_jis", "\x93\xfa"}, {"euc-kr", "\xbe\xc8"},
		{"iso-2022-jp", "\x1b$BF|\x1b(B"}, {"x-none", "\xe4"},
	} {
		percent, quoted := "", ""
		for _, c := range []byte(charset.octets) {
			percent += fmt.Sprintf("%%%02X", c)
			quoted += fmt.Sprintf("=%02x", c)
		}
		ways := map[string]string{
			"2231":   fmt.Sprintf("filename*=%s''%s.pdf", charset.label, percent),
			"2047-b": fmt.Sprintf("filename=\"=?%s?b?%s?=.pdf\"", charset.label, base64.StdEncoding.EncodeToString([]byte(charset.octets))),
			"2047-q": fmt.Sprintf("filename=\"=?%s?q?%s.pdf?=\"", charset.label, quoted),
			"raw":    fmt.Sprintf("filename=\"%s.pdf\"", charset.octets),
		}
		for way, parameter := range ways {
			add("name-"+charset.label+"-"+way, "Content-Type: application/pdf\r\nContent-Disposition: attachment; "+parameter+"\r\n\r\n%PDF-1.4\r\n")
		}
	}
}

// damaged makes messages that came over a bad line: cut, repeated, with octets lost
// and changed. The same seed damages in the same way.
func damaged(all map[string][]byte) {
	whole := []byte(attachment("a.pdf", "alpha") + nested(4) + attachment("b.pdf", "beta"))
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		raw := bytes.Clone(whole)
		for range 1 + random.IntN(6) {
			from := random.IntN(len(raw))
			to := min(len(raw), from+random.IntN(40))
			switch random.IntN(5) {
			case 0:
				raw[from] = byte(random.UintN(256))
			case 1:
				raw = slices.Delete(raw, from, to)
			case 2:
				raw = slices.Insert(raw, from, bytes.Clone(raw[from:to])...)
			case 3:
				raw = slices.Insert(raw, from, '\r', '\n')
			case 4:
				raw[from] ^= 0x20
			}
		}
		all[fmt.Sprintf("damaged-%02d", seed)] = raw
	}
}
