package exchange

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"mime"
	"net/mail"
	"slices"
	"strconv"
	"strings"

	"postern/internal/sim365/world"
)

// begin is MAIL.
func (s *smtpSession) begin(args string) string {
	switch {
	case !s.greeted:
		return smtpHelloFirst
	case s.mailbox == "":
		return s.stamped(smtpNotSignedIn)
	case s.mail != nil:
		return smtpSenderGiven
	}
	from, params, ok := parsePath(args, "FROM:", "SIZE", "BODY", "RET", "ENVID", "AUTH", "SMTPUTF8")
	if !ok {
		return smtpArguments
	}
	if size, given := params["SIZE"]; given {
		n, err := strconv.ParseInt(size, 10, 64)
		switch {
		case err != nil || n < 0:
			return smtpArguments
		case n > s.maxSize():
			return smtpTooBig
		}
	}
	s.mail = &transaction{from: from}
	return smtpSenderOK
}

func (s *smtpSession) maxSize() int64 {
	if own := s.world.Policy(s.mailbox).Limits.MessageSize; own > 0 {
		return min(own, smtpMaxSize)
	}
	return smtpMaxSize
}

// recipient is RCPT. Recipients who do not exist are taken, as Exchange takes
// them; only its bounce, which is not simulated, would tell.
func (s *smtpSession) recipient(args string) string {
	if s.mail == nil {
		return smtpNeedMail
	}
	to, _, ok := parsePath(args, "TO:", "NOTIFY", "ORCPT")
	limit := s.world.Policy(s.mailbox).Limits.RecipientsPerMessage
	switch {
	case !ok:
		return smtpArguments
	case !strings.Contains(to, "@"):
		return smtpAddress
	case limit > 0 && len(s.mail.to) >= limit:
		return smtpTooMany
	case s.svc.name == "hve" && !s.sameTenant(to):
		return smtpExternal
	}
	s.mail.to = append(s.mail.to, to)
	return smtpRecipientOK
}

func (s *smtpSession) sameTenant(address string) bool {
	theirs, ok := s.world.TenantOf(address)
	ours, here := s.world.TenantOf(s.mailbox)
	return ok && here && theirs.ID == ours.ID
}

// parsePath takes "FROM:<a@b> KEY=value …" apart (RFC 5321 §4.1.1.2). Parameters
// other than the known ones are refused.
func parsePath(args, prefix string, known ...string) (address string, params map[string]string, ok bool) {
	if len(args) < len(prefix) || !strings.EqualFold(args[:len(prefix)], prefix) {
		return "", nil, false
	}
	rest, open := strings.CutPrefix(strings.TrimLeft(args[len(prefix):], " "), "<")
	end := closing(rest)
	if !open || end < 0 {
		return "", nil, false
	}
	address, rest = rest[:end], rest[end+1:]
	if strings.ContainsAny(address, "\r\n\x00") || rest != "" && rest[0] != ' ' {
		return "", nil, false
	}
	params = map[string]string{}
	for word := range strings.FieldsSeq(rest) {
		key, value, _ := strings.Cut(word, "=")
		key = strings.ToUpper(key)
		if !slices.Contains(known, key) {
			return "", nil, false
		}
		params[key] = value
	}
	return withoutRoute(address), params, true
}

// closing finds the bracket that ends a path; one may stand in a quoted local part.
func closing(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if quoted {
				i++
			}
		case '"':
			quoted = !quoted
		case '>':
			if !quoted {
				return i
			}
		}
	}
	return -1
}

// withoutRoute drops the obsolete "@a,@b:" before an address.
func withoutRoute(address string) string {
	if strings.HasPrefix(address, "@") {
		if _, after, found := strings.Cut(address, ":"); found {
			return after
		}
	}
	return address
}

// data is DATA up to the answer to the dot.
func (s *smtpSession) data(ctx context.Context) error {
	sent, err := s.answer(ctx, "data", func() string {
		if refusal := s.notReady(); refusal != "" {
			return refusal
		}
		if s.mail.chunked {
			return smtpBadSequence
		}
		return smtpStartInput
	})
	if err != nil || sent != smtpStartInput {
		return err
	}
	if s.mail.content, err = s.w.dotted(s.maxSize()); err != nil {
		return err
	}
	return s.finish(ctx)
}

func (s *smtpSession) notReady() string {
	switch {
	case s.mail == nil:
		return smtpNeedMail
	case len(s.mail.to) == 0:
		return smtpNeedRcpt
	}
	return ""
}

// chunk is BDAT (RFC 3030). Its octets follow at once, wanted or not.
func (s *smtpSession) chunk(ctx context.Context, args string) error {
	n, last, ok := parseChunk(args)
	if !ok {
		_, err := s.answer(ctx, "data", func() string { return smtpArguments })
		return err
	}
	refusal := s.notReady()
	if refusal != "" {
		if err := s.w.counted(&content{tooBig: true}, n, 1); err != nil {
			return err
		}
		_, err := s.answer(ctx, "data", func() string { return refusal })
		return err
	}
	s.mail.chunked = true
	if err := s.w.counted(&s.mail.content, n, s.maxSize()); err != nil {
		return err
	}
	if last {
		return s.finish(ctx)
	}
	_, err := s.answer(ctx, "data", func() string { return fmt.Sprintf("250 2.6.0 CHUNK received OK, %d octets", n) })
	return err
}

// parseChunk reads "123" or "123 LAST".
func parseChunk(args string) (n int64, last, ok bool) {
	size, rest, more := strings.Cut(args, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	last = strings.EqualFold(strings.TrimSpace(rest), "LAST")
	return n, last, err == nil && n >= 0 && n <= smtpMaxSize && last == more
}

// finish judges the message and answers. From here on a 250 may be on its way.
func (s *smtpSession) finish(ctx context.Context) error {
	t := s.mail
	s.mail = nil
	accepted := false
	_, err := s.answer(ctx, "dot", func() string {
		if refusal := s.refuse(ctx, t); refusal != "" {
			s.world.Bump(s.svc.name + "_" + refusal[:3])
			return refusal
		}
		accepted = true
		return s.accept(t)
	})
	if err == nil && accepted {
		s.answered = s.w.arrived()
	}
	return err
}

// refuse says why a message is not taken, "" when it is.
func (s *smtpSession) refuse(ctx context.Context, t *transaction) string {
	p := s.world.Policy(s.mailbox)
	if s.svc.name == "hve" { // no rates since 2025
		p.Limits.Connections, p.Limits.PerMinute, p.Limits.RecipientsPerDay = 0, 0, 0
	}
	switch other := s.foreign(t); {
	case t.content.tooBig:
		return smtpTooBig
	case t.content.bareLF && !t.chunked:
		return smtpBareLF
	case s.meter.crowded(s.mailbox, s.id, p.Limits.Connections):
		return s.named(smtpConcurrent)
	case other != "":
		return s.named(fmt.Sprintf(smtpSendAs, s.mailbox, other))
	case p.Full:
		return s.named(smtpMailboxFull)
	}
	if refusal := s.atRate(ctx, p.Limits.PerMinute); refusal != "" {
		return refusal
	}
	if !s.meter.reach(s.mailbox, len(t.to), p.Limits.RecipientsPerDay, s.world.Now()) {
		return s.named(smtpQuota)
	}
	return ""
}

// atRate holds a message back until the rate allows it, or refuses it.
func (s *smtpSession) atRate(ctx context.Context, perMinute int) string {
	for {
		wait := s.meter.slot(s.mailbox, perMinute, s.world.Now(), s.cfg.minute)
		switch {
		case wait <= 0:
			return ""
		case s.cfg.RejectOverRate:
			return s.named(smtpOverRate)
		case !pause(ctx, wait):
			return smtpShutdown
		}
	}
}

// foreign returns a sender that the mailbox may not use: MAIL FROM, then any of
// From. The null sender, and a message without From, are nobody else's.
func (s *smtpSession) foreign(t *transaction) string {
	if t.from != "" && !s.world.MaySendAs(s.mailbox, t.from) {
		return t.from
	}
	for _, from := range fromAddresses(t.content.raw) {
		if !s.world.MaySendAs(s.mailbox, from) {
			return from
		}
	}
	return ""
}

// fromAddresses reads the From fields; one that cannot be parsed stands for itself.
func fromAddresses(raw []byte) []string {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	parser := mail.AddressParser{WordDecoder: new(mime.WordDecoder)}
	var out []string
	for _, field := range m.Header["From"] {
		list, err := parser.ParseList(field)
		if err != nil {
			out = append(out, field)
		}
		for _, a := range list {
			out = append(out, a.Address)
		}
	}
	return out
}

func (s *smtpSession) accept(t *transaction) string {
	s.Send(world.Stored{Mailbox: s.mailbox, From: t.from, To: t.to, Raw: t.content.raw, Session: s.id, Via: s.svc.name}, t.content.raw)
	s.world.Bump(s.svc.name + "_message")
	return s.named(fmt.Sprintf("250 2.0.0 OK <%s@%s>", rand.Text(), s.host))
}

// named appends the server's name, as Exchange does at the end of DATA.
func (s *smtpSession) named(text string) string { return text + " [Hostname=" + s.host + "]" }
