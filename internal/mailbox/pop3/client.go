// Package pop3 is a small POP3 client (RFC 1939, 2449, 2595, 5034): sign in, list what
// is there, stream messages, delete them. A [Source] is a mailbox as fetch tasks use it.
//
// It does not know APOP, which TLS made needless. What goes over the wire is never
// written down.
package pop3

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/emersion/go-sasl"

	"postern/internal/fault"
	"postern/internal/mailbox"
	ownsasl "postern/internal/sasl"
	"postern/internal/secret"
)

const protocol = "pop3"

// Client is one connection. Operations run one after the other; it is safe for
// concurrent use. An operation whose context ends closes the connection.
type Client struct {
	mu   sync.Mutex
	conn *mailbox.Conn
	r    *bufio.Reader

	pipelined bool // the server reads on while it answers (RFC 2449 §6.6)
}

// readAhead is as much as a TLS record holds.
const readAhead = 16 << 10

// Dial connects, encrypts and reads the greeting.
func Dial(ctx context.Context, cfg mailbox.Config) (*Client, error) {
	conn, err := mailbox.Connect(ctx, cfg, mailbox.Protocol{Name: protocol, StartTLS: StartTLS})
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, r: bufio.NewReaderSize(conn, readAhead)}
	if cfg.Server.TLS == "starttls" {
		return c, nil // greeted before TLS; there is no second greeting (RFC 2595 §4)
	}
	defer c.begin(ctx)()
	if _, err := c.answer(ctx, "greeting"); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// StartTLS is RFC 2595 §4 up to the handshake.
func StartTLS(ctx context.Context, c *mailbox.Conn) error {
	defer c.Begin(ctx)()
	for _, stage := range []string{"greeting", "STLS"} {
		if stage == "STLS" {
			if _, err := c.Write([]byte("STLS\r\n")); err != nil {
				return broken(ctx, stage, err)
			}
		}
		line, err := c.ReadLine(maxLine)
		if err != nil {
			return broken(ctx, stage, err)
		}
		if _, err := verdict(stage, line); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) begin(ctx context.Context) (end func()) {
	c.mu.Lock()
	release := c.conn.Begin(ctx)
	return func() {
		release()
		c.mu.Unlock()
	}
}

// TLS describes the encryption, if there is one.
func (c *Client) TLS() (tls.ConnectionState, bool) { return c.conn.TLS() }

// Capabilities asks what the server can do (RFC 2449 §5), one line each, as sent.
// A server that does not know the question has none.
func (c *Client) Capabilities(ctx context.Context) ([]string, error) {
	defer c.begin(ctx)()
	if _, err := c.command(ctx, "CAPA"); err != nil {
		if fault.ReplyOf(err) != nil && fault.KindOf(err) == fault.Permanent {
			return []string{}, nil
		}
		return nil, err
	}
	offered, err := c.lines(ctx, "CAPA")
	c.pipelined = slices.Contains(offered, "PIPELINING")
	return offered, err
}

// SignIn signs in with a token, or with a password by the best way the server offers:
// SASL PLAIN or LOGIN, or USER and PASS.
func (c *Client) SignIn(ctx context.Context, as mailbox.Login) error {
	offered, err := c.Capabilities(ctx)
	if err != nil {
		return err
	}
	if as.Password.Empty() {
		err = c.Authenticate(ctx, ownsasl.NewXOAUTH2Client(as.User, as.Token))
	} else if offers := mechanisms(offered); slices.Contains(offers, sasl.Plain) || slices.Contains(offers, sasl.Login) {
		err = c.Authenticate(ctx, ownsasl.NewPasswordClient(offers, as.User, as.Password))
	} else {
		err = c.login(ctx, as)
	}
	if err != nil || c.pipelined {
		return err
	}
	_, err = c.Capabilities(ctx) // some tell only now
	return err
}

// mechanisms are those of the SASL line of CAPA.
func mechanisms(offered []string) []string {
	for _, line := range offered {
		if f := strings.Fields(strings.ToUpper(line)); len(f) > 1 && f[0] == "SASL" {
			return f[1:]
		}
	}
	return nil
}

func (c *Client) login(ctx context.Context, as mailbox.Login) error {
	defer c.begin(ctx)()
	if err := c.conn.RequireTLS("pop3 PASS"); err != nil {
		return err
	}
	for _, line := range []string{"USER " + as.User, "PASS " + as.Password.Reveal()} {
		if strings.ContainsAny(line, "\r\n") {
			return fault.New(fault.Invalid, "pop3 USER", "a user name and a password have one line")
		}
		if _, err := c.command(ctx, line); err != nil {
			if r := fault.ReplyOf(err); r != nil {
				r.Text = secret.Unecho(r.Text, as.Password)
			}
			return err
		}
	}
	return nil
}

// Authenticate signs in (RFC 5034). The mechanism goes first and the credentials
// on a line of their own: Exchange hangs up on a single line. It refuses to over
// clear text. A refusal is fault.NeedsSignIn; Microsoft gives no reason.
func (c *Client) Authenticate(ctx context.Context, client sasl.Client) (err error) {
	defer c.begin(ctx)()
	if err := c.conn.RequireTLS("pop3 AUTH"); err != nil {
		return err
	}
	mech, response, err := client.Start()
	if err != nil {
		return fault.Wrap(fault.Invalid, "pop3 AUTH", err)
	}
	if err := c.send(ctx, "AUTH", "AUTH "+mech); err != nil {
		return err
	}
	said := secret.New(base64.StdEncoding.EncodeToString(response))
	defer func() {
		if r := fault.ReplyOf(err); r != nil {
			r.Text = secret.Unecho(r.Text, said)
		}
	}()
	const rounds = 3 // the credentials, a challenge with the reason, one to spare
	for range rounds {
		text, more, err := c.challenge(ctx)
		if err != nil || !more {
			return err
		}
		if response == nil {
			challenge, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return fault.New(fault.Temporary, "pop3 AUTH", "challenge is not base64")
			}
			if response, err = client.Next(challenge); err != nil {
				return fault.Wrap(fault.NeedsSignIn, "pop3 AUTH", err)
			}
		}
		if err := c.send(ctx, "AUTH", base64.StdEncoding.EncodeToString(response)); err != nil {
			return err
		}
		response = nil
	}
	_, more, err := c.challenge(ctx)
	if err == nil && more {
		return fault.New(fault.NeedsSignIn, "pop3 AUTH", "the server keeps asking")
	}
	return err
}

// challenge reads either a continuation (more) or the final answer.
func (c *Client) challenge(ctx context.Context) (text string, more bool, err error) {
	line, err := readLine(c.r)
	if err != nil {
		return "", false, broken(ctx, "AUTH", err)
	}
	if line == "+" || strings.HasPrefix(line, "+ ") {
		return strings.TrimSpace(line[1:]), true, nil
	}
	_, err = verdict("AUTH", line)
	return "", false, err
}

// Stat counts the messages and their octets.
func (c *Client) Stat(ctx context.Context) (messages int, octets int64, err error) {
	defer c.begin(ctx)()
	text, err := c.command(ctx, "STAT")
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(text)
	if len(f) < 2 {
		return 0, 0, garbled("STAT", text)
	}
	messages, err1 := strconv.Atoi(f[0])
	octets, err2 := strconv.ParseInt(f[1], 10, 64)
	if err1 != nil || err2 != nil || messages < 0 || octets < 0 {
		return 0, 0, garbled("STAT", text)
	}
	return messages, octets, nil
}

// Message is one line of the listing.
type Message struct {
	Number int    // of this session
	UID    string // lasting (RFC 1939 §7, UIDL); 1 to 70 printable characters
	Size   int64  // octets, roughly
}

// Messages lists what is there: UIDL and LIST joined, in the server's order.
func (c *Client) Messages(ctx context.Context) ([]Message, error) {
	defer c.begin(ctx)()
	var all []Message
	at := make(map[int]int)
	err := c.listing(ctx, "UIDL", func(n int, uid string) error {
		if len(uid) < 1 || len(uid) > 70 {
			return errGarbled
		}
		at[n] = len(all)
		all = append(all, Message{Number: n, UID: uid})
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.listing(ctx, "LIST", func(n int, value string) error {
		size, err := strconv.ParseInt(value, 10, 64)
		if i, ok := at[n]; ok {
			all[i].Size = size
		}
		return err
	})
	return all, err
}

var errGarbled = errors.New("not what the command is answered with")

func garbled(stage, line string) error {
	return fault.New(fault.Temporary, protocol+" "+stage, "%w: %.80q", errGarbled, line)
}

func (c *Client) listing(ctx context.Context, stage string, each func(n int, value string) error) error {
	if _, err := c.command(ctx, stage); err != nil {
		return err
	}
	lines, err := c.lines(ctx, stage)
	if err != nil {
		return err
	}
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 2 {
			return garbled(stage, line)
		}
		n, err := strconv.Atoi(f[0])
		if err != nil || n < 1 || each(n, f[1]) != nil {
			return garbled(stage, line)
		}
	}
	return nil
}

// window is how many commands are under way where the server reads on while it
// answers: enough to make distance not matter, few enough for any server's buffer.
const window = 50

// Read is given each answer of several: a message, dots unstuffed, line ends as sent,
// whose reader says io.EOF only when it was whole; or what the server said instead.
type Read func(i int, message io.Reader, refused error) error

// Retr streams messages to read, one after the other. When read fails the connection
// is closed, rather than taking in the rest; its error is returned as it is.
func (c *Client) Retr(ctx context.Context, numbers []int, read Read) error {
	return c.stream(ctx, "RETR", "", numbers, read)
}

// Top streams the headers of messages, like Retr.
func (c *Client) Top(ctx context.Context, numbers []int, read Read) error {
	return c.stream(ctx, "TOP", " 0", numbers, read)
}

func (c *Client) stream(ctx context.Context, verb, tail string, numbers []int, read Read) error {
	defer c.begin(ctx)()
	ahead := 1
	if c.pipelined {
		ahead = window
	}
	sent := 0
	for i := range numbers {
		if sent-i <= ahead/2 && sent < len(numbers) {
			until := min(i+ahead, len(numbers))
			var lines []string
			for _, n := range numbers[sent:until] {
				lines = append(lines, fmt.Sprintf("%s %d%s", verb, n, tail))
			}
			if err := c.send(ctx, verb, strings.Join(lines, "\r\n")); err != nil {
				return err
			}
			sent = until
		}
		if err := c.one(ctx, verb, func(message io.Reader, refused error) error { return read(i, message, refused) }); err != nil {
			_ = c.conn.Close()
			return err
		}
	}
	return nil
}

func (c *Client) one(ctx context.Context, verb string, read func(io.Reader, error) error) error {
	if _, err := c.answer(ctx, verb); err != nil {
		if fault.ReplyOf(err) == nil {
			return err
		}
		return read(nil, err)
	}
	body := &message{dots: dotReader{r: c.r}, broken: func(err error) error { return broken(ctx, verb, err) }}
	if err := read(body, nil); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, body) // what read did not care for
	return err
}

// message is one that is being read; its errors are classified.
type message struct {
	dots   dotReader
	broken func(error) error
}

// Read implements io.Reader.
func (m *message) Read(p []byte) (int, error) {
	n, err := m.dots.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = m.broken(err)
	}
	return n, err
}

// Dele marks a message to be deleted by Quit. Servers say no more than -ERR to one that
// is gone or marked already (fault.NotFound) and to one that they will not delete
// (fault.Permanent): which it is tells what they list (RFC 1939 §5).
func (c *Client) Dele(ctx context.Context, number int) error {
	defer c.begin(ctx)()
	_, err := c.command(ctx, fmt.Sprintf("DELE %d", number))
	if !unexplained(err) {
		return err
	}
	_, unlisted := c.command(ctx, fmt.Sprintf("LIST %d", number))
	switch {
	case unlisted == nil:
		return fault.Wrap(fault.Permanent, "pop3 delete a message that is still there", err)
	case unexplained(unlisted):
		return fault.Wrap(fault.NotFound, "pop3 delete a message that is not there", err)
	}
	return unlisted
}

// unexplained reports a refusal without a response code.
func unexplained(err error) bool {
	r := fault.ReplyOf(err)
	return r != nil && r.Enhanced == ""
}

// Quit makes the deletions happen and ends the session.
func (c *Client) Quit(ctx context.Context) error {
	defer c.begin(ctx)()
	_, err := c.command(ctx, "QUIT")
	_ = c.conn.Close()
	return err
}

// Close drops the connection; nothing is deleted.
func (c *Client) Close() error {
	_ = c.conn.Close() // whatever it says, the connection is gone
	return nil
}
