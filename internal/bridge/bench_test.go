package bridge_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"postern/internal/bridge"
)

const megabytes = 100 << 20

// feed answers FETCH with a hundred megabytes and anything else with OK.
func feed(p *peer) {
	block := bytes.Repeat([]byte("0123456789abcde\n"), 1<<12)
	for {
		switch p.next() {
		case "":
			return
		case "f FETCH":
			p.say("* 1 FETCH (BODY[] {104857600}\r\n")
			for range megabytes / len(block) {
				if _, err := p.Write(block); err != nil {
					return
				}
			}
			p.say(")\r\nf OK done\r\n")
		default:
			p.say("n OK done\r\n")
		}
	}
}

func take(b *testing.B, c *peer) {
	b.Helper()
	c.say("f FETCH\r\n")
	c.want("* 1 FETCH")
	if _, err := io.CopyN(io.Discard, c.r, megabytes); err != nil {
		b.Fatal(err)
	}
	c.want("f OK")
}

func BenchmarkDownload(b *testing.B) {
	s := newStand(b, bridge.Limits{}, feed)
	for name, open := range map[string]func() *peer{"direct": s.direct, "bridge": s.reader} {
		b.Run(name, func(b *testing.B) {
			c := open()
			b.SetBytes(megabytes)
			for b.Loop() {
				take(b, c)
			}
		})
	}
}

func BenchmarkNoop(b *testing.B) {
	s := newStand(b, bridge.Limits{}, feed)
	for name, open := range map[string]func() *peer{"direct": s.direct, "bridge": s.reader} {
		b.Run(name, func(b *testing.B) {
			c := open()
			b.ReportAllocs()
			for b.Loop() {
				c.say("n NOOP\r\n")
				c.want("n OK")
			}
		})
	}
}

// direct is a client that has signed in at the server itself.
func (s *stand) direct() *peer {
	s.t.Helper()
	raw, err := net.Dial("tcp", s.servers[bridge.IMAP])
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = raw.Close() })
	c := newPeer(s.t, tls.Client(raw, s.trusts()))
	c.want("* OK")
	c.say("POSTERN AUTHENTICATE XOAUTH2 x\r\n")
	c.want("POSTERN OK")
	return c
}
