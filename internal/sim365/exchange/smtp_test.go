package exchange

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

const (
	scan  = "scan@contoso.com"
	boss  = "boss@contoso.com"
	taken = "250 2.0.0 OK <~> [Hostname=~]"
)

func limits(f func(*world.Limits)) change {
	return mailboxPolicy(func(p *world.MailboxPolicy) { f(&p.Limits) })
}

func (e *estate) sender(t *testing.T) *client {
	t.Helper()
	c := e.dial(t, "smtp")
	expect(t, c.signIn(scan, e.token()), smtpWelcome)
	return c
}

func TestSubmissionIsKeptAndDelivered(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	c := e.sender(t)
	raw := letter("Scan <SCAN@contoso.com>", ".leading dot", strings.Repeat("long ", 20_000), "end")
	wire := strings.ReplaceAll(raw, "\r\n.", "\r\n..")
	expect(t, c.submit(scan, []string{boss, "x@fabrikam.com", "BOSS@contoso.com"}, wire), taken)
	for who, folder := range map[string]string{scan: SentItems, boss: Inbox, "x@fabrikam.com": ""} {
		got := e.w.Messages(who, folder)
		if len(got) != 1 || string(got[0].Raw) != raw+"\r\n" || got[0].From != scan || got[0].Via != "smtp" || got[0].Session == "" {
			t.Errorf("%s %q: %d messages", who, folder, len(got))
		}
	}
	if in := e.Folder(boss, Inbox); len(in) != 1 || len(in[0].Flags) != 0 {
		t.Errorf("boss's INBOX: %v", in)
	}
	if out := e.Folder(scan, SentItems); len(out) != 1 || fmt.Sprint(out[0].Flags) != `[\Seen]` {
		t.Errorf("Sent Items: %v", out)
	}
}

// Only a command that came after our 250 proves that it was read.
func TestConfirm(t *testing.T) {
	t.Parallel()
	confirmed := func(e *estate) string {
		var out []bool
		for _, m := range e.w.Messages(scan, SentItems) {
			out = append(out, m.Confirmed)
		}
		return fmt.Sprint(out)
	}
	t.Run("next command", func(t *testing.T) {
		t.Parallel()
		e := newEstate(t)
		c := e.sender(t)
		expect(t, c.submit(scan, []string{boss}, letter(scan)), taken)
		if got := confirmed(e); got != "[false]" {
			t.Errorf("before the client spoke: %s", got)
		}
		c.ask("NOOP")
		if got := confirmed(e); got != "[true]" {
			t.Errorf("after it spoke: %s", got)
		}
		expect(t, c.submit(scan, []string{boss}, letter(scan)), taken)
		if got := confirmed(e); got != "[true false]" {
			t.Errorf("after the second: %s", got)
		}
		c.conn.Close()
		e.Close()
		if got := confirmed(e); got != "[true false]" {
			t.Errorf("a closed connection is no command: %s", got)
		}
	})
	t.Run("QUIT sent with the dot", func(t *testing.T) {
		t.Parallel()
		e := newEstate(t)
		c := e.sender(t)
		expect(t, c.submit(scan, []string{boss}, letter(scan)), taken)
		c.ask("MAIL FROM:<" + scan + ">") // confirms the first
		c.ask("RCPT TO:<" + boss + ">")
		c.ask("DATA")
		c.send(letter(scan) + "\r\n.\r\nNOOP\r\nQUIT\r\n")
		expect(t, c.reply(), taken)
		c.reply()
		c.reply()
		c.ended()
		if got := confirmed(e); got != "[true false]" {
			t.Errorf("got %s", got)
		}
	})
}

func TestRefusalsAtTheDot(t *testing.T) {
	t.Parallel()
	nothing := func(*estate) {}
	for name, c := range map[string]struct {
		prepare   change
		from, raw string
		want      string
	}{
		"MAIL FROM of another": {nothing, boss, letter(scan), "554 5.2.252 SendAsDenied; scan@contoso.com not allowed to send as boss@contoso.com; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; ~ [Hostname=~]"},
		"From of another":      {nothing, scan, letter(`"The Boss" <boss@contoso.com>`), "554 5.2.252 SendAsDenied; scan@contoso.com not allowed to send as boss@contoso.com; ~"},
		"one From of two":      {nothing, scan, letter(scan + ", " + boss), "554 5.2.252 SendAsDenied; ~"},
		"From cannot be read":  {nothing, scan, letter("@@"), "554 5.2.252 SendAsDenied; scan@contoso.com not allowed to send as @@; ~"},
		"null sender":          {nothing, "", letter(scan), taken},
		"no From":              {nothing, scan, "Subject: x\r\n\r\n", taken},
		"too big":              {limits(func(l *world.Limits) { l.MessageSize = 100 }), scan, letter(scan, strings.Repeat("x", 100)), smtpTooBig},
		"bare line feed":       {nothing, scan, letter(scan, "a\nb"), smtpBareLF},
		"bare line feed dot":   {nothing, scan, letter(scan, "a\n.\r\nb"), smtpBareLF},
		"mailbox full":         {mailboxPolicy(func(p *world.MailboxPolicy) { p.Full = true }), scan, letter(scan), smtpMailboxFull + " [Hostname=~]"},
		"no recipients left":   {limits(func(l *world.Limits) { l.RecipientsPerDay = 1 }), scan, letter(scan), smtpQuota + " [Hostname=~]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			c.prepare(e)
			client := e.sender(t)
			expect(t, client.submit(c.from, []string{boss, "x@fabrikam.com"}, c.raw), c.want)
			if n := len(e.w.AllMessages()); (n > 0) != (c.want == taken) {
				t.Errorf("%d messages kept", n)
			}
			expect(t, client.ask("NOOP"), smtpOK)
		})
	}
}

func TestRecipientsPerMessage(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	limits(func(l *world.Limits) { l.RecipientsPerMessage = 2 })(e)
	c := e.sender(t)
	c.ask("MAIL FROM:<" + scan + ">")
	for i, want := range []string{smtpRecipientOK, smtpRecipientOK, smtpTooMany} {
		expect(t, c.ask(fmt.Sprintf("RCPT TO:<r%d@fabrikam.com>", i)), want)
	}
}

func TestDailyRecipientsRollOver(t *testing.T) {
	t.Parallel()
	m, now := newMeter(), time.Now()
	for i, step := range []struct {
		after time.Duration
		n     int
		want  bool
	}{{0, 6, true}, {time.Hour, 4, true}, {time.Hour, 1, false}, {24 * time.Hour, 6, true}, {24 * time.Hour, 1, false}, {25 * time.Hour, 4, true}} {
		if got := m.reach(scan, step.n, 10, now.Add(step.after)); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}

func TestFourthConnectionIsOneTooMany(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	var all []*client
	for range 4 {
		all = append(all, e.sender(t))
	}
	expect(t, all[3].submit(scan, []string{boss}, letter(scan)), smtpConcurrent+" [Hostname=~]")
	expect(t, all[2].submit(scan, []string{boss}, letter(scan)), taken)
	all[0].ask("QUIT")
	all[0].ended() // the place is free before the connection closes
	expect(t, all[3].submit(scan, []string{boss}, letter(scan)), taken)
}

func TestRate(t *testing.T) {
	t.Parallel()
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		e := newEstate(t, func(c *Config) { c.RejectOverRate = true })
		c := e.sender(t)
		for range world.MicrosoftLimits().PerMinute {
			expect(t, c.submit(scan, []string{boss}, letter(scan)), taken)
		}
		expect(t, c.submit(scan, []string{boss}, letter(scan)), smtpOverRate+" [Hostname=~]")
	})
	t.Run("delayed", func(t *testing.T) {
		t.Parallel()
		const window = 300 * time.Millisecond
		e := newEstate(t, func(c *Config) { c.minute = window })
		limits(func(l *world.Limits) { l.PerMinute = 1 })(e)
		c := e.sender(t)
		for range 3 {
			expect(t, c.submit(scan, []string{boss}, letter(scan)), taken)
		}
		sent := e.w.Messages(scan, SentItems)
		if gap := sent[2].Received.Sub(sent[0].Received); gap < 2*window-20*time.Millisecond {
			t.Errorf("three messages within %v", gap)
		}
	})
	t.Run("delay ends with the servers", func(t *testing.T) {
		t.Parallel()
		e := newEstate(t)
		limits(func(l *world.Limits) { l.PerMinute = 1 })(e)
		c := e.sender(t)
		expect(t, c.submit(scan, []string{boss}, letter(scan)), taken)
		c.ask("MAIL FROM:<" + scan + ">")
		c.ask("RCPT TO:<" + boss + ">")
		c.ask("DATA")
		c.send(letter(scan) + "\r\n.\r\n")
		e.Close()
		if n := len(e.w.Messages(scan, SentItems)); n != 1 {
			t.Errorf("%d kept", n)
		}
	})
}

// Plaintext that came behind STARTTLS is not believed.
func TestStartTLSDropsPipelinedPlaintext(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	c := e.dial(t, "smtp")
	c.reply()
	c.ask("EHLO me")
	c.send("STARTTLS\r\nEHLO evil\r\nNOOP\r\n")
	expect(t, c.hear(), smtpReadyForTLS)
	c.startTLS()
	expect(t, c.ask("MAIL FROM:<"+scan+">"), smtpHelloFirst)
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	c := e.sender(t)
	c.send("MAIL FROM:<" + scan + ">\r\nRCPT TO:<" + boss + ">\r\nRCPT TO:<bad>\r\nDATA\r\n")
	for _, want := range []string{smtpSenderOK, smtpRecipientOK, smtpAddress, smtpStartInput} {
		expect(t, c.reply(), want)
	}
	c.send(letter(scan) + "\r\n.\r\n")
	expect(t, c.reply(), taken)
}

func TestLinesTooLong(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	c := e.dial(t, "smtp")
	c.reply()
	expect(t, c.ask("NOOP "+strings.Repeat("x", maxLine)), smtpLineTooLong)
	expect(t, c.ask("NOOP "+strings.Repeat("x", 100<<10)), smtpLineTooLong)
	expect(t, c.ask("NOOP"), smtpOK)
}

func TestSMTPFaults(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"greeting", "ehlo", "auth", "mail", "rcpt", "data", "dot"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			limits(func(l *world.Limits) { l.Connections = 0 })(e) // those of the cases before may linger
			for i, f := range []world.Fault{
				{Kind: world.FaultReply, Code: "451 4.7.0 Temporary server error. Please try again later. PRX2"},
				{Kind: world.FaultReply, Code: "421 4.3.2 Service not available"},
				{Kind: world.FaultSlow, Delay: time.Millisecond}, {Kind: world.FaultDrop}, {Kind: world.FaultDropAfter},
				{Kind: world.FaultHalfClose}, {Kind: world.FaultGarbage},
			} {
				f.Where, f.Stage = "smtp", stage
				e.strike(t, f)
				if n := e.w.Count("fault"); n != i+1 {
					t.Errorf("%s: struck %d times", f.Kind, n-i)
				}
			}
		})
	}
}

// strike arms a fault, walks into it and checks what it did.
func (e *estate) strike(t *testing.T, f world.Fault) {
	t.Helper()
	before := len(e.w.Messages(boss, Inbox))
	e.w.Arm(f)
	c := e.dial(t, "smtp")
	got := c.until(f.Stage)
	switch f.Kind {
	case world.FaultReply:
		expect(t, got, f.Code)
		if strings.HasPrefix(f.Code, "421") {
			c.ended()
		} else {
			expect(t, c.ask("NOOP"), smtpOK)
		}
	case world.FaultSlow:
		expect(t, got, "2~")
	case world.FaultGarbage:
		expect(t, got, garbage)
	default:
		expect(t, got, "")
	}
	does := f.Kind == world.FaultDropAfter || f.Kind == world.FaultSlow
	if n := len(e.w.Messages(boss, Inbox)) - before; (n == 1) != (does && f.Stage == "dot") {
		t.Errorf("%s: %d messages kept", f.Kind, n)
	}
	for _, m := range e.w.AllMessages() {
		if m.Confirmed {
			t.Errorf("%s: confirmed without a word from the client", f.Kind)
		}
	}
}

// until walks through a submission up to a stage and returns the last line of its
// answer; "" when the server hangs up.
func (c *client) until(stage string) string {
	c.t.Helper()
	if stage == "greeting" {
		return c.answerOrEnd()
	}
	c.reply()
	steps := []struct{ stage, line string }{
		{"ehlo", "EHLO me"}, {"starttls", "STARTTLS"}, {"", "EHLO me"}, {"auth", "AUTH XOAUTH2 " + xoauth2(scan, c.e.token())},
		{"mail", "MAIL FROM:<" + scan + ">"}, {"rcpt", "RCPT TO:<" + boss + ">"}, {"data", "DATA"}, {"dot", letter(scan) + "\r\n."},
	}
	for _, s := range steps {
		c.say(s.line)
		got := c.answerOrEnd()
		if s.stage == stage {
			return strings.Replace(got, "354", "2", 1)
		}
		if s.stage == "starttls" {
			c.startTLS()
		}
	}
	return ""
}

func (c *client) answerOrEnd() string {
	c.t.Helper()
	for {
		c.deadline()
		line, err := c.br.ReadString('\n')
		if err != nil {
			if line != "" {
				c.t.Errorf("half a line: %q", line)
			}
			return ""
		}
		if line = strings.TrimRight(line, "\r\n"); len(line) < 4 || line[3] != '-' {
			return line
		}
	}
}

func TestFaultForOneMailbox(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.w.Arm(world.Fault{Where: "smtp", Stage: "auth", Mailbox: boss, Kind: world.FaultDrop})
	e.sender(t) // is let in
	if n := e.w.Count("fault"); n != 0 {
		t.Errorf("struck %d times", n)
	}
	if n := e.w.Count("smtp_auth"); n != 1 {
		t.Errorf("smtp_auth counted %d", n)
	}
}
