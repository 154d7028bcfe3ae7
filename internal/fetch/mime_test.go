package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// kept is a part and what came out of it.
type kept struct {
	part
	bytes.Buffer
	closed bool
}

func (k *kept) Close() error {
	k.closed = true
	return nil
}

func walkAll(r io.Reader) (header, []*kept, []string, error) {
	var parts []*kept
	h, warnings, err := walk(r, func(p part) (io.WriteCloser, error) {
		k := &kept{part: p}
		parts = append(parts, k)
		return k, nil
	})
	return h, parts, warnings, err
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
			[]string{"one", "two\r\n"}, 0},
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
		{"junk in base64", "Content-Transfer-Encoding: BASE64\n\naGV*s\nbG8=\n!!\nd29ybGQ=\n", []string{"helloworld"}, 0},
		{"base64 without an end", "Content-Transfer-Encoding: base64\n\naGVsbG8gd29y\nb", []string{"hello wor"}, 0},
		{"quoted-printable", "Content-Transfer-Encoding: quoted-printable\n\nsch=C3=B6n =  \nweich=\n hart =3D=zz\t\n", []string{"schön weich hart ==zz\r\n"}, 0},
		{"unknown encoding", "Content-Transfer-Encoding: x-uuencode\n\nas it is\n", []string{"as it is\r\n"}, 1},
		{"lines that are no header", "From nobody Mon Jan  1 00:00:00 2026\n>garbage\n folded garbage\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n", []string{"hello"}, 0},
		{"bare line feeds survive", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n\n--b--\n", []string{"one\r\n"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, slow := range []bool{false, true} {
				var r io.Reader = strings.NewReader(crlf(tt.raw))
				if slow {
					r = iotest.OneByteReader(r)
				}
				_, parts, warnings, err := walkAll(r)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, p := range parts {
					got = append(got, p.String())
					if !p.closed {
						t.Errorf("part %q was not closed", p.contentType)
					}
				}
				if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) || len(warnings) != tt.warnings {
					t.Errorf("got %q, warnings %q; want %q", got, warnings, tt.want)
				}
			}
		})
	}
}

func TestBytesSurviveTheReadersBuffer(t *testing.T) {
	t.Parallel()
	for size := 32<<10 - 60; size < 32<<10+20; size++ {
		want := strings.Repeat("x", size) + "\r\n" + strings.Repeat("y", 40<<10) + "\r\n\r\nz"
		raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + want + "\r\n--b--\r\n"
		_, parts, _, err := walkAll(strings.NewReader(raw))
		if err != nil || len(parts) != 1 || parts[0].String() != want {
			t.Fatalf("size %d: %v, %d octets of %d", size, err, parts[0].Len(), len(want))
		}
	}
}

func TestReaderErrorsAreNotEnds(t *testing.T) {
	t.Parallel()
	boom := errors.New("connection reset")
	raw := message("1", "a.pdf", strings.Repeat("alpha", 100))
	for cut := range len(raw) {
		_, parts, _, err := walkAll(io.MultiReader(strings.NewReader(raw[:cut]), iotest.ErrReader(boom)))
		if !errors.Is(err, boom) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		for _, p := range parts {
			if !p.closed {
				t.Fatalf("cut at %d: a part was left open", cut)
			}
		}
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

func TestHostileMail(t *testing.T) {
	t.Parallel()
	attachment := func(headers, body string) string {
		return "Message-ID: <h@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + crlf(headers) + "\r\n" + body + "\r\n--b--\r\n"
	}
	for _, tt := range []struct {
		name, raw string
		state     EntryState
		files     []string
	}{
		{"nested 90 levels", nested(90), Done, []string{"deep.txt"}},
		{"nested 1,000 levels", nested(1000), Parked, nil},
		{"huge header", "X: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", Parked, nil},
		{"huge header of a part", attachment("X: "+strings.Repeat("x", 2<<20)+"\n", ""), Parked, nil},
		{"a million header fields", strings.Repeat("X: y\r\n", 300_000), Parked, nil},
		{"too many parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", maxParts+1), Parked, nil},
		{"too many files", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\nContent-Type: image/png\r\n\r\n", maxFiles+1), Parked, nil},
		{"too large", attachment("Content-Disposition: attachment\n", strings.Repeat("x", 9<<20)), Parked, nil},
		{"a line without end", attachment("Content-Disposition: attachment; filename=long\n", strings.Repeat("x", 4<<20)), Done, []string{"long"}},
		{"path traversal", attachment("Content-Disposition: attachment; filename=\"../../../../etc/cron.d/x\"\n", "y"), Done, []string{"x"}},
		{"Windows path", attachment("Content-Disposition: attachment; filename=\"C:\\\\Windows\\\\system32\\\\evil.dll\"\n", "y"), Done, []string{"evil.dll"}},
		{"absolute and dotted", attachment("Content-Disposition: attachment; filename=\"/.bashrc\"\n", "y"), Done, []string{"bashrc"}},
		{"staging name", attachment("Content-Disposition: attachment; filename=\".postern-0.part\"\n", "y"), Done, []string{"postern-0.part"}},
		{"forged manifest", attachment("Content-Disposition: attachment; filename=\"x.Manifest.JSON\"\n", "y"), Done, []string{"x.manifest_.json"}},
		{"NUL and line ends in a name", attachment("Content-Disposition: attachment; filename*=utf-8''a%00b%0D%0Ac.txt\n", "y"), Done, []string{"a b  c.txt"}},
		{"right-to-left override", attachment("Content-Disposition: attachment; filename*=utf-8''gpj%E2%80%AEexe.jpg\n", "y"), Done, []string{"gpjexe.jpg"}},
		{"bad charset in a name", attachment("Content-Disposition: attachment; filename=\"=?x-nonsense?B?aGVsbG8=?=\"\n", "y"), Done, []string{"=_x-nonsense_B_aGVsbG8=_="}},
		{"raw octets in a name", attachment("Content-Disposition: attachment; filename=\"M\xfcller.txt\"\n", "y"), Done, []string{"Müller.txt"}},
		{"no name, no type", attachment("Content-Disposition: attachment\n", "y"), Done, []string{"attachment-1.txt"}},
		{"bad base64", attachment("Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n", "%%%%"), Done, []string{"attachment-1.pdf"}},
		{"NUL in a type", attachment("Content-Type: application/\x00\xff; name=n\n", "y"), Done, []string{"n"}},
		{"winmail.dat", attachment("Content-Type: application/ms-tnef; name=winmail.dat\n", "y"), Done, []string{"winmail.dat"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost(tt.raw, message("9", "behind.pdf", "alpha"))
			b := newBench(t, p, nil)
			b.run(t)
			e, err := b.ledger.Entry(t.Context(), Key{b.task.Name, Place(p.address, b.task.Folder), 14, "1"})
			if err != nil || e.State != tt.state {
				t.Fatalf("%s (%s), %v; want %s", e.State, e.Reason, err, tt.state)
			}
			if tt.state == Parked && e.Reason == "" {
				t.Error("parked without a word")
			}
			var got []string
			for _, f := range e.attachments() {
				got = append(got, f.Name)
				if !isToken(strings.Replace(f.ContentType, "/", "", 1)) {
					t.Errorf("content type %q", f.ContentType)
				}
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.files) {
				t.Errorf("files %q, want %q", got, tt.files)
			}
			if !exists(b.task.Directory, "behind.pdf") {
				t.Error("the message behind it was not fetched")
			}
			left, _ := filepath.Glob(filepath.Join(b.task.Directory, ".postern-*.part"))
			if len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
			if up, _ := os.ReadDir(filepath.Dir(b.task.Directory)); len(up) > 1 {
				t.Errorf("outside of the directory: %v", up)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		p             part
		plain, inline bool
	}{
		{"the text", part{contentType: "text/plain"}, false, false},
		{"inline text", part{contentType: "text/html", disposition: "inline"}, false, false},
		{"attached text", part{contentType: "text/csv", disposition: "attachment"}, true, true},
		{"named text", part{contentType: "text/csv", filename: "a.csv"}, true, true},
		{"inline picture", part{contentType: "image/png", disposition: "inline", filename: "logo.png"}, false, true},
		{"picture of a page", part{contentType: "image/png", contentID: true, parent: "multipart/related"}, false, true},
		{"scan without disposition", part{contentType: "application/pdf", parent: "multipart/mixed"}, true, true},
		{"unknown disposition", part{contentType: "text/plain", disposition: "x-other"}, true, true},
		{"forwarded message", part{contentType: "message/rfc822"}, true, true},
		{"delivery status", part{contentType: "message/delivery-status"}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := wanted(tt.p, false); got != tt.plain {
				t.Errorf("without inline: %t", got)
			}
			if got := wanted(tt.p, true); got != tt.inline {
				t.Errorf("with inline: %t", got)
			}
		})
	}
}

func FuzzWalk(f *testing.F) {
	f.Add([]byte(message("1", "a.pdf", "alpha")))
	f.Add([]byte(nested(3)))
	f.Add([]byte("Content-Transfer-Encoding: quoted-printable\n\n=\r\n=3"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\n\n--\n--b--"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		total := 0
		_, parts, warnings, err := walkAll(bytes.NewReader(raw))
		for _, p := range parts {
			total += p.Len()
			if !p.closed {
				t.Error("a part was left open")
			}
			if name := safeName(p.filename, p.contentType, 1); name == "" || strings.ContainsAny(name, "/\\\x00\r\n") || name[0] == '.' || len(name) > maxName {
				t.Errorf("unsafe name %q", name)
			}
		}
		if err != nil && !errors.Is(err, errTooMuch) {
			t.Errorf("an error for bytes that could all be read: %v", err)
		}
		if total > len(raw) || len(warnings) > 20 {
			t.Errorf("%d octets out of %d, %d warnings", total, len(raw), len(warnings))
		}
		// However the bytes arrive, the parts are the same.
		_, slow, _, _ := walkAll(iotest.OneByteReader(bytes.NewReader(raw)))
		if len(slow) != len(parts) {
			t.Fatalf("%d parts at once, %d byte by byte", len(parts), len(slow))
		}
		for i := range slow {
			if slow[i].part != parts[i].part || slow[i].String() != parts[i].String() {
				t.Errorf("part %d: %q at once, %q byte by byte", i, parts[i].String(), slow[i].String())
			}
		}
	})
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
	return n, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func (c *counter) Close() error { return nil }

// Not parallel: it counts what the process allocates.
func TestLargeMessageTakesLittleMemory(t *testing.T) {
	const size = 150 << 20
	raw := io.MultiReader(strings.NewReader("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"), &endless{size})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var c counter
	_, _, err := walk(raw, func(part) (io.WriteCloser, error) { return &c, nil })
	runtime.ReadMemStats(&after)
	if err != nil || c.n < size/4*3/100*95 {
		t.Fatalf("%v, %d octets", err, c.n)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d octets were allocated for a message of %d", used, size)
	}
}
