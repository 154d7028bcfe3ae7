package door_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// change alters the gate's device.
func (g *gate) change(do func(*door.Device)) {
	g.devices.mu.Lock()
	defer g.devices.mu.Unlock()
	d := g.devices.byID["scanner"]
	do(&d)
	g.devices.byID["scanner"] = d
}

func networks(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range list {
		out = append(out, netip.MustParsePrefix(n))
	}
	return out
}

func TestPolicyAtTheDoor(t *testing.T) {
	t.Parallel()
	const begin = "C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\nC: DATA\nS: 354\n"
	for name, c := range map[string]struct {
		policy door.Policy
		play   string
		kept   int
		body   string // part of what was kept
	}{
		"a network it is in":      {door.Policy{Networks: networks("10.0.0.0/8", "127.0.0.0/8")}, plainLogin, 0, ""},
		"a network it is not in":  {door.Policy{Networks: networks("10.0.0.0/8")}, "C: AUTH PLAIN AHNjYW5uZXIAcGFzcyB3b3Jk\nS: 535 5.7.1 The device scanner may not come from 127.0.0.1\n", 0, ""},
		"another From is refused": {door.Policy{}, plainLogin + begin + "C: From: ceo@contoso.com\nC:\nC: x\nC: .\nS: 550 5.7.1 The message was not accepted: accept message: its From header names ceo@contoso.com. Next: set\n", 0, ""},
		"and the next one is taken": {door.Policy{}, plainLogin + begin + "C: From: ceo@contoso.com\nC:\nC: x\nC: .\nS: 550\n" + begin +
			"C: From: scans@contoso.com\nC:\nC: x\nC: .\nS: 250\n", 1, "From: scans@contoso.com\r\n\r\nx"},
		"another From is rewritten": {door.Policy{Rewrite: true}, plainLogin + begin + "C: From: Boss <ceo@contoso.com>\nC:\nC: x\nC: .\nS: 250\n", 1,
			"From: \"Boss\" <office@contoso.com>\r\nReply-To: Boss <ceo@contoso.com>\r\n"},
		"another envelope is rewritten": {door.Policy{Rewrite: true}, plainLogin + "C: MAIL FROM:<root@localhost.localdomain>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\nC: DATA\nS: 354\nC: x\nC: .\nS: 250\n", 1,
			"From: <office@contoso.com>\r\n"},
		"too large as announced": {door.Policy{MaxSize: 1000}, plainLogin + "C: MAIL FROM:<office@contoso.com> SIZE=1001\nS: 552 5.3.4 The message is larger than the 0.0 MB\n", 0, ""},
		"too large as it turns out": {door.Policy{MaxSize: 1000}, plainLogin + begin + "C: " + strings.Repeat("x", 1000) + "\nC: .\nS: 552 5.3.4\n" + begin + "C: small\nC: .\nS: 250\n", 1,
			"small"},
		"too often": {door.Policy{PerMinute: 2}, plainLogin + strings.Repeat(begin+"C: x\nC: .\nS: 250\n", 2) +
			"C: MAIL FROM:<office@contoso.com>\nS: 451 4.7.1 This device may send 2 messages a minute; try again in \n", 2, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			g.change(func(d *door.Device) { d.Policy = c.policy })
			g.dial(t).play(file(t, "opening") + c.play)
			kept, bodies := g.shelf.all()
			if len(kept) != c.kept || !strings.Contains(strings.Join(bodies, ""), c.body) {
				t.Errorf("kept %d: %q", len(kept), bodies)
			}
		})
	}
}

// TestCapHoldsAcrossSessions begins two messages at once where one a minute is allowed: one
// is taken. What was refused for its content does not count.
func TestCapHoldsAcrossSessions(t *testing.T) {
	t.Parallel()
	const begin = "C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\n"
	g := open(t)
	g.change(func(d *door.Device) { d.Policy = door.Policy{PerMinute: 1} })
	one, two := g.dial(t), g.dial(t)
	one.play(file(t, "opening") + plainLogin + begin + "C: DATA\nS: 354\nC: From: ceo@contoso.com\nC:\nC: x\nC: .\nS: 550\n" + begin)
	two.play(file(t, "opening") + plainLogin + begin)
	one.play("C: DATA\nS: 354\nC: x\nC: .\nS: 250\n")
	two.play("C: DATA\nS: 354\nC: x\nC: .\nS: 451 4.7.1 This device may send 1 messages a minute\nC: NOOP\nS: 250\n")
	if kept, _ := g.shelf.all(); len(kept) != 1 {
		t.Errorf("kept %d", len(kept))
	}
}

// TestTurnedAwayIsCounted wants each sender, recipient and message that is refused for
// good to be told once, and nothing else.
func TestTurnedAwayIsCounted(t *testing.T) {
	t.Parallel()
	const begin = "C: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\nC: DATA\nS: 354\n"
	for name, c := range map[string]struct {
		policy door.Policy
		play   string
		want   int32
	}{
		"taken":            {door.Policy{}, plainLogin + begin + "C: x\nC: .\nS: 250\n", 0},
		"sender":           {door.Policy{}, plainLogin + "C: MAIL FROM:<ceo@contoso.com>\nS: 550 5.7.1\n", 1},
		"From":             {door.Policy{}, plainLogin + begin + "C: From: ceo@contoso.com\nC:\nC: x\nC: .\nS: 550\n" + begin + "C: x\nC: .\nS: 250\n", 1},
		"size, announced":  {door.Policy{MaxSize: 1000}, plainLogin + "C: MAIL FROM:<office@contoso.com> SIZE=1001\nS: 552 5.3.4\n", 1},
		"size, turned out": {door.Policy{MaxSize: 1000}, plainLogin + begin + "C: " + strings.Repeat("x", 1000) + "\nC: .\nS: 552 5.3.4\n", 1},
		"for now":          {door.Policy{PerMinute: 1}, plainLogin + begin + "C: x\nC: .\nS: 250\nC: MAIL FROM:<office@contoso.com>\nS: 451\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var turned atomic.Int32
			g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.TurnedAway = func() { turned.Add(1) } })
			g.change(func(d *door.Device) { d.Policy = c.policy })
			g.dial(t).play(file(t, "opening") + c.play)
			if got := turned.Load(); got != c.want {
				t.Errorf("%d were turned away, want %d", got, c.want)
			}
		})
	}
}

// A machine that can neither log in nor speak TLS submits from the network it is
// listed with, at the door that is for that, and nowhere else.
func TestListedMachineNeedsNoLogin(t *testing.T) {
	t.Parallel()
	const mailIn = "S: 220\nC: HELO old\nS: 250\nC: MAIL FROM:<office@contoso.com>\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\nC: DATA\nS: 354\nC: x\nC: .\nS: 250\n"
	listed := door.Policy{NoLogin: true, Networks: networks("127.0.0.1/32")}
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.Listed = true })
	g.change(func(d *door.Device) { d.Policy = listed })
	g.dial(t).play(mailIn)
	kept, bodies := g.shelf.all()
	if len(kept) != 1 || kept[0].Device != "scanner" || !strings.Contains(bodies[0], "with ESMTP id") {
		t.Fatalf("kept %+v %q", kept, bodies)
	}
	for why, p := range map[string]door.Policy{
		"another network": {NoLogin: true, Networks: networks("192.0.2.0/24")},
		"the whole world": {NoLogin: true, Networks: networks("0.0.0.0/0")},
		"it may not":      {Networks: networks("127.0.0.1/32")},
	} {
		g.change(func(d *door.Device) { d.Policy = p })
		g.dial(t).play("S: 220\nC: HELO old\nS: 250\nC: MAIL FROM:<office@contoso.com>\nS: 530 5.7.0 Must issue a STARTTLS\n")
		if kept, _ := g.shelf.all(); len(kept) != 1 {
			t.Errorf("%s: taken", why)
		}
	}
	other := open(t)
	other.change(func(d *door.Device) { d.Policy = listed })
	other.dial(t).play("S: 220\nC: HELO old\nS: 250\nC: MAIL FROM:<office@contoso.com>\nS: 530\n")
}

// A session that is open ends when its device may no longer come as it came; and nobody
// is asked for a password in the clear.
func TestPolicyHoldsForOpenSessions(t *testing.T) {
	t.Parallel()
	listed := door.Policy{NoLogin: true, Networks: networks("127.0.0.1/32")}
	for why, p := range map[string]door.Policy{
		"it must log in now": {Networks: networks("127.0.0.1/32")},
		"from other places":  {NoLogin: true, Networks: networks("192.0.2.0/24")},
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.Listed = true })
			g.change(func(d *door.Device) { d.Policy = listed })
			d := g.dial(t)
			d.play("S: 220\nC: HELO old\nS: 250\nC: AUTH LOGIN\nS: 503\nC: MAIL FROM:<office@contoso.com>\nS: 250\nC: RSET\nS: 250\n")
			g.change(func(d *door.Device) { d.Policy = p })
			d.play("C: MAIL FROM:<office@contoso.com>\nS: 530 5.7.0 This login is no longer valid\n")
		})
	}
}

func TestPolicyThatWouldBeAnOpenRelayIsInvalid(t *testing.T) {
	t.Parallel()
	for _, p := range []door.Policy{{NoLogin: true}, {NoLogin: true, Networks: networks("10.0.0.0/8", "::/0")}, {MaxSize: -1}, {PerMinute: -1}} {
		if err := p.Check(); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if err := (door.Policy{NoLogin: true, Networks: networks("10.0.0.0/8")}).Check(); err != nil {
		t.Error(err)
	}
}

// A session that lives is ended when its login is withdrawn.
func TestRevocationCutsLiveSessions(t *testing.T) {
	t.Parallel()
	g := open(t)
	c := g.dial(t)
	c.play(file(t, "opening") + plainLogin)
	g.change(func(d *door.Device) { d.Disabled = true })
	c.play("S: 421\n* CLOSED\n")
}

func TestOneHostCannotHoldAllSessions(t *testing.T) {
	t.Parallel()
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.MaxPerHost = 2 })
	first := g.dial(t)
	first.play("S: 220\n")
	g.dial(t).play("S: 220\n")
	g.dial(t).play("S: 421 4.3.2 Too many connections\n* CLOSED\n")
	first.play("C: QUIT\nS: 221\n* CLOSED\n")
}

// Guessing locks the host, and the device against hosts it does not know; never the
// host that has always had the right password.
func TestBruteForceIsLockedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hash, err := door.HashPassword(secret.New("pass word"))
		if err != nil {
			t.Fatal(err)
		}
		kept := &devices{byID: map[string]door.Device{"scanner": {Name: "scanner", Account: "office", PasswordHash: hash, Senders: []mail.Address{}}}}
		logins := door.NewLogins(kept, time.Millisecond, 0)
		try := func(password, host string) error {
			_, err := logins.Check(context.Background(), "scanner", secret.New(password), host)
			return err
		}
		if err := try("pass word", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := try("wrong", "198.51.100.7"); !errors.Is(err, fault.Denied) {
				t.Fatalf("guess %d: %v", i, err)
			}
		}
		if err := try("pass word", "198.51.100.7"); !errors.Is(err, fault.Throttled) {
			t.Errorf("a locked host is heard: %v", err)
		}
		for i := range 40 { // from many hosts, a few each
			_ = try("wrong", "203.0.113."+string(rune('a'+i)))
		}
		if err := try("pass word", "203.0.113.200"); !errors.Is(err, fault.Throttled) {
			t.Errorf("a locked device is heard from a new host: %v", err)
		}
		if err := try("pass word", "192.0.2.1"); err != nil {
			t.Errorf("the host that knows the password is locked out: %v", err)
		}
		time.Sleep(11 * time.Minute)
		if err := try("pass word", "198.51.100.7"); err != nil {
			t.Errorf("ten minutes later: %v", err)
		}
	})
}

// A host that knows a device's password keeps its way in while it is locked, by that very
// password; it is no place to guess from.
func TestAKnownHostDoesNotGuessForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hash, err := door.HashPassword(secret.New("pass word"))
		if err != nil {
			t.Fatal(err)
		}
		kept := &devices{byID: map[string]door.Device{"scanner": {Name: "scanner", Account: "office", PasswordHash: hash, Policy: door.Policy{Doors: []string{door.DoorSMTP, door.DoorIMAP}}}}}
		logins := door.NewLogins(kept, time.Millisecond, 0)
		check := func(password string) error {
			_, err := logins.Check(t.Context(), "scanner", secret.New(password), "192.0.2.1")
			return err
		}
		open := func(password string) error {
			_, _, err := logins.Open(t.Context(), door.Opening{Door: door.DoorIMAP, User: "scanner", Password: secret.New(password), Remote: "192.0.2.1",
				Mailbox: func(context.Context, string) (mail.Address, error) {
					return mail.Address{Local: "scan", Domain: "contoso.com"}, nil
				}})
			return err
		}
		for name, try := range map[string]func(string) error{"SMTP": check, "IMAP": open} {
			time.Sleep(11 * time.Minute)
			if err := try("pass word"); err != nil {
				t.Fatal(name, err)
			}
			for i := range 20 {
				if err := try("wrong"); !errors.Is(err, fault.Denied) {
					t.Fatalf("%s, guess %d: %v", name, i, err)
				}
			}
			if err := try("wrong"); !errors.Is(err, fault.Throttled) {
				t.Errorf("%s: the next guess is heard: %v", name, err)
			}
			if err := try("pass word"); err != nil {
				t.Errorf("%s: the device itself is locked out: %v", name, err)
			}
		}
	})
}
