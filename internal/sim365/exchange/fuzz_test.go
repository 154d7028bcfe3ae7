package exchange

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

func FuzzParsePath(f *testing.F) {
	f.Add("FROM:<a@b> SIZE=1 BODY=8BITMIME")
	f.Add("from:<@x,@y:a@b>")
	f.Add(`FROM:<"a>\"b"@c>`)
	f.Add("FROM:<>")
	f.Fuzz(func(t *testing.T, args string) {
		address, params, ok := parsePath(args, "FROM:", "SIZE", "BODY")
		if ok == (params == nil) || !ok && address != "" {
			t.Fatalf("%q: %q %v %v", args, address, params, ok)
		}
		if ok && (!strings.Contains(args, address) || len(params) > 2) {
			t.Fatalf("%q: %q %v", args, address, params)
		}
	})
}

func FuzzDotted(f *testing.F) {
	f.Add([]byte("a\r\n..b\r\n.\r\nQUIT\r\n"))
	f.Add([]byte("a\n.\n.\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		w := newWire(once{bytes.NewReader(in)})
		c, err := w.dotted(int64(len(in)))
		if err != nil {
			return
		}
		if c.tooBig || w.taken > int64(len(in)) {
			t.Fatalf("%q: %+v, took %d", in, c, w.taken)
		}
		// What ended the message must be the first CRLF.CRLF, and nothing was lost.
		end := bytes.Index(append([]byte("\r\n"), in...), []byte("\r\n.\r\n"))
		if int64(end+3) != w.taken {
			t.Fatalf("%q ended at %d, took %d", in, end, w.taken)
		}
		if stuffed := bytes.Count(in[:w.taken], []byte(".")) - bytes.Count(c.raw, []byte(".")); stuffed < 1 {
			t.Fatalf("%q gave %q", in, c.raw)
		}
	})
}

// FuzzSMTP and FuzzPOP3 send arbitrary lines into a session: it must answer every
// one and come to an end.
func FuzzSMTP(f *testing.F) {
	f.Add([]byte("EHLO me\r\nMAIL FROM:<scan@contoso.com>\r\nRCPT TO:<a@b.c>\r\nDATA\r\nx\r\n.\r\nBDAT 3 LAST\r\nabcQUIT\r\n"))
	f.Add([]byte("BDAT 99999999999999999999\r\nAUTH LOGIN\r\nAUTH XOAUTH2 =\r\nSTARTTLS\r\n"))
	s := idleServers(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		session := &smtpSession{Servers: s, svc: submission(), w: newWire(once{bytes.NewReader(in)}), secure: true, mailbox: "scan@contoso.com", answered: -1}
		if err := session.run(t.Context()); err == nil {
			t.Fatal("no end")
		}
	})
}

func FuzzPOP3(f *testing.F) {
	f.Add([]byte("CAPA\r\nSTAT\r\nLIST 1\r\nRETR 1\r\nTOP 1 -1\r\nTOP 1 0\r\nDELE 1\r\nRSET\r\nQUIT\r\n"))
	f.Add([]byte("UIDL 9999999999999999999999\r\nAUTH\r\n"))
	s := idleServers(f)
	if err := s.Deliver("scan@contoso.com", []byte("a: b\r\n\r\n.x")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		session := &popSession{Servers: s, w: newWire(once{bytes.NewReader(in)})}
		session.open("scan@contoso.com")
		if err := session.run(t.Context()); err == nil {
			t.Fatal("no end")
		}
	})
}

func FuzzIMAPLine(f *testing.F) {
	f.Add("a LOGIN {3+}\r\nabc {2}\r\nxy\r\n")
	f.Add("a uid fetch 1:* (FLAGS) {}\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		front := &imapFront{w: newWire(once{strings.NewReader(in)})}
		line, err := front.line()
		if err != nil {
			return
		}
		if tag, name, _ := imapWords(line); tag == "" || name != strings.ToUpper(name) {
			t.Fatalf("%q: %q %q", line, tag, name)
		}
		if front.w.taken > int64(len(in)) {
			t.Fatalf("%q: took %d", in, front.w.taken)
		}
	})
}

func idleServers(f *testing.F) *Servers {
	w := world.New()
	w.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	w.AddUser(world.User{UPN: "scan@contoso.com", Password: "x"})
	w.SetPolicy("scan@contoso.com", func(p *world.MailboxPolicy) { p.Limits = world.Limits{MessageSize: 1 << 20} })
	s, err := Start(w, Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	return s
}

// once is a connection whose client has said all it will say.
type once struct{ io.Reader }

func (once) Write(p []byte) (int, error)      { return len(p), nil }
func (once) Close() error                     { return nil }
func (once) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (once) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (once) SetDeadline(time.Time) error      { return nil }
func (once) SetReadDeadline(time.Time) error  { return nil }
func (once) SetWriteDeadline(time.Time) error { return nil }

func TestPauseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if pause(ctx, time.Hour) {
		t.Error("paused to the end")
	}
}
