package bridge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// closed is a house where nobody may come in: whoever asks for a mailbox got past the
// login.
type closed struct{ passed bool }

func (c *closed) Enter(context.Context, Protocol, string, secret.Text, netip.Addr) (Who, error) {
	return Who{}, fault.New(fault.Denied, "check login", "nobody may")
}

func (c *closed) Way(context.Context, Who, Protocol, bool) (Way, error) {
	c.passed = true
	return Way{}, io.EOF
}

func (c *closed) Refused(context.Context, Who, error) error { return nil }

// spoken is a client that has said everything it will.
type saidAll struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *saidAll) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *saidAll) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *saidAll) Close() error                     { return nil }
func (s *saidAll) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *saidAll) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *saidAll) SetDeadline(time.Time) error      { return nil }
func (s *saidAll) SetReadDeadline(time.Time) error  { return nil }
func (s *saidAll) SetWriteDeadline(time.Time) error { return nil }

// fuzzDoor has strangers say anything at a door: it neither panics nor lets them in,
// answers in whole lines, and does not answer without end.
func fuzzDoor(f *testing.F, p Protocol, admit func(*visitor) *session, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, said []byte, safe bool) {
		house := &closed{}
		b, err := New(Config{Logins: house, Mailboxes: house, TLS: &tls.Config{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		c := &saidAll{in: bytes.NewReader(said)}
		v := &visitor{b: b, protocol: p, raw: c, conn: c, safe: safe, wire: &bulk{Conn: c}, in: newInput(c)}
		defer func() { v.in.release() }()
		if admit(v) != nil || house.passed {
			t.Fatalf("%q got in", said)
		}
		out := c.out.String()
		if !strings.HasSuffix(out, "\r\n") && v.safe == safe { // else what follows is TLS's
			t.Errorf("%q was answered with %q", said, out)
		}
		if len(out) > 64<<10 {
			t.Errorf("%d octets were answered with %d", len(said), len(out))
		}
	})
}

func FuzzIMAPDoor(f *testing.F) {
	fuzzDoor(f, IMAP, func(v *visitor) *session { return v.admitIMAP(context.Background()) },
		"a CAPABILITY\r\nb LOGOUT\r\n", "a LOGIN x y\r\n", "a LOGIN \"x\\\"\" \"y\"\r\n", "a LOGIN {1}\r\nx {1}\r\ny\r\n", "a LOGIN {1+}\r\nx {1+}\r\ny\r\n",
		"a LOGIN {4294967296}\r\n", "a LOGIN {4294967296+}\r\n", "a AUTHENTICATE PLAIN AHgAeQ==\r\n", "a AUTHENTICATE LOGIN\r\neA==\r\neQ==\r\n",
		"a AUTHENTICATE PLAIN\r\n*\r\n", "a STARTTLS\r\nb LOGIN x y\r\n", "a ID NIL\r\nb NOOP\r\n", strings.Repeat("x", 5000), "a LOGIN x y\r\nb SELECT INBOX\r\n", "+ x\r\n", "\r\n")
}

func FuzzPOP3Door(f *testing.F) {
	fuzzDoor(f, POP3, func(v *visitor) *session { return v.admitPOP3(context.Background()) },
		"CAPA\r\nQUIT\r\n", "USER x\r\nPASS y z\r\n", "AUTH\r\n", "AUTH PLAIN AHgAeQ==\r\n", "AUTH PLAIN\r\nAHgAeQ==\r\n", "AUTH LOGIN\r\neA==\r\neQ==\r\n",
		"STLS\r\nUSER x\r\n", "PASS y\r\n", strings.Repeat("x", 5000), "APOP x y\r\n", "USER x\r\nPASS y\r\nRETR 1\r\n", "\r\n")
}

// FuzzReadRequest reads commands: what it takes is bounded, whatever is announced.
func FuzzReadRequest(f *testing.F) {
	for _, s := range []string{"a LOGIN x y\r\n", "a LOGIN {3+}\r\nabc {2}\r\nxy\r\n", "a X {9999999999999999999}\r\n", "a \"\\", "a b {0}\r\n{0}\r\n{0}\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		in := newInput(bytes.NewReader(said))
		defer in.release()
		r, err := readRequest(in, func() error { return nil })
		size := 0
		for _, a := range r.args {
			size += len(a)
		}
		if size > maxLine*(maxWords+1) || len(r.args) > maxWords {
			t.Errorf("%d octets in %d words", size, len(r.args))
		}
		if r.tag != "" && !isTag(r.tag) || err == nil && (r.tag == "" || r.name == "") {
			t.Errorf("%q became %+v", said, r)
		}
	})
}

// FuzzAnswers follows a server in pieces: it sees the same however they are cut, and
// passes all of it.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("* 1 FETCH (BODY[] {5}\r\n* BYE\r\n X {2}\r\nab)\r\na OK done {3}\r\n"), byte(3))
	f.Add([]byte("+ idling\r\n* 2 EXISTS\r\n* OK [UIDNEXT 3] x\r\n* CAPABILITY A COMPRESS=B\r\n"), byte(7))
	f.Add([]byte("* X "+strings.Repeat("y", 2*maxHeld)+"{5}\r\n12345\r\n* Z\r\n"), byte(250))
	f.Fuzz(func(t *testing.T, said []byte, cut byte) {
		run := func(step int) (seen []string, passed []byte) {
			var a answers
			var held []byte
			for at := 0; at < len(said); at += step {
				chunk := append(held, said[at:min(at+step, len(said))]...)
				rest, err := a.follow(chunk, func(line []byte) (bool, []byte) {
					seen = append(seen, string(line))
					return true, nil
				}, func(p []byte) error {
					passed = append(passed, p...)
					return nil
				})
				if err != nil || len(rest) >= maxHeld {
					t.Fatalf("%v, %d held back", err, len(rest))
				}
				held = slices.Clone(rest)
			}
			return seen, append(passed, held...)
		}
		whole, all := run(max(len(said), 1))
		pieces, same := run(int(cut) + 1)
		if !bytes.Equal(all, said) || !bytes.Equal(same, said) {
			t.Fatalf("%q was passed as %q and %q", said, all, same)
		}
		if !shortLines(said) {
			return // what is passed in pieces is not seen in any
		}
		if !slices.Equal(whole, pieces) {
			t.Fatalf("%q was seen as %q and %q", said, whole, pieces)
		}
	})
}

func shortLines(said []byte) bool {
	for line := range bytes.Lines(said) {
		if len(line) >= maxHeld {
			return false
		}
	}
	return true
}

// FuzzCommands passes a client's commands in pieces, and all of them but COMPRESS as
// they are.
func FuzzCommands(f *testing.F) {
	f.Add([]byte("a SELECT INBOX\r\nb UID FETCH 1:* (FLAGS)\r\nc IDLE\r\nDONE\r\n"), byte(4))
	f.Add([]byte("a APPEND x {5}\r\nab\r\ncd\r\nb APPEND x {3+}\r\nabc {2}\r\nxy\r\nc ENABLE CONDSTORE\r\n"), byte(2))
	f.Add([]byte("a "+strings.Repeat("z", 3*maxHeld)+"{4}\r\nabcd\r\n"), byte(255))
	f.Fuzz(func(t *testing.T, said []byte, cut byte) {
		if bytes.Contains(bytes.ToUpper(said), []byte("COMPRESS")) || bytes.Count(said, []byte("\n")) >= maxOrders {
			return
		}
		server := &saidAll{in: bytes.NewReader(nil)}
		s := &imapSession{session: &session{b: &Bridge{limits: Limits{}.filled()}, seat: seat{box: &box{}}, up: &upstream{Conn: server}}}
		s.changed = sync.NewCond(&s.turn)
		var held []byte
		for at := 0; at < len(said); at += int(cut) + 1 {
			held = slices.Clone(s.forward(append(held, said[at:min(at+int(cut)+1, len(said))]...)))
			if len(held) >= maxHeld {
				t.Fatalf("%d held back", len(held))
			}
		}
		if got := append(server.out.Bytes(), held...); !bytes.Equal(got, said) {
			t.Fatalf("%q was passed as %q", said, got)
		}
		for _, o := range s.orders {
			if len(o.text) > maxKept || len(o.tag) > 256 {
				t.Fatalf("kept %d octets of a command", len(o.text))
			}
		}
	})
}

// FuzzView has a server say anything of a folder.
func FuzzView(f *testing.F) {
	f.Add([]byte("* 5 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT 9] x\r\n* 2 EXPUNGE\r\n* 4 FETCH (FLAGS () UID 8)\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		v := view{opening: true}
		for line := range bytes.Lines(said) {
			v.see(line)
			if n, _, ok := numbered(line); ok && n < 0 {
				t.Fatalf("%q is %d", line, n)
			}
		}
	})
}

func TestAnnounced(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct {
		size      int64
		waits, is bool
	}{
		"a {5}\r\n": {5, true, true}, "a {5+}\r\n": {5, false, true}, "a {5-}": {5, false, true}, "a ~{12}\r\n": {12, true, true},
		"a {}\r\n": {}, "a {x}\r\n": {}, "a 5}\r\n": {}, "{99999999999999999999}": {}, "a {5} \r\n": {}, "": {}, "a {-5}\r\n": {}, "}": {},
	} {
		if size, waits, is := announced([]byte(line)); is != want.is || is && (size != want.size || waits != want.waits) {
			t.Errorf("%q: %d %v %v", line, size, waits, is)
		}
	}
}

func TestInputIsBounded(t *testing.T) {
	t.Parallel()
	in := newInput(strings.NewReader(strings.Repeat("x", maxLine+1)))
	defer in.release()
	if _, err := in.line(); !errors.Is(err, errLongLine) {
		t.Errorf("a long line: %v", err)
	}
}
