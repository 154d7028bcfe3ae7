package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http/httptrace"
	"time"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/vault"
	"postern/internal/webhook"
)

// testFor bounds a test of a route.
const testFor = 2 * time.Minute

// TestAlert really sends one message the way a route says, past the queue, and tells
// stage by stage what came of it. Nothing need be saved: saved names a route whose values
// count where none are given, "" for none. An empty secret is the one that is kept for
// the route, if any. onStage may be nil.
func (a *App) TestAlert(ctx context.Context, saved string, given alert.Route, signWith secret.Text, onStage func(check.Stage)) (check.Report, error) {
	r := alert.Route{Name: "unsaved"}
	if saved != "" {
		var err error
		if r, err = a.Store.AlertRoute(ctx, saved); err != nil {
			return check.Report{}, err
		}
	}
	r = r.With(given)
	if err := r.Check(); err != nil {
		return check.Report{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, testFor)
	defer cancel()
	t := &alertTest{App: a, route: r, live: onStage, report: check.Report{Account: r.Account, Started: time.Now()}}
	sample := alert.Sample(r, a.hostname(), a.Config.PublicURL.String()+"/", a.Store.Now())
	var err error
	if r.ByMail() {
		err = t.mail(ctx, sample)
	} else {
		err = t.webhook(ctx, sample, signWith)
	}
	t.conclude()
	return t.report, err
}

// alertTest is one test under way.
type alertTest struct {
	*App
	route  alert.Route
	live   func(check.Stage)
	report check.Report
}

// stage adds a stage and says whether to go on.
func (t *alertTest) stage(name string, began time.Time, good string, err error) bool {
	s := check.Stage{Name: name, Status: check.OK, Took: time.Since(began), Summary: good}
	if err != nil {
		s.Status, s.Summary, s.Next = check.Fail, err.Error(), fault.HintOf(err)
	}
	if reply := fault.ReplyOf(err); reply != nil {
		s.Reply = reply.String()
	}
	return t.add(s)
}

func (t *alertTest) add(s check.Stage) bool {
	t.report.Stages = append(t.report.Stages, s)
	if t.live != nil {
		t.live(s)
	}
	return s.Status != check.Fail
}

func (t *alertTest) conclude() {
	t.report.OK, t.report.Headline = true, "The test was sent"
	for _, s := range t.report.Stages {
		if s.Status == check.Fail {
			t.report.OK, t.report.Headline = false, s.Name+" failed: "+s.Summary
			return
		}
	}
}

// mail checks the account's way and sends the test by it.
func (t *alertTest) mail(ctx context.Context, sample alert.Alert) error {
	acct, err := t.Vault.Account(ctx, t.route.Account)
	if err != nil {
		return err
	}
	t.report.Mailbox = acct.Mailbox.String()
	began := time.Now()
	l, err := alert.Write(t.route, []alert.Alert{sample})
	var body []byte
	if err == nil {
		body, err = compose(l, acct.Mailbox)
	}
	if !t.stage("template", began, "Subject: "+l.Subject, err) {
		return nil
	}
	if acct.Simulate || bool(t.Config.Simulate) {
		t.add(check.Stage{Name: "simulation", Status: check.Warn, Summary: "Simulation is on: the test will go to nobody.", Next: "postern accounts simulate " + acct.Name + " off"})
	} else if ok, err := t.check(ctx, acct); err != nil || !ok {
		return err
	}
	return t.deliver(ctx, acct, sample.ID, body)
}

// check runs the connection check of what the account sends by.
func (t *alertTest) check(ctx context.Context, acct vault.Account) (bool, error) {
	p := sendsFor(acct)
	if !acct.May(p) || acct.Transport == vault.OverGraph {
		p = vault.Graph
	}
	r, err := t.Check(ctx, acct, CheckWish{Purpose: p}, func(s check.Stage) {
		if s.Name != check.StageTest { // that comes next
			t.add(s)
		}
	})
	t.report.Purpose, t.report.Server = r.Purpose, r.Server
	return r.OK, err
}

func (t *alertTest) deliver(ctx context.Context, acct vault.Account, id string, body []byte) error {
	network, err := t.network()
	if err != nil {
		return err
	}
	began := time.Now()
	way := relay.Simulation{Real: t.sender(network, noDoubts{}), Would: t.would, Pretends: func(string) bool { return acct.Simulate || bool(t.Config.Simulate) }}
	up, err := way.Open(ctx, acct.Name)
	if err != nil {
		t.stage("message", began, "", err)
		return nil
	}
	res, err := up.Send(ctx, mail.Envelope{ID: id, From: acct.Mailbox, To: t.route.To, EightBit: true}, int64(len(body)), bytes.NewReader(body), relay.Unqueued)
	_ = up.Close(ctx) // what the server says to a farewell changes nothing
	for _, r := range res.Recipients {
		if r.Err != nil {
			t.stage("recipient", began, "", fmt.Errorf("%s: %w", r.Address, r.Err))
		}
	}
	if res.Accepted {
		t.add(check.Stage{Name: "message", Status: check.OK, Took: time.Since(began), Reply: res.Reply.String(),
			Summary: fmt.Sprintf("The server took the message from %s.", acct.Mailbox)})
	} else if err != nil {
		t.stage("message", began, "", err)
	}
	return nil
}

// noDoubts are those about a message that is no message of the queue: it is sent once,
// and nobody sends it again.
type noDoubts struct{}

func (noDoubts) Doubt(context.Context, string) (time.Time, error) { return time.Time{}, nil }

func (noDoubts) BeginDoubt(context.Context, string, time.Time) error { return nil }

func (noDoubts) EndDoubt(context.Context, string) error { return nil }

// webhook calls the receiver and says how far it came.
func (t *alertTest) webhook(ctx context.Context, sample alert.Alert, signWith secret.Text) error {
	if signWith.Empty() {
		var err error
		if signWith, err = t.Vault.KeptSecret(ctx, alert.SecretName(t.route.Name)); err != nil {
			return err
		}
	}
	network, err := t.network()
	if err != nil {
		return err
	}
	by, err := network.Transport("")
	if err != nil {
		return err
	}
	defer by.CloseIdleConnections()
	webhook.Guard(by)
	body, err := alert.Body([]alert.Alert{sample}, t.Store.Now())
	if err != nil {
		return err
	}
	began := time.Now()
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			t.stage("connect", began, "Connected to "+c.Conn.RemoteAddr().String()+".", nil)
		},
		TLSHandshakeDone: func(s tls.ConnectionState, err error) { t.stage("TLS", began, tls.VersionName(s.Version), err) },
	})
	answer, err := webhook.Post(traced, by, webhook.Call{Address: t.route.Webhook, Secret: signWith, ID: sample.ID, Body: body, At: t.Store.Now()})
	if err != nil {
		t.stage("answer", began, "", err)
		return nil
	}
	signed := "signed"
	if signWith.Empty() {
		signed = "not signed: it has no secret"
	}
	t.add(check.Stage{Name: "answer", Status: check.OK, Took: time.Since(began), Summary: "The receiver took the test, " + signed + ".", Reply: answer})
	return nil
}
