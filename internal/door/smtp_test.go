package door_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
)

const plainLogin = "C: AUTH PLAIN AHNjYW5uZXIAcGFzcyB3b3Jk\nS: 235\n"

const oneMessage = "C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\nC: DATA\nS: 354\n"

func TestSubmission(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.dial(t).play(file(t, "opening") + file(t, "submit"))
	kept, bodies := g.shelf.all()
	if len(kept) != 2 {
		t.Fatalf("%d messages", len(kept))
	}
	m := kept[0]
	if m.Device != "scanner" || m.Account != "office" || !m.EightBit || m.Subject != "scan" || len(m.Recipients) != 2 {
		t.Errorf("got %+v", m)
	}
	if !strings.HasSuffix(bodies[0], "\r\nSubject: scan\r\n\r\n.one dot\r\n") || !strings.HasPrefix(bodies[0], "Received: from scanner ([127.0.0.1])") {
		t.Errorf("body %q", bodies[0])
	}
	if !strings.HasSuffix(bodies[1], "\r\n\r\nno header at all\r\n") || kept[1].From.Local != "scans" {
		t.Errorf("second: %+v %q", kept[1], bodies[1])
	}
	for _, id := range []string{kept[0].ID, kept[1].ID} {
		if !strings.Contains(g.log.String(), "id="+id) {
			t.Errorf("no line for %s", id)
		}
	}
}

func TestLogins(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"login_mechanism", "login_old_printer", "bad_logins", "refusals"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			g.dial(t).play(file(t, "opening") + file(t, name))
			for _, never := range []string{"pass word", "cGFzcyB3b3Jk", "AHNjYW5uZXIAcGFzcyB3b3Jk", "nope"} {
				if strings.Contains(g.log.String(), never) {
					t.Errorf("the log shows %q", never)
				}
			}
			if kept, _ := g.shelf.all(); len(kept) != 0 {
				t.Errorf("%d messages", len(kept))
			}
		})
	}
}

func TestNothingWithoutTLS(t *testing.T) {
	t.Parallel()
	open(t).dial(t).play(file(t, "without_tls"))
}

func TestCommandsBehindSTARTTLSAreDropped(t *testing.T) {
	t.Parallel()
	c := open(t).dial(t)
	c.play(file(t, "pipelined_starttls"))
	c.startTLS()
	c.play("C: MAIL FROM:<office@contoso.com>\nS: 502 5.5.1 Please introduce yourself first\n")
}

func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.Implicit = true })
	c := g.dial(t)
	c.startTLS()
	c.play("S: 220\nC: HELO x\nS: 250\n" + plainLogin + oneMessage + "C: x\nC: .\nS: 250 2.0.0 Ok: queued as \n")
}

func TestSmuggledMessagesStayOne(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.dial(t).play(file(t, "opening") + file(t, "smuggling"))
	kept, bodies := g.shelf.all()
	if len(kept) != 1 {
		t.Fatalf("%d messages", len(kept))
	}
	if bare := strings.ReplaceAll(bodies[0], "\r\n", ""); strings.ContainsAny(bare, "\r\n") {
		t.Errorf("bare line ends are left: %q", bodies[0])
	}
	for _, word := range []string{"one", "MAIL FROM", "two", "three", "four", "five"} {
		if !strings.Contains(bodies[0], word) {
			t.Errorf("%q is not in the one message", word)
		}
	}
}

// A line that ends in CR CR LF is one that ends in CR LF: the dot behind it is the end.
func TestDoubledCRBeforeTheDotIsALineEnd(t *testing.T) {
	t.Parallel()
	g := open(t)
	c := g.dial(t)
	c.play(file(t, "opening") + plainLogin + oneMessage + `R: "text\r\r\n.\r\nMAIL FROM:<office@contoso.com>\r\n"` + "\nS: 250 2.0.0 Ok: queued as \nS: 250\n")
	if _, bodies := g.shelf.all(); len(bodies) != 1 || !strings.HasSuffix(bodies[0], "\r\n\r\ntext\r\n\r\n") {
		t.Errorf("got %q", bodies)
	}
}

func TestBDAT(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.dial(t).play(file(t, "opening") + plainLogin +
		"C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\n" +
		"R: \"BDAT 5\\r\\nX: y\\n\"\nS: 250\nR: \"BDAT 3 LAST\\r\\n\\nhi\"\nS: 250 2.0.0 Ok: queued as \n")
	if _, bodies := g.shelf.all(); len(bodies) != 1 || !strings.HasSuffix(bodies[0], "X: y\r\n\r\nhi") {
		t.Errorf("got %q", bodies)
	}
}

func TestWhatIsNotStoredIsNotAccepted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fail  error
		body  string
		reply string
	}{
		"disk full":        {fault.New(fault.Temporary, "put message", "disk full /var/secret/path"), "x", "451 4.3.0 Postern cannot take mail now"},
		"too big":          {nil, strings.Repeat("0123456789\r\n", 200), "552 5.3.4 "},
		"endless header":   {nil, "", "554 5.6.0 "},
		"mail in a circle": {nil, strings.Repeat("Received: x\r\n", 60), "554 5.6.0 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t, func(cfg *door.SMTPConfig, s *shelf) {
				s.fail = c.fail
				if name != "endless header" {
					cfg.MaxSize = 2000
				}
			})
			if c.body == "" {
				c.body = strings.Repeat("X: 0123456789\r\n", 20_000)
			}
			p := g.dial(t)
			p.play(file(t, "opening") + plainLogin + oneMessage)
			p.say(c.body + "\r\n.\r\n")
			p.play("S: " + c.reply + "\nC: NOOP\nS: 250\n")
			if kept, _ := g.shelf.all(); len(kept) != 0 {
				t.Errorf("%d messages", len(kept))
			}
		})
	}
}

func TestTooManyRecipients(t *testing.T) {
	t.Parallel()
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.MaxRecipients = 1 })
	opening := strings.ReplaceAll(file(t, "opening"), "RCPTMAX=1000", "RCPTMAX=1")
	g.dial(t).play(opening + plainLogin + "C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\nC: RCPT TO:<b@example.net>\nS: 452 4.5.3 \n")
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	g := open(t)
	c := g.dial(t)
	c.play(file(t, "opening") + plainLogin + oneMessage)
	long := strings.Repeat("x", 500_000)
	c.say("Subject: long\r\n\r\n" + long + "\r\n.\r\n")
	c.play("S: 250 2.0.0 Ok: queued as \n")
	if _, bodies := g.shelf.all(); !strings.HasSuffix(bodies[0], "\r\n"+long+"\r\n") {
		t.Error("the long line was changed")
	}
}

func TestRevokedDeviceLosesItsSession(t *testing.T) {
	t.Parallel()
	g := open(t)
	c := g.dial(t)
	c.play(file(t, "opening") + plainLogin)
	if err := g.devices.DeleteDevice(t.Context(), "scanner"); err != nil {
		t.Fatal(err)
	}
	c.play("C: MAIL FROM:<office@contoso.com>\nS: 530 5.7.0 \nS: 421\n* CLOSED\n")
}

func TestAccountWithoutMailbox(t *testing.T) {
	t.Parallel()
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) {
		cfg.Account = func(context.Context, string) (door.Account, error) {
			return door.Account{}, fault.New(fault.NotFound, "find account", "gone")
		}
	})
	g.dial(t).play(file(t, "opening") + plainLogin + "C: MAIL FROM:<office@contoso.com>\nS: 550 5.7.1 The account of this device does not exist\n")
}

func TestTooManySessions(t *testing.T) {
	t.Parallel()
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.MaxSessions = 1 })
	g.dial(t).play("S: 220\n")
	g.dial(t).play("S: 421 4.3.2\n* CLOSED\n")
}

func TestGracefulStop(t *testing.T) {
	t.Parallel()
	t.Run("a message coming in is taken", func(t *testing.T) {
		t.Parallel()
		g := open(t)
		idle, busy := g.dial(t), g.dial(t)
		idle.play("S: 220\n")
		busy.play(file(t, "opening") + plainLogin + oneMessage + "C: half\n")
		g.stop()
		idle.play("S: 421\n* CLOSED\n")
		busy.play("C: whole\nC: .\nS: 250 2.0.0 Ok: queued as \nS: 421\n* CLOSED\n")
		if kept, _ := g.shelf.all(); len(kept) != 1 {
			t.Errorf("%d messages", len(kept))
		}
	})
	t.Run("but not for ever", func(t *testing.T) {
		t.Parallel()
		g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.Grace = 50 * time.Millisecond })
		c := g.dial(t)
		c.play(file(t, "opening") + plainLogin + oneMessage + "C: half\n")
		g.stop()
		if _, err := c.br.ReadByte(); err == nil {
			t.Error("the session goes on")
		}
		if kept, _ := g.shelf.all(); len(kept) != 0 {
			t.Errorf("%d messages", len(kept))
		}
	})
}

func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.stop() // perhaps before Serve has begun to listen; the cleanup waits for its end
}

func TestSelfSignedIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := door.SelfSigned(dir, []string{"door.example", "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := door.SelfSigned(dir, []string{"other.example"})
	if err != nil || !first.Leaf.Equal(second.Leaf) {
		t.Errorf("another certificate, %v", err)
	}
	if err := first.Leaf.VerifyHostname("192.0.2.1"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		info, err := os.Stat(dir + "/" + name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if _, err := door.LoadCertificate(dir+"/tls.crt", dir+"/tls.key"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(dir+"/tls.key", []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := door.SelfSigned(dir, nil); err == nil {
		t.Error("a broken key was replaced without a word")
	}
}

func TestPlainLoginVector(t *testing.T) {
	t.Parallel()
	want := base64.StdEncoding.EncodeToString([]byte("\x00scanner\x00pass word"))
	if !strings.Contains(plainLogin, fmt.Sprintf("PLAIN %s\n", want)) {
		t.Errorf("the dialogues should say %s", want)
	}
}
