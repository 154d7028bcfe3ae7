package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"postern/internal/fault"
)

// kept is a part and what came out of it.
type kept struct {
	Part
	content string
}

// walkAll reads every part.
func walkAll(r io.Reader, limits Limits) (Summary, []kept, error) {
	var parts []kept
	s, err := new(Extractor).Walk(r, limits, func(p Part, body io.Reader) error {
		content, err := io.ReadAll(body)
		parts = append(parts, kept{p, string(content)})
		return err
	})
	return s, parts, err
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestWalk(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, raw string
		want      []string // contents of the parts, in order
		warnings  int
	}{
		{"plain text", "Subject: x\n\nhello\n", []string{"hello\r\n"}, 0},
		{"no body", "Subject: x\n", []string{""}, 0},
		{"nothing at all", "", []string{""}, 0},
		{"two parts, preamble and epilogue", "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n--b\n\ntwo\n\n--b--\nepilogue\n",
			[]string{"one", "two\r\n"}, 1},
		{"an outer boundary ends what was not closed", "Content-Type: multipart/mixed; boundary=out\n\n--out\nContent-Type: multipart/alternative; boundary=in\n\n--in\n\none\n--out\n\ntwo\n--out--\n",
			[]string{"one", "two"}, 0},
		{"a boundary that begins like another", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b-1\n\n--b-1\n\none\n--b-1--\n--b\n\ntwo\n--b--\n",
			[]string{"one", "two"}, 0},
		{"a boundary named like a closer", "Content-Type: multipart/mixed; boundary=\"b--\"\n\n--b--\n\none\n--b----\n", []string{"one"}, 0},
		{"cut off", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\naGVsbG8\n", []string{"hello"}, 1},
		{"a boundary inside a header", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n--b\n\ntwo\n--b--\n", []string{"", "two"}, 0},
		{"no boundary", "Content-Type: multipart/mixed\n\nall of it\n", []string{"all of it\r\n"}, 1},
		{"blanks behind a boundary", "Content-Type: multipart/mixed; boundary=\"b \"\n\n--b \t\n\none\n--b-- \n", []string{"one"}, 0},
		{"a nested message is not opened", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\none\n--c--\n--b--\n",
			[]string{"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\none\r\n--c--"}, 0},
		{"junk in base64", "Content-Transfer-Encoding: BASE64\n\naGV*s\nbG8h\n!!\nd29ybGQ=\n", []string{"hello!world"}, 1},
		{"text behind base64", "Content-Transfer-Encoding: base64\n\naGVsbG8=\n____\nThis list is kept by x.example\n", []string{"hello"}, 1},
		{"base64 line by line", "Content-Transfer-Encoding: base64\n\naGVs\nbG8=\nd29y\nbA==\nZA==\n", []string{"helloworld"}, 0},
		{"base64 without an end", "Content-Transfer-Encoding: base64\n\naGVsbG8gd29y\nb", []string{"hello wor"}, 1},
		{"quoted-printable", "Content-Transfer-Encoding: quoted-printable\n\nsch=C3=B6n =  \nweich=\n hart =3D=zz\t\n", []string{"schön weich hart ==zz\r\n"}, 1},
		{"uuencode", "Content-Type: image/gif\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 a.gif\n%:&5L;&\\ \n`\nend\n", []string{"hello"}, 0},
		{"unknown encoding", "Content-Transfer-Encoding: x-yenc\n\nas it is\n", []string{"as it is\r\n"}, 1},
		{"lines that are no header", "From nobody Mon Jan  1 00:00:00 2026\n>garbage\n folded garbage\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n", []string{"hello"}, 0},
		{"a broken line among fields", "Subject: x\nbadly folded\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n", []string{"hello"}, 0},
		{"no blank line behind the header", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\naGVsbG8g\nd29ybGQ=\n--b--\n", []string{"hello world"}, 1},
		{"no header in a part", "Content-Type: multipart/mixed; boundary=b\n\n--b\nhello\nworld\n--b--\n", []string{"hello\r\nworld"}, 1},
		{"an empty line before a boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n\n--b--\n", []string{"one\r\n"}, 0},
		{"lines that look like boundaries", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--\n--bb\n--b-\n-- b\n\n\n--b--\n", []string{"--\r\n--bb\r\n--b-\r\n-- b\r\n\r\n"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []io.Reader{strings.NewReader(crlf(tt.raw)), iotest.OneByteReader(strings.NewReader(crlf(tt.raw)))} {
				s, parts, err := walkAll(r, Limits{})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, p := range parts {
					got = append(got, p.content)
				}
				if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) || len(s.Warnings) != tt.warnings {
					t.Errorf("got %q, warnings %q; want %q", got, s.Warnings, tt.want)
				}
			}
		})
	}
}

func TestBytesSurviveTheWindow(t *testing.T) {
	t.Parallel()
	for size := window - 60; size < window+20; size++ {
		want := strings.Repeat("x", size) + "\r\n" + strings.Repeat("y", 40<<10) + "\r\n\r\nz"
		raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + want + "\r\n--b--\r\n"
		_, parts, err := walkAll(strings.NewReader(raw), Limits{})
		if err != nil || len(parts) != 1 || parts[0].content != want {
			t.Fatalf("size %d: %v, %d octets of %d", size, err, len(parts[0].content), len(want))
		}
	}
}

func attachment(name, content string) string {
	return crlf("Message-ID: <1@x>\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nthe text\n--b\n" +
		"Content-Type: application/pdf\nContent-Disposition: attachment; filename=\"" + name + "\"\n\n" + content + "\n--b--\n")
}

func TestReaderErrorsAreNotEnds(t *testing.T) {
	t.Parallel()
	boom := errors.New("connection reset")
	raw := attachment("a.pdf", strings.Repeat("alpha", 100))
	for cut := range len(raw) {
		_, _, err := walkAll(io.MultiReader(strings.NewReader(raw[:cut]), iotest.ErrReader(boom)), Limits{Text: 100})
		if !errors.Is(err, boom) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		_, err = new(Extractor).Walk(io.MultiReader(strings.NewReader(raw[:cut]), iotest.ErrReader(boom)), Limits{},
			func(_ Part, body io.Reader) error { _, _ = io.Copy(io.Discard, body); return nil })
		if !errors.Is(err, boom) {
			t.Fatalf("cut at %d, take looks away: %v", cut, err)
		}
	}
}

func TestTakeDecides(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	if _, err := new(Extractor).Walk(strings.NewReader(attachment("a.pdf", "x")), Limits{}, func(Part, io.Reader) error { return full }); !errors.Is(err, full) {
		t.Errorf("take's error: %v", err)
	}
	var stolen io.Reader
	s, err := new(Extractor).Walk(strings.NewReader(attachment("a.pdf", "x")), Limits{Text: 100}, func(_ Part, body io.Reader) error { stolen = body; return nil })
	if err != nil || s.Parts != 2 || s.Text != "the text" {
		t.Errorf("nothing read: %v, %+v", err, s)
	}
	if _, err := io.ReadAll(stolen); err == nil {
		t.Error("a body outlived its part")
	}
}

func nested(levels int) string {
	var b strings.Builder
	b.WriteString("Subject: deep\r\n")
	for i := range levels {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("Content-Disposition: attachment; filename=deep.txt\r\n\r\ndown here\r\n")
	return b.String()
}

func messages(levels int) string {
	return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", levels) + "Content-Disposition: attachment; filename=deep.txt\r\n\r\ndown here"
}

func TestLimits(t *testing.T) {
	t.Parallel()
	mixed := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	for _, tt := range []struct {
		name, raw string
		limits    Limits
		what      string // of the error; "": none
	}{
		{"nested 90 levels", nested(90), Limits{}, ""},
		{"nested 1,000 levels", nested(1000), Limits{}, "multiparts within each other"},
		{"messages within messages, kept", messages(1000), Limits{}, ""},
		{"messages within messages, opened", messages(1000), Limits{Open: 2000}, "multiparts within each other"},
		{"messages within messages, some opened", messages(1000), Limits{Open: 3}, ""},
		{"huge header", "X: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", Limits{}, "header of more than"},
		{"huge header of a part", mixed + "--b\r\nX: " + strings.Repeat("x", 2<<20), Limits{}, "header of more than"},
		{"a million header fields", strings.Repeat("X: y\r\n", 1_000_000), Limits{}, "header of more than"},
		{"100,000 parts", mixed + strings.Repeat("--b\r\n\r\n", 100_000), Limits{}, "parts"},
		{"100,000 parts allowed", mixed + strings.Repeat("--b\r\n\r\n", 100_000), Limits{Parts: 200_000}, ""},
		{"too large", mixed + strings.Repeat("x", 9<<20), Limits{Size: 8 << 20}, "more than 8388608 octets"},
		{"comes out too large", attachment("a", strings.Repeat("x", 1000)), Limits{Expanded: 999}, "come out of it"},
		{"a line without end", attachment("a", strings.Repeat("x", 4<<20)), Limits{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := walkAll(strings.NewReader(tt.raw), tt.limits)
			switch {
			case tt.what == "" && err != nil:
				t.Error(err)
			case tt.what != "" && (!errors.Is(err, ErrTooMuch) || !errors.Is(err, fault.Permanent) || !strings.Contains(err.Error(), tt.what)):
				t.Errorf("%v, want %q", err, tt.what)
			}
		})
	}
}

// endless repeats a line of base64 for a given number of octets.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	const line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWkFCQ0RF\r\n"
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n+len(line) <= len(p) && e.left > 0 {
		n += copy(p[n:], line)
		e.left -= len(line)
	}
	if n == 0 {
		n = copy(p, "\r\n")
	}
	return n, nil
}

// Not parallel: it counts what the process allocates.
func TestLargeMessageTakesLittleMemory(t *testing.T) {
	const size = 150 << 20
	raw := io.MultiReader(strings.NewReader("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
		&endless{size}, strings.NewReader("--b--\r\n"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var n int64
	s, err := new(Extractor).Walk(raw, Limits{}, func(_ Part, body io.Reader) (err error) {
		n, err = io.Copy(io.Discard, body)
		return err
	})
	runtime.ReadMemStats(&after)
	if err != nil || n < size/4*3/100*95 || len(s.Warnings) > 0 {
		t.Fatalf("%v, %d octets, %q", err, n, s.Warnings)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d octets were allocated for a message of %d", used, size)
	}
}

// Not parallel: it looks at the whole heap.
func TestManyPartsTakeLittleMemory(t *testing.T) {
	part := "--b\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <x@y>\r\n\r\niVBORw0KGgo=\r\n"
	raw := io.MultiReader(strings.NewReader("Content-Type: multipart/mixed; boundary=b\r\n\r\n"), strings.NewReader(strings.Repeat(part, 20_000)))
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var early int64
	s, err := new(Extractor).Walk(raw, Limits{Parts: 30_000}, func(p Part, body io.Reader) error {
		switch p.Index {
		case 100:
			early = heap()
		case 19_900:
			if grown := heap() - early; grown > 256<<10 {
				t.Errorf("%d octets for 19,800 parts", grown)
			}
		}
		_, err := io.Copy(io.Discard, body)
		return err
	})
	if err != nil || s.Parts != 20_000 {
		t.Errorf("%v, %d parts", err, s.Parts)
	}
}

func FuzzWalk(f *testing.F) {
	f.Add([]byte(attachment("a.pdf", "alpha")), 0)
	f.Add([]byte(nested(3)), 1)
	f.Add([]byte(messages(3)), 2)
	f.Add([]byte("Content-Transfer-Encoding: quoted-printable\n\n=\r\n=3"), 0)
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\n\n--\n--b--"), 0)
	f.Fuzz(func(t *testing.T, raw []byte, open int) {
		limits := Limits{Open: open % 10, Text: 1000}
		s, parts, err := walkAll(bytes.NewReader(raw), limits)
		if err != nil && !errors.Is(err, ErrTooMuch) {
			t.Errorf("an error for bytes that could all be read: %v", err)
		}
		total := 0
		for i, p := range parts {
			if p.Kind != BodyText && p.Kind != BodyHTML { // these may grow when they become UTF-8
				total += len(p.content)
			}
			if p.Index != i+1 {
				t.Errorf("part %d has index %d", i+1, p.Index)
			}
			if major, minor, _ := strings.Cut(p.ContentType, "/"); !isToken(major) || !isToken(minor) {
				t.Errorf("type %q", p.ContentType)
			}
			checkName(t, p.Name, SafeName(p.Name, p.ContentType, 1))
		}
		if total > len(raw) || len(s.Warnings) > 20 || len(s.Text) > limits.Text {
			t.Errorf("%d octets out of %d, %d warnings, %d octets of text", total, len(raw), len(s.Warnings), len(s.Text))
		}
		for _, a := range append(slices.Concat(s.From, s.To, s.Cc, s.ReplyTo), Address{s.Subject, s.MessageID}) {
			for _, text := range []string{a.Name, a.Address} {
				if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
					t.Errorf("%q is not one line of text", text)
				}
			}
		}
		// However the bytes arrive, the parts are the same.
		slow, slowParts, _ := walkAll(iotest.OneByteReader(bytes.NewReader(raw)), limits)
		if !slices.Equal(slowParts, parts) || fmt.Sprintf("%+v", slow) != fmt.Sprintf("%+v", s) {
			t.Errorf("at once %+v %+v, byte by byte %+v %+v", s, parts, slow, slowParts)
		}
		// What take does not read is not missed.
		skipped, err2 := new(Extractor).Walk(bytes.NewReader(raw), limits, func(Part, io.Reader) error { return nil })
		if (err == nil) != (err2 == nil) || skipped.Parts != s.Parts || skipped.Text != s.Text {
			t.Errorf("unread: %v %+v, read: %v %+v", err2, skipped, err, s)
		}
	})
}

// TestExtractorForgets: nothing of one message shows in the next.
func TestExtractorForgets(t *testing.T) {
	t.Parallel()
	messages := []string{
		attachment("a.pdf", "alpha"),
		"Content-Transfer-Encoding: base64\r\n\r\nQQ==\r\n!",
		"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n",
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n=ZZ cut off=",
		"Content-Transfer-Encoding: quoted-printable\r\n\r\nb=C3=A4\r\n",
		nested(1000), messages(3), "",
	}
	x := new(Extractor)
	for range 3 {
		for _, raw := range messages {
			want, wantParts, wantErr := walkAll(strings.NewReader(raw), Limits{Text: 100})
			var parts []kept
			got, err := x.Walk(strings.NewReader(raw), Limits{Text: 100}, func(p Part, body io.Reader) error {
				content, err := io.ReadAll(body)
				parts = append(parts, kept{p, string(content)})
				return err
			})
			if diff := cmp.Diff(want, got); diff != "" || !slices.Equal(parts, wantParts) || (err == nil) != (wantErr == nil) {
				t.Errorf("%.60q: %v and %v, %v and %v\n%s", raw, err, wantErr, parts, wantParts, diff)
			}
		}
	}
}
