package smtp

import (
	"bufio"
	"bytes"
	"io"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postern/internal/fault"
)

func TestClassifyMicrosoftsReplies(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/replies.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), "\t", 4)
		if len(f) != 4 {
			continue
		}
		n++
		r, err := readReply(bufio.NewReader(strings.NewReader(f[3]+"\r\n")), func(string) {})
		if err != nil {
			t.Errorf("%s: %v", f[3], err)
			continue
		}
		got := r.fault(f[2])
		after, err := time.ParseDuration(f[1])
		if err != nil {
			t.Fatal(err)
		}
		if got.Kind.String() != f[0] || got.RetryAfter != after {
			t.Errorf("%s\n got %v after %v, want %s after %v", f[3], got.Kind, got.RetryAfter, f[0], after)
		}
	}
	if n < 30 {
		t.Errorf("only %d replies tried", n)
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in, enhanced, text string
		code               int
	}{
		"plain":               {"250 OK\r\n", "", "OK", 250},
		"bare code":           {"250\r\n", "", "", 250},
		"line feed only":      {"250 OK\n", "", "OK", 250},
		"enhanced lines":      {"550-5.7.60 one\r\n550 5.7.60 two\r\n", "5.7.60", "one two", 550},
		"foreign class":       {"250 5.1.1 is no class of 250\r\n", "", "5.1.1 is no class of 250", 250},
		"range":               {"451 4.7.500-699 (AS77712) busy\r\n", "4.7.500-699", "(AS77712) busy", 451},
		"address is no code":  {"550 192.0.2.1 x\r\n", "", "192.0.2.1 x", 550},
		"garbage":             {"HTTP/1.1 400 Bad Request\r\n", "", "", 0},
		"no code":             {"99 x\r\n", "", "", 0},
		"changing code":       {"250-a\r\n550 b\r\n", "", "", 0},
		"line without end":    {strings.Repeat("2", 5000), "", "", 0},
		"lines without end":   {strings.Repeat("250-x\r\n", 500), "", "", 0},
		"cut in the middle":   {"250-a\r\n", "", "", 0},
		"letter after a code": {"250x\r\n", "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := readReply(bufio.NewReader(strings.NewReader(c.in)), func(string) {})
			if r.code != c.code || r.enhanced != c.enhanced || r.text() != c.text || (err == nil) != (c.code != 0) {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add("250 OK\r\n")
	f.Add("535-5.7.3 Authentication\r\n535 5.7.3 unsuccessful\r\n")
	f.Add("451 4.7.500-699 (AS1) x\n")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := readReply(bufio.NewReader(strings.NewReader(in)), func(string) {})
		if err != nil {
			return
		}
		if r.code < 200 || r.code > 599 || len(r.lines) == 0 || strings.ContainsAny(r.text(), "\n") {
			t.Fatalf("%q gave %+v", in, r)
		}
		if r.enhanced != "" && (r.enhanced[0] == '2') != (r.code < 400) {
			t.Fatalf("%q: class of %q", in, r.enhanced)
		}
		for _, stage := range []string{StageGreeting, StageAUTH, StageRCPT} {
			if k := r.fault(stage).Kind; r.code >= 400 && (k == fault.Unknown || r.code < 500 && k == fault.Permanent) {
				t.Fatalf("%q is %v at %s", in, k, stage)
			}
		}
	})
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":              "",
		"a":             "a",
		"a\r\nb\r\n":    "a\r\nb\r\n",
		"a\nb\n":        "a\r\nb\r\n",
		"a\rb\r":        "a\r\nb\r\n",
		"a\n\r\nb":      "a\r\n\r\nb",
		"a\r\r\n.\r\nb": "a\r\n\r\n.\r\nb",
		"\n.\n":         "\r\n.\r\n",
		"\r":            "\r\n",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "by bytes": iotest.OneByteReader(strings.NewReader(in)),
			"error with data": iotest.DataErrReader(strings.NewReader(in))} {
			got, err := io.ReadAll(Canonical(r))
			if err != nil || string(got) != want {
				t.Errorf("%q %s: got %q, %v", in, name, got, err)
			}
		}
	}
}

// What a message is wrapped in is taken off again by a reader that is not ours, whatever
// the pieces are that it goes out in.
func FuzzBodyWriter(f *testing.F) {
	f.Add([]byte(".a\r\n..\r\n.\r\nb"), 1)
	f.Add([]byte("a\n.b\r.c"), 3)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		var out bytes.Buffer
		w := &bodyWriter{w: bufio.NewWriterSize(&out, 16)}
		text, err := io.ReadAll(Canonical(bytes.NewReader(in)))
		if err != nil {
			t.Fatal(err)
		}
		for some := range slices.Chunk(text, max(1, piece%64)) {
			if n, err := w.Write(some); n != len(some) || err != nil {
				t.Fatal(n, err)
			}
		}
		if w.close(); w.err != nil {
			t.Fatal(w.err)
		}
		wire := bufio.NewReader(&out)
		back, err := io.ReadAll(textproto.NewReader(wire).DotReader())
		want := bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		if len(want) > 0 && !bytes.HasSuffix(want, []byte("\n")) {
			want = append(want, '\n')
		}
		if err != nil || !bytes.Equal(back, want) || wire.Buffered() > 0 {
			t.Fatalf("%q came back as %q, %v; %d octets are left", text, back, err, wire.Buffered())
		}
	})
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte("a\r\r\n.\n\r"))
	f.Fuzz(func(t *testing.T, in []byte) {
		once, err := io.ReadAll(Canonical(strings.NewReader(string(in))))
		if err != nil {
			t.Fatal(err)
		}
		if bare := strings.ReplaceAll(string(once), "\r\n", ""); strings.ContainsAny(bare, "\r\n") {
			t.Fatalf("%q left bare line ends: %q", in, once)
		}
		var through strings.Builder
		if n, err := io.Copy(&through, Canonical(iotest.HalfReader(strings.NewReader(string(in))))); err != nil || through.String() != string(once) || n != int64(len(once)) {
			t.Fatalf("%q goes out as %q, %v", in, through.String(), err)
		}
		twice, err := io.ReadAll(Canonical(iotest.OneByteReader(strings.NewReader(string(once)))))
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%q is not stable: %q", once, twice)
		}
	})
}
