package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fault"
)

// obtain asks Entra for a token, past every cache.
func (c *checking) obtain(ctx context.Context) Stage {
	cred, err := c.sight(ctx)
	switch {
	case err != nil:
		return c.tokenless(err)
	case cred.Token.Empty():
		return Stage{Status: Fail, Summary: "No access token could be obtained.", Next: "Sign the mailbox in."}
	}
	if cl, ok := decode(cred.Token.Reveal()); ok && cl.Expires != 0 {
		c.login.Expires = cl.expires()
	}
	st := Stage{Status: OK, Summary: "A new access token was obtained" + c.Proof.by()}
	if !c.login.Expires.IsZero() {
		st.Summary += fmt.Sprintf("; it lasts %s", minutes(c.login.Expires.Sub(c.Now())))
	}
	st.Summary += "."
	if left := c.Proof.Ends.Sub(c.Now()); !c.Proof.Ends.IsZero() && left < endsSoon {
		st.Status, st.Next = Warn, fmt.Sprintf("Replace %s before %s, or no token is given any more.", c.Proof.What, c.Proof.Ends.UTC().Format(time.DateOnly))
	}
	return st
}

// endsSoon is when the end of a credential is worth a word.
const endsSoon = 30 * 24 * time.Hour

// by says with what a token was obtained: " with the certificate 4F2A…, which ends on 2027-05-01".
func (p Proof) by() string {
	switch {
	case p.What == "":
		return ""
	case p.Ends.IsZero():
		return " with " + p.What
	}
	return fmt.Sprintf(" with %s, which ends on %s", p.What, p.Ends.UTC().Format(time.DateOnly))
}

// sight gets the credential and keeps it out of everything that is said.
func (c *checking) sight(ctx context.Context) (Credential, error) {
	cred, err := c.Credential(ctx)
	c.hide(cred.Token)
	c.hide(cred.Password)
	if cred.User == "" {
		cred.User = c.Mailbox.String()
	}
	c.login = cred
	return cred, err
}

// recall gets the app password, which no provider has to be asked for.
func (c *checking) recall(ctx context.Context) Stage {
	cred, err := c.sight(ctx)
	switch {
	case err != nil:
		return c.failure(err, "There is no app password to sign in with.")
	case cred.Password.Empty():
		return Stage{Status: Fail, Summary: "There is no app password to sign in with.", Next: "Enter one."}
	}
	st := Stage{Status: OK, Summary: "There is an app password, which the mail server takes itself."}
	if !c.PasswordSet.IsZero() {
		st.Details = []Detail{{"entered", c.PasswordSet.UTC().Format(time.DateOnly)}}
	}
	return c.whileItLasts(st)
}

// whileItLasts adds what Microsoft has said of passwords to this server.
func (c *checking) whileItLasts(st Stage) Stage {
	all, err := catalogue.Retirements()
	if err != nil {
		return c.failure(err, "What Microsoft has announced about passwords cannot be read.")
	}
	protocol := string(c.Purpose)
	if c.Purpose.submits() {
		protocol = catalogue.SMTP
	}
	if r, ok := catalogue.NextRetirement(all, protocol, c.Server.Host, c.Now()); ok {
		st.Status = Warn
		st.Summary += " " + r.Says
		st.Next = "Give the account another sign-in method before then: delegated or application."
		if !c.Now().Before(r.Ends) {
			st.Next = "Give the account another sign-in method: delegated or application."
			c.doubt(StagePassword, st)
		}
		st.Details = append(st.Details, Detail{"announced", fmt.Sprintf("%s (%s, %s)", r.Source, r.Certainty, r.Dated)})
	}
	return st
}

// noContent stands where tokens are looked at.
func (*checking) noContent(context.Context) Stage {
	return Stage{Status: Skipped, Summary: "Not looked at: an app password signs in without a token."}
}

func minutes(d time.Duration) string {
	return count(int(d/time.Minute), "minute", "minutes")
}

func (c *checking) tokenless(err error) Stage {
	st := c.failure(err, "No access token could be obtained.")
	if c.Proof.What != "" {
		st.Details = append(st.Details, Detail{"app proved by", c.Proof.What}) // also when that is what is wrong
	}
	if _, network := errors.AsType[net.Error](err); network && st.Reply == "" {
		if e, ok := c.Catalogue.Lookup(catalogue.Query{Protocol: catalogue.OAuth, Code: "no_answer"}); ok {
			e = e.Fill(c.values())
			st.Summary, st.Who, st.Next = e.Meaning, e.Who, withHint(e.Fix, st.Next)
		}
	}
	st.Next = c.afterDoubts(st.Next)
	return st
}

func (c *checking) signIn(ctx context.Context) Stage {
	if err := c.session.signIn(ctx, c.login.mechanism(c.offers)); err != nil {
		st := c.failure(err, fmt.Sprintf("%s did not let %s sign in.", c.Server.Host, c.Mailbox))
		st.Next = c.afterDoubts(st.Next)
		return st
	}
	return Stage{Status: OK, Summary: fmt.Sprintf("%s let %s sign in.", c.Server.Host, c.Mailbox)}
}

func (c *checking) probe(ctx context.Context) Stage {
	saw, err := c.session.probe(ctx, c.Target)
	switch {
	case err == nil:
		return saw
	case c.Purpose.submits():
		return c.failure(err, fmt.Sprintf("%s does not take %s as the sender.", c.Server.Host, c.Mailbox))
	}
	return c.failure(err, fmt.Sprintf("The mailbox of %s does not open.", c.Mailbox))
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
	asked := catalogue.Query{Protocol: reply.Protocol, Code: reply.Code, Enhanced: reply.Enhanced, Text: reply.Text}
	if c.Purpose == HVE && asked.Protocol == catalogue.SMTP {
		asked.Protocol = catalogue.HVE
	}
	e, ok := c.Catalogue.Lookup(asked)
	if !ok {
		return st
	}
	e = e.Fill(c.values())
	st.Summary, st.Next, st.Command, st.Link, st.Who = e.Meaning, withHint(e.Fix, st.Next), e.Command, e.Link, e.Who
	return st
}

// withHint adds to a fix what the error itself says: the page or command where it is done.
func withHint(fix, hint string) string {
	switch {
	case hint == "":
		return fix
	case strings.HasPrefix(hint, fix): // it was said with the fix already
		return hint
	}
	return fix + " (" + hint + ")"
}

// values are what the catalogue's sentences and commands are filled with.
func (c *checking) values() map[string]string {
	return map[string]string{
		"mailbox": c.Mailbox.String(), "domain": c.Mailbox.Domain, "tenant": c.Tenant, "client_id": c.ClientID,
		"sign_in_host": webServer(c.Cloud.Authority).Host,
	}
}

func timedOut(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && network.Timeout()
}
