package relay

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"
)

func textOf(t *testing.T, raw string) string {
	t.Helper()
	out, err := io.ReadAll(newTextual(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestBinaryPartsBecomeBase64(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"nothing binary": {
			"Subject: x\r\n\r\nbare\nand\rkept\r\n", "Subject: x\r\n\r\nbare\nand\rkept\r\n",
		},
		"the whole body": {
			"Content-Transfer-Encoding:\r\n BINARY\r\nSubject: x\r\n\r\na\nb\x00\r\n", "Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\nYQpiAA0K\r\n",
		},
		"one part of two": {
			"Content-Type: multipart/mixed; boundary=\"b b\"\r\nContent-Transfer-Encoding: binary\r\n\r\npreamble\r\n--b b\r\n\r\ntext\r\n" +
				"--b b \r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\n\r\n--b\r\n\r\n--b b--\r\nend\n",
			"Content-Type: multipart/mixed; boundary=\"b b\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--b b\r\n\r\ntext\r\n" +
				"--b b \r\nContent-Transfer-Encoding: base64\r\n\r\nAAoNCi0tYg0K\r\n--b b--\r\nend\n",
		},
		"an empty part": {
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n--b--\r\n",
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b--\r\n",
		},
		"a multipart that is not closed": {
			"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/related; boundary=i\r\n\r\n--i\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n--o--\r\n",
			"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/related; boundary=i\r\n\r\n--i\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--o--\r\n",
		},
		"a message in a message": {
			"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\nx",
			"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n",
		},
		"no blank line": {
			"Content-Transfer-Encoding: binary\r\nbody", "Content-Transfer-Encoding: base64\r\n\r\nYm9keQ==\r\n",
		},
		"no header": {"\r\nx\ny", "\r\nx\ny"},
		"nothing":   {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := textOf(t, c.in); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// What a part held comes out of it again, octet by octet, wherever reads are cut.
func TestBinaryPartsKeepTheirOctets(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // test data
	for _, size := range []int{0, 1, 56, 57, 58, 16<<10 - 1, 16 << 10, 16<<10 + 1, 100_000} {
		data := make([]byte, size)
		for i := range data {
			data[i] = "\r\n-b\x00\xff"[random.IntN(6)]
		}
		if size > 16<<10 { // a CR at the end of the buffer, whose LF is read later
			data[16<<10-97], data[16<<10-96] = '\r', '\n'
		}
		raw := "Content-Type: multipart/mixed; boundary=limit\r\n\r\n--limit\r\nContent-Transfer-Encoding: binary\r\n\r\n" + string(data) + "\r\n--limit--\r\n"
		whole := textOf(t, raw)
		for _, reader := range []io.Reader{iotest.OneByteReader(strings.NewReader(raw)), iotest.DataErrReader(strings.NewReader(raw))} {
			if got, err := io.ReadAll(newTextual(reader)); err != nil || string(got) != whole {
				t.Errorf("%d octets: another way of reading gives something else: %v", size, err)
			}
		}
		if got := onlyPart(t, whole); !bytes.Equal(got, data) {
			t.Errorf("%d octets came out as %d", size, len(got))
		}
	}
}

// onlyPart is the decoded content of a message's first part.
func onlyPart(t *testing.T, text string) []byte {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := multipart.NewReader(m.Body, params["boundary"]).NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	coded, err := io.ReadAll(part)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(coded)) {
		if len(strings.TrimSpace(line)) > 76 {
			t.Errorf("a line of %d", len(line))
		}
	}
	data, err := base64.StdEncoding.DecodeString(string(coded))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBrokenBinaryMessageIsAnError(t *testing.T) {
	t.Parallel()
	broken := io.MultiReader(strings.NewReader("Content-Transfer-Encoding: binary\r\n\r\nhalf"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := io.ReadAll(newTextual(broken)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if _, err := io.ReadAll(newTextual(strings.NewReader(strings.Repeat("X: y\r\n", maxHeader)))); err == nil {
		t.Error("a header without end is taken")
	}
}

// Whatever comes: no panic, nothing binary is left, and reading it in pieces makes no
// difference.
func FuzzBinaryMessage(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\n\r\n--b--\r\n"))
	f.Add([]byte("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\nx"))
	f.Add([]byte("A: b\nContent-Transfer-Encoding: binary\n\n--"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := io.ReadAll(newTextual(bytes.NewReader(raw)))
		if err != nil {
			t.Skip() // its header is too large
		}
		pieces, err := io.ReadAll(newTextual(iotest.OneByteReader(bytes.NewReader(raw))))
		if err != nil || !bytes.Equal(once, pieces) {
			t.Fatalf("in pieces: %v\n%q\n%q", err, once, pieces)
		}
		twice, err := io.ReadAll(newTextual(bytes.NewReader(once)))
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("something was left: %v\n%q\n%q", err, once, twice)
		}
	})
}
