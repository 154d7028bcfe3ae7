package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"postern/internal/check"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/secret"
)

// deviceTestFor bounds a test of a device.
const deviceTestFor = 20 * time.Second

func unknownDoor(key string) error {
	return fault.New(fault.Invalid, "test the device", "no door %q is open", key).WithHint("choose one of the open doors")
}

// deviceTest does what an old program does, with Go's plain net/smtp, which knows
// nothing of Postern: connect, encrypt, log in, name a sender and a recipient. It ends
// before a message would begin.
type deviceTest struct {
	*App
	device door.Device
	door   openDoor
	report check.Report
	client *smtp.Client
}

// testDevice tries a device's login and envelope at one of the doors.
func (a *App) testDevice(ctx context.Context, name string, at openDoor, password secret.Text) (check.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, deviceTestFor)
	defer cancel()
	d, err := a.Store.Device(ctx, name)
	if err != nil {
		return check.Report{}, err
	}
	acct, err := a.Vault.Account(ctx, d.Account)
	if err != nil {
		return check.Report{}, err
	}
	t := &deviceTest{App: a, device: d, door: at, report: check.Report{Account: acct.Name, Mailbox: acct.Mailbox.String(), Started: time.Now()}}
	t.run(ctx, password)
	t.conclude()
	return t.report, nil
}

// stage adds a stage and says whether to go on.
func (t *deviceTest) stage(name string, began time.Time, good string, err error) bool {
	s := check.Stage{Name: name, Status: check.OK, Took: time.Since(began), Summary: good}
	var reply *textproto.Error
	switch {
	case errors.As(err, &reply):
		s.Status, s.Summary, s.Reply = check.Fail, "The door refused.", reply.Error()
		s.Next = afterRefusal(name)
	case err != nil:
		s.Status, s.Summary, s.Next = check.Fail, err.Error(), fault.HintOf(err)
	}
	t.report.Stages = append(t.report.Stages, s)
	return s.Status != check.Fail
}

// afterRefusal is what to do about a refusal, which the door's own words explain.
func afterRefusal(stage string) string {
	switch stage {
	case "login":
		return "type the password that was shown for this device, or make a new one"
	case "sender", "recipient":
		return "see what the door says, and change the device or its account"
	}
	return ""
}

func (t *deviceTest) conclude() {
	t.report.OK, t.report.Headline = true, "This device may send"
	for _, s := range t.report.Stages {
		switch s.Status {
		case check.Fail:
			t.report.OK, t.report.Headline = false, s.Name+" failed"
			return
		case check.Skipped:
			t.report.Headline = "The password is right; the rest can only be tried from the machine itself"
		}
	}
}

func (t *deviceTest) run(ctx context.Context, password secret.Text) {
	began := time.Now()
	if t.device.Disabled {
		t.stage("device", began, "", fault.New(fault.Denied, "device", "it is switched off").WithHint("switch it on"))
		return
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", within(t.door.listener.Addr()))
	if !t.stage("connect", began, fmt.Sprintf("Port %s answers.", portOf(t.door.listener.Addr())), err) {
		return
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			t.stage("connect", began, "", err)
			return
		}
	}
	if !t.admitted(conn, password) || !t.greet(conn) {
		return
	}
	defer t.client.Close()
	if t.door.key != "listed_listen" && !t.login(password) {
		return
	}
	t.envelope()
}

// within is a listener's address, seen from this machine.
func within(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil || !at.Addr().IsUnspecified() {
		return a.String()
	}
	return net.JoinHostPort("localhost", portOf(a))
}

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String()) // a listener's address has this form
	return port
}

// admitted reports whether the device may come from this machine. If not, the password
// is all that can be tried here.
func (t *deviceTest) admitted(conn net.Conn, password secret.Text) bool {
	began := time.Now()
	from, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil || t.device.Policy.From(from.Addr()) {
		return true
	}
	if t.door.key != "listed_listen" && !t.stage("login", began, "The password is right.", door.VerifyPassword(t.device.PasswordHash, password)) {
		return false
	}
	t.report.Stages = append(t.report.Stages, check.Stage{Name: "sender", Status: check.Skipped,
		Summary: fmt.Sprintf("This device may come from %s only, and the test comes from %s.", networksOf(t.device), from.Addr().Unmap()),
		Next:    "send a test page from the machine itself, and look for it in the queue"})
	return false
}

func networksOf(d door.Device) string {
	words := make([]string, len(d.Policy.Networks))
	for i, n := range d.Policy.Networks {
		words[i] = n.String()
	}
	return strings.Join(words, ", ")
}

// greet begins the dialogue, encrypted where the door can do that.
func (t *deviceTest) greet(conn net.Conn) bool {
	began := time.Now()
	name := t.reachable()
	var shown *tls.ConnectionState
	over := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS10, InsecureSkipVerify: true, //nolint:gosec // it asks itself; whether others would trust it is told below
		VerifyConnection: func(s tls.ConnectionState) error { shown = &s; return nil }}
	if t.door.key == "smtps_listen" {
		conn = tls.Client(conn, over)
	}
	c, err := smtp.NewClient(conn, name)
	if err == nil {
		err = c.Hello("localhost")
	}
	if err == nil && t.door.key != "smtps_listen" && t.door.key != "listed_listen" {
		err = c.StartTLS(over)
	}
	t.client = c
	if !t.stage("encryption", began, "The door greets.", err) {
		if c != nil {
			_ = c.Close() // it is of no more use
		}
		return false
	}
	t.certificate(shown, name)
	return true
}

// certificate says whether machines trust what the door shows.
func (t *deviceTest) certificate(shown *tls.ConnectionState, name string) {
	if shown == nil || len(shown.PeerCertificates) == 0 {
		return
	}
	last := &t.report.Stages[len(t.report.Stages)-1]
	last.Summary = tls.VersionName(shown.Version) + "."
	if _, err := shown.PeerCertificates[0].Verify(verifyAs(name, shown)); err != nil {
		last.Status = check.Warn
		last.Summary += " Its certificate is not one that machines know by themselves: most do not look, others must be told to accept it."
		last.Next = "where a machine refuses it, set acme_hosts, or tls_cert and tls_key"
	}
}

func (t *deviceTest) login(password secret.Text) bool {
	began := time.Now()
	return t.stage("login", began, "Name and password are right.", t.client.Auth(smtp.PlainAuth("", t.device.Name, password.Reveal(), t.reachable())))
}

// envelope names the account's mailbox as sender and recipient, and gives up then.
func (t *deviceTest) envelope() {
	began := time.Now()
	if !t.stage("sender", began, "It may send as "+t.report.Mailbox+".", t.client.Mail(t.report.Mailbox)) {
		return
	}
	began = time.Now()
	if !t.stage("recipient", began, "A recipient is taken. Nothing was sent.", t.client.Rcpt(t.report.Mailbox)) {
		return
	}
	began = time.Now()
	if err := errors.Join(t.client.Reset(), t.client.Quit()); err != nil {
		t.stage("farewell", began, "", err)
	}
}

func verifyAs(name string, s *tls.ConnectionState) x509.VerifyOptions {
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	return x509.VerifyOptions{DNSName: name, Intermediates: between}
}
