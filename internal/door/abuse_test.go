package door_test

import (
	"strings"
	"testing"
	"time"

	"postern/internal/door"
)

// A refused MAIL FROM must not become the sender of the transaction begun before it.
func TestRefusedSenderDoesNotReplaceTheOneTaken(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]string{
		"refused": "C: MAIL FROM:<ceo@contoso.com>\nS: 5\n",
		"allowed": "C: MAIL FROM:<scans@contoso.com>\nS: 5\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			g.dial(t).play(file(t, "opening") + plainLogin +
				"C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\n" + second +
				"C: DATA\nS: 354\nC: x\nC: .\nS: 250\n")
			kept, _ := g.shelf.all()
			if len(kept) != 1 || kept[0].From.String() != "office@contoso.com" {
				t.Errorf("kept %+v", kept)
			}
		})
	}
}

// A line cut inside the last chunk ends the connection, not the message.
func TestLineCutInsideBDATAcceptsNothing(t *testing.T) {
	t.Parallel()
	for name, begun := range map[string]string{
		"in the only chunk": `R: "BDAT 1000 LAST\r\nSubject: invoice\r\n\r\nhalf"` + "\n",
		"before any octet":  `R: "BDAT 1000 LAST\r\n"` + "\n",
		"in the last chunk": `R: "BDAT 6\r\nX: y\r\n"` + "\nS: 250\n" + `R: "BDAT 1000 LAST\r\n\r\nhalf"` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			c := g.dial(t)
			c.play(file(t, "opening") + plainLogin + "C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\n" + begun)
			_ = c.conn.Close()
			for end := time.Now().Add(10 * time.Second); !ended(g.log.String()); time.Sleep(time.Millisecond) {
				if kept, bodies := g.shelf.all(); len(kept) != 0 || time.Now().After(end) {
					t.Fatalf("accepted %q; log:\n%s", bodies, g.log.String())
				}
			}
		})
	}
}

// ended is also true when go-smtp had dropped the session before it began to read the message.
func ended(log string) bool {
	return strings.Contains(log, "message broken off") || strings.Contains(log, "session ended")
}

// A stranger who keeps talking must not keep his place for the two hours of a session.
func TestStrangerHasToSignInSoon(t *testing.T) {
	t.Parallel()
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.SignIn = 3 * time.Second })
	stranger, device := g.dial(t), g.dial(t)
	device.play(file(t, "opening") + plainLogin)
	stranger.play(file(t, "opening"))
	begun := time.Now()
	for reply, err := "250", error(nil); err == nil && strings.HasPrefix(reply, "250"); {
		if _, err = stranger.conn.Write([]byte("NOOP\r\n")); err == nil {
			reply, err = stranger.br.ReadString('\n')
		}
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	device.play("C: NOOP\nS: 250\n")
}

// What follows a BDAT that nobody understands may be a message, and is never taken for
// commands.
func TestBDATNotUnderstoodEndsTheSession(t *testing.T) {
	t.Parallel()
	const hidden = `MAIL FROM:<office@contoso.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nhidden\r\n.\r\n`
	for _, line := range []string{"BDAT 4294967296 LAST", "BDAT 84 LAST now", "BDAT 84 FIRST", "BDAT x84 LAST", "BDAT\t84 LAST", "BDAT -1"} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			g.dial(t).play(file(t, "opening") + plainLogin + `R: "` + strings.ReplaceAll(line, "\t", `\t`) + `\r\n` + hidden + `"` + "\nS: 501 5.5.4\n")
			if kept, _ := g.shelf.all(); len(kept) != 0 {
				t.Errorf("kept %+v", kept)
			}
		})
	}
}

// A reply that names what a message's author wrote stays a line.
func TestReplyIsNoLongerThanALine(t *testing.T) {
	t.Parallel()
	g := open(t)
	d := g.dial(t)
	d.play(file(t, "opening") + plainLogin + "C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\nC: DATA\nS: 354\n" +
		"C: From: x@example.net" + strings.Repeat(",\nC:  somebody@example.net", 400) + "\nC: \nC: x\nC: .\n")
	reply, err := d.br.ReadString('\n')
	if err != nil || !strings.HasPrefix(reply, "550 5.7.1") || len(reply) > 512 {
		t.Errorf("%d octets: %.80q, %v", len(reply), reply, err)
	}
	d.play("C: NOOP\nS: 250\n")
}
