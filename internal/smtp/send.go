package smtp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Result is what became of one transaction.
type Result struct {
	// Simulated: nothing was sent; Accepted and Reply are what might have been.
	Simulated bool
	// Recipients has one entry for each of the envelope, in its order, when the
	// transaction came as far as RCPT TO; otherwise it is empty.
	Recipients []RecipientReply
	// Accepted: the server answered 250 after the message, so every recipient
	// without an Err has it.
	Accepted bool
	Reply    *fault.Reply // the answer after the message, nil when there was none
	// InDoubt: it may have been taken, and the next try for the same recipients, all of
	// them and nobody else, finds out before it sends anything.
	InDoubt bool
	// Reports: the server tells the sender what the envelope's notices ask for (RFC
	// 3461 §5.2.1).
	Reports bool
}

// RecipientReply is the answer to one RCPT TO.
type RecipientReply struct {
	Address mail.Address
	Reply   fault.Reply
	Err     error // a [fault.Error] when refused
}

// pipelineWindow is how many RCPT TO are sent before their answers are read;
// more could fill the buffers of both sides and block them (RFC 2920 §3.1).
const pipelineWindow = 50

// Send submits one message. size is the octets of the body, 0 when not known.
// Line ends are made CRLF and dots are stuffed; nothing else is changed.
//
// The error speaks of the whole message: MAIL, DATA or the message itself was
// refused, or the connection failed. It has Ambiguous set when the message was
// sent to the last octet and the answer never came: the server may have it.
// Refused recipients are no error; when none was taken, nothing is sent and
// Accepted is false. After Accepted no further octet is sent before the next
// call on c.
func (c *Conn) Send(ctx context.Context, env mail.Envelope, size int64, body io.Reader) (Result, error) {
	defer c.wire.use(ctx)()
	if env.UTF8 && !c.Offers("SMTPUTF8") {
		return Result{}, fault.New(fault.Permanent, "smtp "+StageMAIL, "the server does not offer SMTPUTF8, which the addresses need")
	}
	res := Result{Reports: c.Offers("DSN")}
	if err := c.envelope(env, size, &res); err != nil {
		return res, err
	}
	taken := 0
	for _, r := range res.Recipients {
		if r.Err == nil {
			taken++
		}
	}
	if taken == 0 {
		return res, nil
	}
	if _, err := c.command(StageDATA, 3, "DATA"); err != nil {
		return res, err
	}
	return res, c.message(body, &res)
}

// Rehearse names sender and recipients and takes them back: it asks whether the server
// would take them, and sends nothing. The error speaks of the sender.
func (c *Conn) Rehearse(ctx context.Context, env mail.Envelope) (Result, error) {
	defer c.wire.use(ctx)()
	var res Result
	if err := c.envelope(env, 0, &res); err != nil {
		return res, err
	}
	return res, c.reset()
}

// envelope sends MAIL and all RCPT, in windows when the server takes pipelines.
func (c *Conn) envelope(env mail.Envelope, size int64, res *Result) error {
	if c.dirty {
		if _, err := c.command(StageRSET, 2, "RSET"); err != nil {
			return err
		}
	}
	c.dirty = true
	c.wire.setPatience(c.times.Command)
	window := 0
	if c.Offers("PIPELINING") {
		window = pipelineWindow
	}
	from := c.mailFrom(env, size)
	if err := c.say(StageMAIL, from, from); err != nil {
		return err
	}
	first := env.To[:min(window, len(env.To))]
	if err := c.sayRecipients(env, 0, len(first)); err != nil {
		return err
	}
	_, mailErr := c.expect(StageMAIL, 2)
	err := c.hearRecipients(first, res)
	if mailErr != nil {
		res.Recipients = nil // answers to RCPT after a refused MAIL say nothing
		return mailErr
	}
	if err != nil {
		return err
	}
	for at := len(first); at < len(env.To); {
		end := min(at+max(window, 1), len(env.To))
		if err := c.sayRecipients(env, at, end); err != nil {
			return err
		}
		if err := c.hearRecipients(env.To[at:end], res); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func (c *Conn) mailFrom(env mail.Envelope, size int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "MAIL FROM:<%s>", env.From)
	if size > 0 && c.Offers("SIZE") {
		fmt.Fprintf(&b, " SIZE=%d", size)
	}
	if env.EightBit && c.Offers("8BITMIME") {
		b.WriteString(" BODY=8BITMIME")
	}
	if env.UTF8 {
		b.WriteString(" SMTPUTF8")
	}
	if env.Notice.Return != "" && c.Offers("DSN") {
		b.WriteString(" RET=" + string(env.Notice.Return))
	}
	if env.Notice.EnvelopeID != "" && c.Offers("DSN") {
		b.WriteString(" ENVID=" + mail.Xtext(env.Notice.EnvelopeID))
	}
	return b.String()
}

// rcptTo is the line for one recipient. An original address beyond ASCII has a form
// that few servers know (RFC 6533); it stays here, and in our own reports.
func (c *Conn) rcptTo(env mail.Envelope, n int) string {
	line := "RCPT TO:<" + env.To[n].String() + ">"
	if n >= len(env.Notices) || !c.Offers("DSN") {
		return line
	}
	wish := env.Notices[n]
	if wish.Notify != 0 {
		line += " NOTIFY=" + wish.Notify.String()
	}
	if wish.Original != "" && !strings.ContainsFunc(wish.Original, func(r rune) bool { return r >= utf8.RuneSelf }) {
		line += " ORCPT=" + mail.Xtext(wish.Original)
	}
	return line
}

// sayRecipients queues the lines and flushes, with whatever was queued before.
func (c *Conn) sayRecipients(env mail.Envelope, from, to int) error {
	for n := from; n < to; n++ {
		line := c.rcptTo(env, n)
		if err := c.say(StageRCPT, line, line); err != nil {
			return err
		}
	}
	return c.flush(StageRCPT)
}

// hearRecipients reads one answer for each; only a lost connection is an error.
func (c *Conn) hearRecipients(to []mail.Address, res *Result) error {
	for _, a := range to {
		r, err := c.expect(StageRCPT, 2)
		if err != nil && (fault.ReplyOf(err) == nil || !c.Usable()) {
			return err
		}
		res.Recipients = append(res.Recipients, RecipientReply{Address: a, Reply: *r.told(StageRCPT), Err: err})
	}
	return nil
}

// message sends the body and reads the final answer.
func (c *Conn) message(body io.Reader, res *Result) error {
	c.wire.setPatience(c.times.Write)
	c.text.Reset(body)
	defer c.text.Reset(nil)
	w := &bodyWriter{w: c.bw}
	n, err := io.Copy(w, &c.text)
	if err != nil && w.err == nil { // our side of the copy failed: the message must not end
		c.Abort()
		return &fault.Error{Kind: fault.Temporary, Op: "read message body", Err: err}
	}
	if err == nil {
		w.close()
	}
	c.trace(fmt.Sprintf("C: (message of %d octets)", n))
	if w.err != nil {
		return c.interrupted(w.err, res)
	}
	c.wire.setPatience(c.times.Final)
	r, err := c.expect(StageBody, 2)
	if f := fault.As(err); f != nil && f.Reply == nil {
		f.Ambiguous = true
		return f
	}
	res.Reply = r.told(StageBody)
	if err != nil {
		return err
	}
	c.dirty, res.Accepted = false, true
	return nil
}

// earlyReplyPatience is how long to look for the reason of a server that closed
// while it was being written to.
const earlyReplyPatience = 2 * time.Second

// interrupted is a write that failed before the final dot. The server may have
// said why before it hung up: its words are worth more than "broken pipe".
func (c *Conn) interrupted(cause error, res *Result) error {
	c.wire.setPatience(earlyReplyPatience)
	if r, err := readReply(c.br, c.trace); err == nil && r.code >= 400 {
		c.broken = true
		res.Reply = r.told(StageBody)
		f := r.fault(StageBody)
		f.Err = cause
		return f
	}
	return c.lost(StageBody, cause)
}

// bodyWriter writes canonical text, with a dot before each line that begins with one
// (RFC 5321 §4.5.2). It remembers its own failure, so that it can be told from the
// reader's.
type bodyWriter struct {
	w    *bufio.Writer
	amid bool // in a line, or behind one whose end is not sure
	err  error
}

func (b *bodyWriter) Write(p []byte) (n int, _ error) {
	for n < len(p) && b.err == nil {
		if !b.amid && p[n] == '.' {
			_ = b.w.WriteByte('.') // it keeps an error, and tells of it the next time
		}
		line := p[n:]
		if i := bytes.Index(line, []byte("\n.")); i >= 0 {
			line = line[:i+1]
		}
		_, b.err = b.w.Write(line)
		n += len(line)
		b.amid = line[len(line)-1] != '\n'
	}
	return n, b.err
}

// close ends the text.
func (b *bodyWriter) close() {
	end := ".\r\n"
	if b.amid {
		end = "\r\n" + end
	}
	_, _ = b.w.WriteString(end) // Flush tells
	b.err = b.w.Flush()
}
