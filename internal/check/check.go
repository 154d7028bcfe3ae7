// Package check tries a connection stage by stage, from the settings to the
// opened mailbox, and says in plain words what works, what does not and what to
// do about it. It works on values that need not be saved and stops at the first
// stage that fails.
//
// It changes no mail: a folder is opened read-only, and a transaction that was begun is
// reset. It sends none either, unless it is asked to ([Target.TestTo]): some things only
// a message proves. It decides nothing about an account's state; whoever asked for the
// check does.
//
// [Run] checks one purpose of one account; [Network] needs no account and tries
// every host of a cloud that a firewall or proxy must let through.
package check

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/catalogue"
	"postern/internal/entra"
	"postern/internal/mail"
	"postern/internal/outbound"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// Purpose is what the connection is for.
type Purpose string

// The purposes.
const (
	Send  Purpose = "send"
	IMAP  Purpose = "imap"
	POP3  Purpose = "pop3"
	Graph Purpose = "graph"
	HVE   Purpose = "hve" // sending through High Volume Email
)

// submits reports whether mail goes out by SMTP.
func (p Purpose) submits() bool { return p == Send || p == HVE }

// Method is how the account signs in.
type Method string

// The methods.
const (
	Delegated   Method = "delegated"
	Application Method = "application"
	Password    Method = "password"     // exchanged for tokens
	AppPassword Method = "app_password" // taken by the mail server itself
)

// Target is what to check. Fields that are empty are not compared with anything.
type Target struct {
	Account string
	Purpose Purpose
	Mailbox mail.Address
	Server  mail.Server    // of Graph it follows from Cloud
	RootCAs *x509.CertPool // of the mail server; nil: the system's
	Method  Method
	Shared  bool // the person who signed in need not be the mailbox

	// Folders are those a task reads, INBOX when there are none; MoveTo those it moves
	// messages to. All must be there.
	Folders, MoveTo []string
	// TestTo has a test message really sent, when sending is what is checked.
	TestTo mail.Address

	Proof       Proof     // with what the app proves who it is
	PasswordSet time.Time // when the app password was entered

	Cloud        entra.Cloud
	Tenant       string
	ClientID     string
	ClientSecret secret.Text // only looked at, to find a Secret ID pasted as a Value
}

// Proof is what an app proves itself with when it asks for a token.
type Proof struct {
	What string    // "the client secret", "the certificate 4F2A…"; "" for a public client
	Ends time.Time // zero: nobody knows
}

// Credential is what signs in at a server: a token or a password.
type Credential struct {
	User     string // "" for the mailbox
	Token    secret.Text
	Password secret.Text
	Expires  time.Time // of Token
	Scopes   []string
}

// Deps are what a check needs from outside; all but Credential and Catalogue may be
// left out, and [Network] needs no Credential.
type Deps struct {
	// Credential gets what signs in for the target's purpose. It must ask Entra and not
	// a cache: that the refresh works is part of what is checked.
	Credential func(ctx context.Context) (Credential, error)
	// Arrived looks for the test message in the mailbox it was sent to, by its Message-ID
	// with the angle brackets; nil: Postern may not read there.
	Arrived    func(ctx context.Context, messageID string) (bool, error)
	Catalogue  *catalogue.Catalogue
	Web        outbound.Network // the way of requests to the sign-in host and Graph
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
	if t.Purpose == Graph {
		t.Server = webServer(t.Cloud.Graph)
	}
	c := &checking{Target: t, Deps: d.withDefaults(), onStage: onStage}
	defer c.close()
	c.report = Report{
		Account: t.Account, Purpose: t.Purpose, Mailbox: t.Mailbox.String(), Server: t.Server, Started: c.Now().UTC(), OK: true, Headline: Successful,
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

	issuers   []string // who may have issued the server's certificate; nil: anybody trusted
	web       web      // the HTTPS request, where one is made
	dialled   net.Conn // connected, not yet used
	session   session
	offers    []string // what the session's server said it can do
	handshake error    // STARTTLS failed at its TLS part
	login     Credential
	doubts    []string // what earlier stages gave reason to see to first

	messageID string    // of the test message
	sentAt    time.Time // when it was taken

	talk       sync.Mutex // guards transcript
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
	StageProxy    = "proxy"
	StageTLS      = "tls"
	StageHTTPS    = "https"
	StageGreeting = "greeting"
	StageClock    = "clock"
	StageToken    = "token"
	StageContent  = "token content"
	StagePassword = "password"
	StageSignIn   = "sign-in"
	StageMailbox  = "mailbox" // IMAP, POP3 and Graph: open it
	StageSender   = "sender"  // SMTP: name it as the sender
	StageTest     = "test mail"
	StageArrival  = "arrival" // of the test mail, where Postern may look
)

// plan is the order of the stages.
func (c *checking) plan() []step {
	settings, token := step{StageSettings, c.settings}, []step{{StageClock, c.compareClocks}, {StageToken, c.obtain}, {StageContent, c.content}}
	switch {
	case c.Purpose == Graph:
		return slices.Concat([]step{settings}, c.reachWeb(c.Cloud.Graph+graphMetadata), token, []step{{StageMailbox, c.lookUp}}, c.test(c.testByGraph))
	case c.Method == AppPassword:
		token = []step{{StagePassword, c.recall}, {StageContent, c.noContent}}
	}
	last := []step{{StageMailbox, c.probe}}
	if c.Purpose.submits() {
		last = append([]step{{StageSender, c.probe}}, c.test(c.testBySMTP)...)
	}
	return slices.Concat([]step{settings}, c.reachMail(), token, []step{{StageSignIn, c.signIn}}, last)
}

// test sends the test message, and sees it arrive where it can be seen.
func (c *checking) test(send func(context.Context) Stage) []step {
	steps := []step{{StageTest, send}}
	if !c.TestTo.Null() && c.Arrived != nil {
		steps = append(steps, step{StageArrival, c.arrival})
	}
	return steps
}

// reachMail leads up to a mail server's greeting. With STARTTLS that comes before TLS.
func (c *checking) reachMail() []step {
	first, second := step{StageTLS, c.encrypt}, step{StageGreeting, c.greet}
	if c.Server.TLS == mail.STARTTLS {
		first, second = second, step{StageTLS, c.encrypted}
	}
	return []step{{StageDNS, c.resolve}, {StageTCP, c.connect}, first, second}
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
	c.talk.Lock()
	defer c.talk.Unlock()
	for _, line := range c.transcript {
		c.report.Transcript = append(c.report.Transcript, clean(line, c.secrets))
	}
	return c.report
}

// note keeps a line of the dialogue, as long as there are not too many.
func (c *checking) note(line string) {
	switch n := len(c.transcript); {
	case n < longestTranscript:
		c.transcript = append(c.transcript, line)
	case n == longestTranscript:
		c.transcript = append(c.transcript, "* and so on")
	}
}

// longestTranscript is in lines: a mailbox may have thousands of folders.
const longestTranscript = 400

// hide keeps a secret out of everything the check says from now on, also where a
// server repeats the SASL response it stood in.
func (c *checking) hide(s secret.Text) {
	if s.Empty() {
		return
	}
	c.secrets = append(c.secrets, s)
	for _, m := range []mechanism{sasl.NewXOAUTH2Client(c.Mailbox.String(), s), sasl.NewPasswordClient([]string{mechanismPlain}, c.Mailbox.String(), s)} {
		if _, response, err := m.Start(); err == nil {
			c.secrets = append(c.secrets, secret.New(string(response)))
		}
	}
}

// doubt remembers what a stage warned of: a server that refuses gives no reason, and
// this may be it.
func (c *checking) doubt(name string, st Stage) {
	if st.Status == Warn {
		c.doubts = append(c.doubts, fmt.Sprintf("First see to the %s: %s", name, st.Summary))
	}
}

// afterDoubts puts what was doubted before what to do.
func (c *checking) afterDoubts(next string) string {
	return strings.TrimSpace(strings.Join(append(slices.Clone(c.doubts), next), " "))
}

func (c *checking) close() {
	if c.dialled != nil {
		_ = c.dialled.Close()
	}
	if c.session != nil {
		c.session.close()
	}
}
