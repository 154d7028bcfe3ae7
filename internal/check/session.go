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
	// probe looks at the target's mailbox without changing it and says what it saw.
	probe(ctx context.Context, t Target) (Stage, error)
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
	cfg := mailbox.Config{Server: c.Server, RootCAs: c.RootCAs, Dial: c.take, Trace: c.listen()}
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
		Trace: c.listen(),
	})
	if err != nil {
		return nil, err
	}
	return smtpSession{conn}, nil
}

// listen keeps what is said. IMAP's client reads in a goroutine of its own, perhaps still
// after the check.
func (c *checking) listen() func(line string) {
	return func(line string) {
		c.talk.Lock()
		defer c.talk.Unlock()
		c.note(line)
	}
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

// probe names the mailbox as the sender, and itself as the recipient, and takes it back.
func (s smtpSession) probe(ctx context.Context, t Target) (Stage, error) {
	res, err := s.conn.Rehearse(ctx, mail.Envelope{From: t.Mailbox, To: []mail.Address{t.Mailbox}})
	if err != nil {
		return Stage{}, err
	}
	st := Stage{Status: OK, Summary: fmt.Sprintf("The server takes %s as the sender; nothing was sent.", t.Mailbox)}
	for _, r := range res.Recipients {
		if r.Err != nil { // a High Volume Email account need not be able to receive
			st.Details = append(st.Details, Detail{"as a recipient it says", r.Reply.String()})
		}
	}
	return st, nil
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

// probe lists the folders, opens those that are read and counts, and looks for those
// that messages are moved to.
func (s imapSession) probe(ctx context.Context, t Target) (Stage, error) {
	all, err := s.client.Folders(ctx)
	if err != nil {
		return Stage{}, err
	}
	read := t.Folders
	if len(read) == 0 {
		read = []string{"INBOX"}
	}
	st := Stage{Status: OK, Details: []Detail{{"folders", someOf(all)}}}
	for _, folder := range read {
		if strings.ContainsAny(folder, "*?") {
			continue // it stands for many
		}
		saw, err := s.open(ctx, folder, t.Mailbox)
		if err != nil {
			return Stage{}, err
		}
		st.Summary = strings.TrimSpace(st.Summary + " " + saw)
	}
	st.Summary = strings.TrimSpace(fmt.Sprintf("%s There are %s.", st.Summary, count(len(all), "folder", "folders")))
	return s.targets(ctx, t, st)
}

// open opens a folder read-only and counts what is in it.
func (s imapSession) open(ctx context.Context, folder string, mailbox mail.Address) (string, error) {
	status, err := s.client.Examine(ctx, folder)
	if err != nil {
		return "", err
	}
	source := s.client.Source(mailbox.String())
	source.Use(folder)
	_, unread, err := source.Search(ctx, unreadOnes())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s of %s opens for reading: %s, %d unread.", folder, mailbox, count(int(status.Messages), "message", "messages"), unread.Len()), nil
}

func unreadOnes() mailbox.Query { return mailbox.Query{Unread: true} }

// targets looks for the folders that messages are moved to.
func (s imapSession) targets(ctx context.Context, t Target, st Stage) (Stage, error) {
	for _, folder := range t.MoveTo {
		there, err := s.client.HasFolder(ctx, folder)
		switch {
		case err != nil:
			return Stage{}, err
		case !there:
			st.Status, st.Summary = Fail, fmt.Sprintf("%s has no folder %q, which messages are to be moved to.", t.Mailbox, folder)
			st.Next = "Choose a folder that exists, create it in the mailbox, or let the task make it (make_folders)."
			return st, nil
		}
		st.Summary += fmt.Sprintf(" The folder %s, which messages are moved to, is there.", folder)
	}
	return st, nil
}

// someOf names folders, not all where there are many.
func someOf(all []mailbox.Folder) string {
	const most = 20
	var names []string
	for _, f := range all[:min(len(all), most)] {
		names = append(names, f.Name)
	}
	if len(all) > most {
		names = append(names, fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(names, ", ")
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

func (s pop3Session) probe(ctx context.Context, t Target) (Stage, error) {
	messages, octets, err := s.client.Stat(ctx)
	if err != nil {
		return Stage{}, err
	}
	return Stage{Status: OK, Summary: fmt.Sprintf("The mailbox of %s opens: %s of %d octets.", t.Mailbox, count(messages, "message", "messages"), octets)}, nil
}

func (s pop3Session) close() { _ = s.client.Close() }
