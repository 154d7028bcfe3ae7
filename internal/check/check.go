// Package check tries a connection stage by stage, from the settings to the
// opened mailbox, and says in plain words what works, what does not and what to
// do about it. It works on values that need not be saved and stops at the first
// stage that fails.
//
// It sends no message and changes no mail: a folder is opened read-only, and a
// transaction that was begun is reset. It decides nothing about an account's
// state; whoever asked for the check does.
package check

import (
	"context"
	"crypto/x509"
	"net"
	"time"

	"postern/internal/catalogue"
	"postern/internal/entra"
	"postern/internal/mail"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// Purpose is what the connection is for.
type Purpose string

// The purposes. High Volume Email is Send with the cloud's HVE server.
const (
	Send Purpose = "send"
	IMAP Purpose = "imap"
	POP3 Purpose = "pop3"
)

// Method is how the account signs in.
type Method string

// The methods.
const (
	Delegated   Method = "delegated"
	Application Method = "application"
)

// Target is what to check. Fields that are empty are not compared with anything.
type Target struct {
	Account string
	Purpose Purpose
	Mailbox mail.Address
	Server  mail.Server
	RootCAs *x509.CertPool // nil: the system's
	Method  Method
	Shared  bool // the person who signed in need not be the mailbox

	Cloud        entra.Cloud
	Tenant       string
	ClientID     string
	ClientSecret secret.Text // only looked at, to find a Secret ID pasted as a Value
}

// Deps are what a check needs from outside; all but Token and Catalogue may be nil.
type Deps struct {
	// Token gets an access token for the target's purpose. With fresh it must ask
	// Entra and not a cache: that the refresh works is part of what is checked.
	Token      func(ctx context.Context, fresh bool) (secret.Text, error)
	Catalogue  *catalogue.Catalogue
	Dial       func(ctx context.Context, network, address string) (net.Conn, error)
	LookupHost func(ctx context.Context, host string) ([]string, error)
	Now        func() time.Time
	HelloName  string // for EHLO
}

func (d Deps) withDefaults() Deps {
	if d.Dial == nil {
		d.Dial = new(net.Dialer).DialContext
	}
	if d.LookupHost == nil {
		d.LookupHost = net.DefaultResolver.LookupHost
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	return d
}

// Run checks the target. onStage, when given, hears of every stage as it ends,
// the skipped ones included. Neither it nor the report ever gets to see a secret.
func Run(ctx context.Context, t Target, d Deps, onStage func(Stage)) Report {
	c := &checking{Target: t, Deps: d.withDefaults(), onStage: onStage}
	defer c.close()
	c.report = Report{
		Account: t.Account, Purpose: t.Purpose, Mailbox: t.Mailbox.String(), Server: t.Server, Started: c.Now().UTC(), OK: true,
	}
	c.hide(t.ClientSecret)
	for _, s := range c.plan() {
		c.perform(ctx, s)
	}
	return c.finish()
}

// checking is one run under way.
type checking struct {
	Target
	Deps
	onStage func(Stage)
	report  Report
	secrets []secret.Text

	dialled   net.Conn // connected, not yet used
	session   session
	handshake error // STARTTLS failed at its TLS part
	token     secret.Text
	suspicion string // what the token content gave reason to doubt

	transcript []string
}

// step is one stage to come.
type step struct {
	name string
	do   func(context.Context) Stage
}

// Names of the stages.
const (
	StageSettings = "settings"
	StageDNS      = "dns"
	StageTCP      = "tcp"
	StageTLS      = "tls"
	StageGreeting = "greeting"
	StageToken    = "token"
	StageContent  = "token content"
	StageSignIn   = "sign-in"
	StageMailbox  = "mailbox" // IMAP and POP3: open it
	StageSender   = "sender"  // SMTP: name it as the sender
)

// plan is the order of the stages. With STARTTLS the greeting comes before TLS.
func (c *checking) plan() []step {
	first, second := step{StageTLS, c.encrypt}, step{StageGreeting, c.greet}
	if c.Server.TLS == mail.STARTTLS {
		first, second = second, step{StageTLS, c.encrypted}
	}
	last := StageMailbox
	if c.Purpose == Send {
		last = StageSender
	}
	return []step{
		{StageSettings, c.settings}, {StageDNS, c.resolve}, {StageTCP, c.connect}, first, second,
		{StageToken, c.obtain}, {StageContent, c.content}, {StageSignIn, c.signIn}, {last, c.probe},
	}
}

func (c *checking) perform(ctx context.Context, s step) {
	st := Stage{Status: Skipped, Summary: "Not tried, because an earlier stage failed."}
	if c.report.OK {
		began := c.Now()
		st = s.do(ctx)
		st.Took = c.Now().Sub(began)
	}
	st.Name = s.name
	st = st.clean(c.secrets)
	if st.Status == Fail {
		c.report.OK = false
		c.report.Headline = st.Name + " failed: " + st.Summary
	}
	c.report.Stages = append(c.report.Stages, st)
	if c.onStage != nil {
		c.onStage(st)
	}
}

// Successful is the headline of a check without a failed stage.
const Successful = "Connection successful"

func (c *checking) finish() Report {
	if c.report.OK {
		c.report.Headline = Successful
	}
	for _, line := range c.transcript {
		c.report.Transcript = append(c.report.Transcript, clean(line, c.secrets))
	}
	return c.report
}

// hide keeps a secret out of everything the check says from now on, also where a
// server repeats the XOAUTH2 response it stood in.
func (c *checking) hide(s secret.Text) {
	if s.Empty() {
		return
	}
	c.secrets = append(c.secrets, s)
	if _, response, err := sasl.NewXOAUTH2Client(c.Mailbox.String(), s).Start(); err == nil {
		c.secrets = append(c.secrets, secret.New(string(response)))
	}
}

func (c *checking) close() {
	if c.dialled != nil {
		_ = c.dialled.Close()
	}
	if c.session != nil {
		c.session.close()
	}
}
