package check

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/mailbox/pop3"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
)

// session is what the last stages need of a mail protocol.
type session interface {
	capabilities(ctx context.Context) ([]string, error)
	mechanisms(capabilities []string) []string // of SASL, upper case
	tls() (tls.ConnectionState, bool)
	signIn(ctx context.Context, as mechanism) error
	// probe looks at the mailbox without changing it and says what it saw.
	probe(ctx context.Context, mailbox mail.Address) (string, error)
	close()
}

// mechanism is a SASL client as the mail protocols take it.
type mechanism interface {
	Start() (name string, initial []byte, err error)
	Next(challenge []byte) (response []byte, err error)
}

// mechanism makes of a credential what signs in at a server that offers these: XOAUTH2
// of a token, PLAIN or LOGIN of a password.
func (l Credential) mechanism(offers []string) mechanism {
	if l.Password.Empty() {
		return sasl.NewXOAUTH2Client(l.User, l.Token)
	}
	return sasl.NewPasswordClient(offers, l.User, l.Password)
}

const mechanismPlain = "PLAIN"

// open dials the protocol of the purpose over the connection of the tcp stage.
func (c *checking) open(ctx context.Context) (session, error) {
	cfg := mailbox.Config{Server: c.Server, RootCAs: c.RootCAs, Dial: c.take}
	switch c.Purpose {
	case IMAP:
		client, err := imap.Dial(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return imapSession{client}, nil
	case POP3:
		client, err := pop3.Dial(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return pop3Session{client}, nil
	}
	conn, err := smtp.Dial(ctx, smtp.Config{
		Server: c.Server, RootCAs: c.RootCAs, HelloName: c.HelloName, Dialer: dialer(c.take),
		Trace: func(line string) { c.transcript = append(c.transcript, line) },
	})
	if err != nil {
		return nil, err
	}
	return smtpSession{conn}, nil
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

type smtpSession struct{ conn *smtp.Conn }

func (s smtpSession) capabilities(context.Context) ([]string, error) {
	var offers []string
	for _, extension := range []string{"SIZE", "PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING"} {
		if s.conn.Offers(extension) {
			offers = append(offers, extension)
		}
	}
	for _, mechanism := range s.conn.Mechanisms() {
		offers = append(offers, "AUTH="+mechanism)
	}
	return offers, nil
}

func (smtpSession) mechanisms(offers []string) []string { return afterAuth(offers) }

// afterAuth are the mechanisms among capabilities that are written AUTH=PLAIN.
func afterAuth(offers []string) []string {
	var found []string
	for _, o := range offers {
		if name, ok := strings.CutPrefix(strings.ToUpper(o), "AUTH="); ok {
			found = append(found, name)
		}
	}
	return found
}

func (s smtpSession) tls() (tls.ConnectionState, bool) {
	if state := s.conn.TLS(); state != nil {
		return *state, true
	}
	return tls.ConnectionState{}, false
}

func (s smtpSession) signIn(ctx context.Context, as mechanism) error {
	return s.conn.Auth(ctx, repeating(sasl.NewXOAUTH2Client)(as))
}

// repeating makes what gives the same mechanism as often as it is asked; Start begins
// anew. Its argument only tells the type, of a library this package has no other
// business with.
func repeating[M any](_ func(string, secret.Text) M) func(M) func() M {
	return func(m M) func() M { return func() M { return m } }
}

// probe names the mailbox as the sender, without a recipient, and takes it back:
// with a recipient the client would go on to the message.
func (s smtpSession) probe(ctx context.Context, mailbox mail.Address) (string, error) {
	if _, err := s.conn.Send(ctx, mail.Envelope{From: mailbox}, 0, strings.NewReader("")); err != nil {
		return "", err
	}
	if err := s.conn.Reset(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("The server takes %s as the sender; nothing was sent. Whether other addresses may be used (Send As) is only known after a real send.", mailbox), nil
}

func (s smtpSession) close() { s.conn.Abort() }

type imapSession struct{ client *imap.Client }

func (s imapSession) capabilities(ctx context.Context) ([]string, error) {
	return s.client.Capabilities(ctx)
}

func (imapSession) mechanisms(offers []string) []string { return afterAuth(offers) }

func (s imapSession) tls() (tls.ConnectionState, bool) { return s.client.TLS() }

func (s imapSession) signIn(ctx context.Context, as mechanism) error {
	return s.client.Authenticate(ctx, as)
}

func (s imapSession) probe(ctx context.Context, mailbox mail.Address) (string, error) {
	status, err := s.client.Examine(ctx, "INBOX")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("INBOX of %s opens for reading: %s.", mailbox, count(int(status.Messages), "message", "messages")), nil
}

func (s imapSession) close() { _ = s.client.Close() }

type pop3Session struct{ client *pop3.Client }

func (s pop3Session) capabilities(ctx context.Context) ([]string, error) {
	return s.client.Capabilities(ctx)
}

func (pop3Session) mechanisms(offers []string) []string {
	for _, line := range offers {
		if f := strings.Fields(strings.ToUpper(line)); len(f) > 1 && f[0] == "SASL" {
			return f[1:]
		}
	}
	return nil
}

func (s pop3Session) tls() (tls.ConnectionState, bool) { return s.client.TLS() }

func (s pop3Session) signIn(ctx context.Context, as mechanism) error {
	return s.client.Authenticate(ctx, as)
}

func (s pop3Session) probe(ctx context.Context, mailbox mail.Address) (string, error) {
	messages, octets, err := s.client.Stat(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("The mailbox of %s opens: %s of %d octets.", mailbox, count(messages, "message", "messages"), octets), nil
}

func (s pop3Session) close() { _ = s.client.Close() }
