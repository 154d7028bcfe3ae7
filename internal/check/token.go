package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fault"
)

// obtain asks Entra for a token, past every cache.
func (c *checking) obtain(ctx context.Context) Stage {
	token, err := c.Token(ctx, true)
	c.hide(token)
	switch {
	case err != nil:
		return c.tokenless(err)
	case token.Empty():
		return Stage{Status: Fail, Summary: "No access token could be obtained.", Next: "Sign the mailbox in."}
	}
	c.token = token
	st := Stage{Status: OK, Summary: "A new access token was obtained."}
	if cl, ok := decode(token.Reveal()); ok && cl.Expires != 0 {
		st.Summary = fmt.Sprintf("A new access token was obtained; it lasts %s.", minutes(cl.expires().Sub(c.Now())))
	}
	return st
}

func minutes(d time.Duration) string {
	return count(int(d/time.Minute), "minute", "minutes")
}

func (c *checking) tokenless(err error) Stage {
	st := c.failure(err, "No access token could be obtained.")
	_, network := errors.AsType[net.Error](err)
	if host := c.signInHost(); network && st.Reply == "" {
		st.Summary = fmt.Sprintf("The sign-in host %s could not be reached.", host)
		st.Next = fmt.Sprintf("Let this machine reach %s on port 443, or set the proxy it must use.", host)
	}
	return st
}

func (c *checking) signInHost() string {
	if u, err := url.Parse(c.Cloud.Authority); err == nil && u.Host != "" {
		return u.Host
	}
	return "login.microsoftonline.com"
}

func (c *checking) signIn(ctx context.Context) Stage {
	if err := c.session.signIn(ctx, c.Mailbox.String(), c.token); err != nil {
		st := c.failure(err, fmt.Sprintf("%s did not let %s sign in.", c.Server.Host, c.Mailbox))
		if c.suspicion != "" { // the server gives no reason; the token may have
			st.Next = "First see to the token content: " + c.suspicion + " " + st.Next
		}
		return st
	}
	return Stage{Status: OK, Summary: fmt.Sprintf("%s let %s sign in.", c.Server.Host, c.Mailbox)}
}

func (c *checking) probe(ctx context.Context) Stage {
	saw, err := c.session.probe(ctx, c.Mailbox)
	if err != nil {
		return c.failure(err, fmt.Sprintf("The mailbox of %s does not open.", c.Mailbox))
	}
	return Stage{Status: OK, Summary: saw}
}

// failure explains an error: by the catalogue when a server answered, by the
// error's own hint otherwise. plain is what to say when nobody knows better.
func (c *checking) failure(err error, plain string) Stage {
	st := Stage{Status: Fail, Summary: plain, Next: fault.HintOf(err)}
	switch {
	case errors.Is(err, context.Canceled):
		st.Summary, st.Next = "The check was stopped.", "Run it again."
		return st
	case timedOut(err):
		st.Summary += " It did not answer in time."
	}
	reply := fault.ReplyOf(err)
	if reply == nil {
		st.Details = []Detail{{"error", err.Error()}}
		return st
	}
	st.Reply = reply.String()
	e, ok := c.Catalogue.Lookup(catalogue.Query{Protocol: reply.Protocol, Code: reply.Code, Enhanced: reply.Enhanced, Text: reply.Text})
	if !ok {
		return st
	}
	e = e.Fill(map[string]string{"mailbox": c.Mailbox.String(), "domain": c.Mailbox.Domain, "tenant": c.Tenant, "client_id": c.ClientID})
	st.Summary, st.Next, st.Command, st.Link = e.Meaning, e.Fix, e.Command, e.Link
	return st
}

func timedOut(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && network.Timeout()
}
