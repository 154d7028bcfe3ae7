package door_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"postern/internal/door"
)

// Old printers ask for the prompts first, shout nothing, know no angle brackets, and leave
// blanks at the end of a line.
func TestOldPrinters(t *testing.T) {
	t.Parallel()
	g := open(t)
	opening := strings.ReplaceAll(file(t, "opening"), "C: EHLO", "C: ehlo")
	g.dial(t).play(opening + "C: auth login \nS: 334 VXNlcm5hbWU6\nC: c2Nhbm5lcg==\nS: 334 UGFzc3dvcmQ6\nC: cGFzcyB3b3Jk\nS: 235 2.0.0\n" +
		"C: mail from: office@contoso.com\nS: 250\nC: rcpt to:a@example.net\nS: 250\nC: data \t\nS: 354\nC: x \nC: .\nS: 250 2.0.0 Ok: queued as \nC: quit \nS: 221\n* CLOSED\n")
	kept, bodies := g.shelf.all()
	if len(kept) != 1 || kept[0].From.String() != "office@contoso.com" || kept[0].Recipients[0].Address.String() != "a@example.net" || !strings.HasSuffix(bodies[0], "\r\nx \r\n") {
		t.Errorf("kept %+v, %q", kept, bodies)
	}
}

// What is wrong with a message but harmless is taken, and nothing of it is lost.
func TestOddMessagesAreTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ say, kept string }{
		"no From":          {"Subject: x\r\n\r\nbody", "From: <office@contoso.com>\r\n"},
		"8-bit in headers": {"Subject: Z\xc3\xa4hler \xff\r\n\r\nbody", "Subject: Z\xc3\xa4hler \xff\r\n\r\nbody"},
		"malformed MIME":   {"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\r\n\r\n--x\r\n--\r\n", "boundary=\r\n\r\n--x\r\n--\r\n"},
		"octets of zero":   {"Subject: x\r\n\r\na\x00b", "a\x00b"},
		"nothing":          {"", "From: <office@contoso.com>\r\n"},
		"only dots":        {"..\r\n...\r\n.. ", "\r\n.\r\n..\r\n. \r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			p := g.dial(t)
			p.play(file(t, "opening") + plainLogin + oneMessage)
			p.say(strings.TrimPrefix(c.say+"\r\n.\r\n", "\r\n"))
			p.play("S: 250 2.0.0 Ok: queued as \nC: NOOP\nS: 250\n")
			if _, bodies := g.shelf.all(); len(bodies) != 1 || !strings.Contains(bodies[0], c.kept) {
				t.Errorf("kept %q", bodies)
			}
		})
	}
}

func TestEndlessCommandEndsItsSessionOnly(t *testing.T) {
	t.Parallel()
	g := open(t)
	other := g.dial(t)
	other.play(file(t, "opening") + plainLogin)
	for _, opening := range []string{"S: 220\n", file(t, "opening")} { // before TLS, and behind it
		p := g.dial(t)
		p.play(opening)
		sent := make(chan struct{})
		go func() { // it may not be read to its end
			defer close(sent)
			_, _ = io.WriteString(p.conn, "MAIL FROM:<"+strings.Repeat("x", 100_000)+"\r\n")
		}()
		p.play("S: 500 5.5.2 Too long line, closing connection\n")
		_ = p.conn.Close()
		<-sent
	}
	other.play(oneMessage + "C: x\nC: .\nS: 250\n")
}

// A hundred thousand recipients, pipelined: those above the limit are refused one by one,
// and the message goes to the others.
func TestFloodOfRecipients(t *testing.T) {
	t.Parallel()
	const all, allowed = 100_000, 1000
	g := open(t)
	c := g.dial(t)
	c.play(file(t, "opening") + plainLogin + "C: MAIL FROM:<office@contoso.com>\nS: 250\n")
	_ = c.conn.SetDeadline(time.Now().Add(2 * time.Minute))
	go func() { _, _ = io.WriteString(c.conn, strings.Repeat("RCPT TO:<a@example.net>\r\n", all)) }()
	for i := range all {
		want := "250 2.0.0"
		if i >= allowed {
			want = "452 4.5.3"
		}
		if reply, err := c.br.ReadString('\n'); err != nil || !strings.HasPrefix(reply, want) {
			t.Fatalf("recipient %d: %q, %v", i, reply, err)
		}
	}
	c.play("C: DATA\nS: 354\nC: x\nC: .\nS: 250\n")
}

// A device that closes its half of the connection hears what became of its message.
func TestHalfClosedConnections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		say, reply string
		kept       int
	}{
		"behind the message": {"x\r\n.\r\n", "S: 250 2.0.0 Ok: queued as \n", 1},
		"inside of it":       {"x\r\n.", "S: 451 4.4.2 The message did not arrive whole\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.Listed = true })
			g.change(func(d *door.Device) { d.Policy = door.Policy{NoLogin: true, Networks: networks("127.0.0.1/32")} })
			p := g.dial(t)
			p.play("S: 220\nC: HELO x\nS: 250\n" + oneMessage)
			p.say(c.say)
			if tcp, ok := p.conn.(*net.TCPConn); !ok || tcp.CloseWrite() != nil {
				t.Fatal("the connection has no halves")
			}
			p.play(c.reply + "* CLOSED\n")
			if kept, _ := g.shelf.all(); len(kept) != c.kept {
				t.Errorf("%d messages", len(kept))
			}
		})
	}
}

// A device that falls silent inside its message loses it, and nobody else waits.
func TestSlowDeviceLosesItsMessage(t *testing.T) {
	t.Parallel()
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) {
		cfg.Listed, cfg.Idle = true, 300*time.Millisecond
	})
	g.change(func(d *door.Device) { d.Policy = door.Policy{NoLogin: true, Networks: networks("127.0.0.1/32")} })
	const begin = "S: 220\nC: HELO x\nS: 250\n" + oneMessage
	slow, other := g.dial(t), g.dial(t)
	slow.play(begin + "C: half\n")
	other.play(begin + "C: x\nC: .\nS: 250\n")
	slow.play("S: 451 4.4.2 The message did not arrive whole\n")
	if kept, _ := g.shelf.all(); len(kept) != 1 {
		t.Errorf("%d messages", len(kept))
	}
}

// Commands that came together are answered together, in their order; what follows the
// dot is the next command, wherever the network cut.
func TestPipelinedMessages(t *testing.T) {
	t.Parallel()
	g := open(t)
	c := g.dial(t)
	c.play(file(t, "opening") + plainLogin)
	one := "MAIL FROM:<office@contoso.com>\r\nRCPT TO:<a@example.net>\r\nDATA\r\nDATA\r\n.QUIT\r\n..\r\n.\r\n"
	for _, cut := range []int{len(one), 1, 7, len(one) - 4, len(one) - 2} {
		for rest := one + one; rest != ""; {
			n := min(cut, len(rest))
			c.say(rest[:n])
			rest = rest[n:]
		}
		c.play(strings.Repeat("S: 250 2.0.0 Roger\nS: 250 2.0.0 I'll\nS: 354\nS: 250 2.0.0 Ok: queued as \n", 2))
	}
	_, bodies := g.shelf.all()
	for _, body := range bodies {
		if !strings.HasSuffix(body, "\r\n\r\nDATA\r\nQUIT\r\n.\r\n") {
			t.Errorf("got %q", body)
		}
	}
	if len(bodies) != 10 {
		t.Errorf("%d messages", len(bodies))
	}
}
