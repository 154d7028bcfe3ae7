package check

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/graph"
	"postern/internal/mail"
	"postern/internal/secret"
)

// untested stands where a test message was not asked for, and says what is not proved
// without one.
func (c *checking) untested() Stage {
	return Stage{
		Status:  Skipped,
		Summary: fmt.Sprintf("Not tried: whether %s may send (Send As, its limits) is only known after a real message.", c.Mailbox),
		Next:    fmt.Sprintf("To send one: postern check %s --send-test you@example.com", c.Account),
	}
}

// testBySMTP sends a message on the session that is signed in.
func (c *checking) testBySMTP(ctx context.Context) Stage {
	session, ok := c.session.(smtpSession)
	if c.TestTo.Null() || !ok {
		return c.untested()
	}
	began, body := c.Now(), c.testMessage()
	res, err := session.conn.Send(ctx, mail.Envelope{From: c.Mailbox, To: []mail.Address{c.TestTo}}, int64(len(body)), strings.NewReader(body))
	for _, r := range res.Recipients {
		if r.Err != nil {
			return c.unsent(r.Err)
		}
	}
	if err != nil {
		return c.unsent(err)
	}
	return c.sent(began, res.Reply)
}

// testByGraph sends one by the token that was looked at.
func (c *checking) testByGraph(ctx context.Context) Stage {
	if c.TestTo.Null() {
		return c.untested()
	}
	began, body := c.Now(), c.testMessage()
	l, err := graph.Read(mail.Envelope{From: c.Mailbox, To: []mail.Address{c.TestTo}}, int64(len(body)), strings.NewReader(body))
	if err != nil {
		return c.unsent(err)
	}
	client, err := graph.New(graph.Config{Base: c.Cloud.Graph, Network: c.Web, CA: c.Cloud.CA})
	if err != nil {
		return c.unsent(err)
	}
	reply, err := client.Mailbox(c.Mailbox, func(context.Context, bool) (secret.Text, error) { return c.login.Token, nil }).Send(ctx, l)
	if err != nil {
		return c.unsent(err)
	}
	c.report.Headline = Successful
	return c.sent(began, &reply)
}

func (c *checking) sent(began time.Time, reply *fault.Reply) Stage {
	c.sentAt = c.Now()
	st := Stage{
		Status: OK, Summary: fmt.Sprintf("The server took the test message for %s after %d ms.", c.TestTo, c.sentAt.Sub(began).Milliseconds()),
		Next: c.sentOn(),
	}
	if reply != nil {
		st.Reply = reply.String()
	}
	return st
}

// unsent explains what became of the test message; nobody knows when the answer is missing.
func (c *checking) unsent(err error) Stage {
	st := c.failure(err, fmt.Sprintf("The test message for %s was not taken.", c.TestTo))
	if e := fault.As(err); e != nil && e.Ambiguous {
		st.Details = append(st.Details, Detail{"in doubt", "it may have been sent all the same"})
	}
	return st
}

// testMessage is as small as a message can be (RFC 5322 §3.6).
func (c *checking) testMessage() string {
	c.messageID = "<" + rand.Text() + "@" + c.Mailbox.Domain + ">"
	return strings.Join([]string{
		"Date: " + c.Now().Format(time.RFC1123Z), "From: <" + c.Mailbox.String() + ">", "To: <" + c.TestTo.String() + ">",
		"Message-ID: " + c.messageID, "Subject: Test message from Postern",
		"Auto-Submitted: auto-generated", "MIME-Version: 1.0", "Content-Type: text/plain; charset=us-ascii", "",
		"This is the body of the test message. Postern's connection check sent it for",
		"the account \"" + strings.Map(visible, c.Account) + "\"; it needs no answer.", "",
	}, "\r\n")
}

// visible keeps a name within US-ASCII and on its line.
func visible(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}
