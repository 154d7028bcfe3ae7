package imap

import (
	"io"
	"net"
	"strings"
	"testing"
)

// replay is a connection that has all been received already.
type replay struct {
	net.Conn
	io.Reader
}

func (r replay) Read(p []byte) (int, error) { return r.Reader.Read(p) }

func TestTap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"farewell", "* OK hi\r\n* BYE gone\r\n", "* BYE gone"},
		{"bare line end", "* bye gone\n", "* bye gone"},
		{"in a literal", "* 1 FETCH (BODY[] {13}\r\n\r\n* BYE evil\r\n)\r\nT1 OK\r\n", ""},
		{"behind a literal", "* 1 FETCH (BODY[] {3}\r\nab\n)\r\n* BYE gone\r\n", "* BYE gone"},
		{"behind an empty literal", "* 1 FETCH (BODY[] {0}\r\n)\r\n* BYE gone\r\n", "* BYE gone"},
		{"literal announced behind a long line", "* 1 FETCH (X \"" + strings.Repeat("x", 2000) + "\" BODY[] {12}\r\n* BYE evil\r\n)\r\n", ""},
		{"not at the start", "T1 NO * BYE\r\n", ""},
		{"never ended", "* BYE gone", ""},
		{"over-long", "* BYE " + strings.Repeat("x", 2000) + "\r\n", "* BYE " + strings.Repeat("x", headSize-6)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, step := range []int{1, 7, 4096} {
				tp := newTap(replay{Reader: strings.NewReader(tt.in)})
				got, err := io.ReadAll(stepReader{tp, step})
				if err != nil || string(got) != tt.in {
					t.Fatalf("passed on %q, %v", got, err)
				}
				if tp.bye() != tt.want {
					t.Errorf("in steps of %d: %.60q, want %.60q", step, tp.bye(), tt.want)
				}
			}
		})
	}
}

type stepReader struct {
	r    io.Reader
	step int
}

func (s stepReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.step)]) }

func FuzzTap(f *testing.F) {
	f.Add("* 1 FETCH (BODY[] {3}\r\nab\n)\r\n* BYE gone\r\n", uint8(3))
	f.Fuzz(func(t *testing.T, in string, step uint8) {
		byes := make([]string, 0, 2)
		for _, n := range []int{int(step)%50 + 1, 4096} {
			tp := newTap(replay{Reader: strings.NewReader(in)})
			got, err := io.ReadAll(stepReader{tp, n})
			if err != nil || string(got) != in {
				t.Fatalf("passed on %q, %v", got, err)
			}
			byes = append(byes, tp.bye())
		}
		if byes[0] != byes[1] || len(byes[0]) > headSize {
			t.Errorf("%q in small steps, %q in large ones", byes[0], byes[1])
		}
	})
}
