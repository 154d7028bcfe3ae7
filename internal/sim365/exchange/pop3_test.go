package exchange

import (
	"testing"

	"postern/internal/sim365/world"
)

func (e *estate) fetcher(t *testing.T) *client {
	t.Helper()
	c := e.dial(t, "pop3")
	c.hear()
	c.say("AUTH XOAUTH2")
	expect(t, c.hear(), popContinue)
	c.say(xoauth2(scan, e.token()))
	expect(t, c.hear(), popWelcome)
	return c
}

// Only QUIT deletes, and only what the session saw.
func TestPOP3DeletesAtQuit(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fill(t, 2)
	lost := e.fetcher(t)
	lost.say("DELE 1")
	expect(t, lost.hear(), popOK)
	lost.conn.Close()
	c := e.fetcher(t)
	e.fill(t, 1)
	c.say("DELE 2")
	expect(t, c.hear(), popOK)
	c.say("STAT")
	expect(t, c.hear(), "+OK 1 ~")
	c.say("QUIT")
	expect(t, c.hear(), popGoodbye)
	c.ended()
	if got := uids(t, e, Inbox); got != "1, 3" {
		t.Errorf("INBOX is %s", got)
	}
}

func TestPOP3Faults(t *testing.T) {
	t.Parallel()
	for stage, line := range map[string]string{"list": "STAT", "fetch": "RETR 1", "store": "DELE 1", "quit": "QUIT", "capa": "CAPA"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			e.fill(t, 1)
			for _, f := range []world.Fault{{Kind: world.FaultReply, Code: "-ERR Server Unavailable. 21"}, {Kind: world.FaultDrop},
				{Kind: world.FaultDropAfter}, {Kind: world.FaultGarbage}} {
				c := e.fetcher(t)
				f.Where, f.Stage, f.Mailbox = "pop3", stage, scan
				e.w.Arm(f)
				c.say(line)
				switch f.Kind {
				case world.FaultReply:
					expect(t, c.hear(), f.Code)
				case world.FaultGarbage:
					expect(t, c.hear(), garbage)
				default:
					c.ended()
				}
			}
			if n := e.w.Count("fault"); n != 4 {
				t.Errorf("struck %d times", n)
			}
		})
	}
}

func TestPOP3RefusedAtAuth(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.w.Arm(world.Fault{Where: "pop3", Stage: "auth", Mailbox: scan, Kind: world.FaultReply, Code: popLogonRefused})
	c := e.dial(t, "pop3")
	c.hear()
	c.say("AUTH XOAUTH2")
	c.hear()
	c.say(xoauth2(scan, e.token()))
	expect(t, c.hear(), popLogonRefused)
}
