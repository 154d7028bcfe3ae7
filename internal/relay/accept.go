package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/smtp"
)

// Submission is a message handed in, before it has an identity.
type Submission struct {
	Device     string
	Account    string // whose mailbox sends it
	From       mail.Address
	To         []mail.Address
	Senders    []mail.Address // that From may name; nil: it is not looked at
	Rewrite    bool           // put the sender into From where another stands, rather than refuse
	EightBit   bool
	Binary     bool   // it may have binary parts (RFC 3030); they go out as base64
	UTF8       bool   // SMTPUTF8 was asked for; many programs always do, so the message keeps it only if it needs it
	RemoteAddr string // host:port or host of who handed it in; "" when that is this machine
	Via        string // the "with" of the Received header (RFC 3848); "" is ESMTPSA
	Once       *Once  // nil: it comes in as often as it is handed in

	Notice  mail.Notice            // RET and ENVID (RFC 3461)
	Notices []mail.RecipientNotice // NOTIFY and ORCPT, parallel to To; nil: nothing was said
}

// Accept takes responsibility for a message: when it returns nil, the message
// is committed and will be delivered or fail visibly. It adds a Received header,
// and From, Date and Message-ID where they are missing, takes Bcc out, and makes all line
// ends CRLF.
// Only the header is held in memory.
//
// A message that cannot be taken is fault.Invalid, one that names a sender it may not
// use fault.Denied. An error of body is returned
// wrapped; everything else comes from the store.
func (r *Relay) Accept(ctx context.Context, s Submission, body io.Reader) (id string, err error) {
	if s.Account == "" || s.From.Null() || len(s.To) == 0 {
		return "", fault.New(fault.Invalid, "accept message", "account, sender and a recipient are needed")
	}
	src := &source{r: &roomy{r: body, room: r.cfg.Room}, sum: sha256.New()}
	var content io.Reader = src
	if s.Binary {
		content = newTextual(src)
	}
	in := r.pool.take(content)
	defer r.pool.give(in)
	br := in.lines
	h, err := scanHeader(br)
	if err != nil {
		return "", fmt.Errorf("accept message: %w", err)
	}
	if h.received > maxReceived {
		return "", fault.New(fault.Invalid, "accept message", "it has %d Received headers and must be going in circles", h.received)
	}
	h.fields = h.sendable()
	if h, err = s.author(h); err != nil {
		return "", err
	}
	now := r.cfg.Now()
	m := s.message(now, r.cfg.Late)
	m.UTF8 = m.UTF8 || s.UTF8 && h.utf8
	top := r.topHeaders(&m, s, h, now)
	whole := io.MultiReader(strings.NewReader(top), bytes.NewReader(h.fields), strings.NewReader("\r\n"), bytes.NewReader(h.body), br)
	if h.messageID != "" && s.Once == nil && r.cfg.Resend > 0 {
		m.Resend = &Twin{For: r.cfg.Resend, Sum: func() []byte { return s.digest(m, src.sum) }}
	}
	if err := r.cfg.Store.PutMessage(ctx, &m, whole); err != nil {
		if again, ok := errors.AsType[Again](err); ok {
			r.event(ctx, "handed in again", m, slog.String("first", again.ID))
			return again.ID, nil
		}
		if src.err != nil { // the store may not have wrapped it
			err = src.err
		}
		return "", fmt.Errorf("accept message: %w", err)
	}
	r.stats.accepted.Add(1)
	r.event(ctx, "accepted", m, slog.String("device", m.Device), slog.Int64("size", m.Size))
	r.Wake()
	return m.ID, nil
}

// intakes are buffers that messages come in through, used again and again.
type intakes struct{ idle sync.Pool }

// intake makes line ends canonical on the way in.
type intake struct {
	canonical *smtp.CanonicalReader
	lines     *bufio.Reader
}

func (p *intakes) take(r io.Reader) *intake {
	in, ok := p.idle.Get().(*intake)
	if !ok {
		in = &intake{canonical: smtp.Canonical(nil)}
		in.lines = bufio.NewReaderSize(nil, 32<<10)
	}
	in.canonical.Reset(r)
	in.lines.Reset(in.canonical)
	return in
}

// give takes an intake back that nobody reads from any more.
func (p *intakes) give(in *intake) {
	in.canonical.Reset(nil)
	p.idle.Put(in)
}

// message is what of the submission goes into the queue; a recipient named
// twice is there once.
func (s Submission) message(now time.Time, late time.Duration) Message {
	m := Message{
		ID: mail.NewID(now), Account: s.Account, Device: s.Device, From: s.From,
		EightBit: s.EightBit, State: Queued, Accepted: now, NotBefore: now, Once: s.Once, Notice: s.Notice,
	}
	seen := make(map[string]bool, len(s.To))
	for i, to := range s.To {
		if key := strings.ToLower(to.String()); !seen[key] {
			seen[key] = true
			rcpt := Recipient{Address: to, State: Waiting}
			if i < len(s.Notices) {
				rcpt.RecipientNotice = s.Notices[i]
			}
			if rcpt.Notify.Wants(mail.NotifyDelay) {
				m.TellBy = now.Add(late)
			}
			m.Recipients = append(m.Recipients, rcpt)
		}
		m.UTF8 = m.UTF8 || to.NeedsUTF8()
	}
	m.UTF8 = m.UTF8 || s.From.NeedsUTF8()
	return m
}

// topHeaders notes the identity of the message and returns the lines to put
// above its own.
func (r *Relay) topHeaders(m *Message, s Submission, h header, now time.Time) string {
	m.Subject, m.MessageID = h.subject, h.messageID
	date := now.Format("Mon, 02 Jan 2006 15:04:05 -0700")
	var b strings.Builder
	b.WriteString("Received: ")
	if from := receivedFrom(s); from != "" {
		b.WriteString("from " + from + "\r\n\t")
	}
	via := s.Via
	setDefault(&via, "ESMTPSA")
	fmt.Fprintf(&b, "by %s with %s id %s;\r\n\t%s\r\n", atom(r.cfg.Hostname), atom(via), m.ID, date)
	if !h.hasDate {
		b.WriteString("Date: " + date + "\r\n")
	}
	if !h.hasID {
		m.MessageID = mail.NewMessageID(now, m.From.Domain)
		b.WriteString("Message-ID: " + m.MessageID + "\r\n")
	}
	return b.String()
}

// receivedFrom is the clause that names the device and its address.
func receivedFrom(s Submission) string {
	host := s.RemoteAddr
	if ap, err := netip.ParseAddrPort(host); err == nil {
		host = ap.Addr().Unmap().String()
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return ""
	case addr.Is6():
		host = "IPv6:" + addr.WithZone("").String()
	}
	name := s.Device
	setDefault(&name, "unknown")
	return atom(name) + " ([" + host + "])"
}

// atom makes a configured name safe to stand in a header.
func atom(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, s)
}

// twinSum is how much of a SHA-256 is kept: enough to tell messages of some minutes
// apart, and half to write.
const twinSum = 16

// digest tells a submission from all others: who hands in, the envelope, and every
// octet, which the Message-ID is among.
func (s Submission) digest(m Message, content hash.Hash) []byte {
	whole := sha256.New()
	words := []string{s.Device, s.Account, m.From.String()}
	for _, r := range m.Recipients {
		words = append(words, r.Address.String())
	}
	for _, w := range words {
		_, _ = io.WriteString(whole, w+"\n") // none of them holds a line end
	}
	_, _ = whole.Write(content.Sum(nil))
	return whole.Sum(nil)[:twinSum]
}

// source remembers the error that ended the submission, EOF apart, and what was read.
type source struct {
	r   io.Reader
	err error
	sum hash.Hash
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	_, _ = s.sum.Write(p[:n]) // never fails
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
