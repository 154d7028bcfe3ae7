package exchange

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	"postern/internal/sasl"
)

// imapFront speaks IMAP up to the sign-in, where Exchange's words matter most,
// then hands the connection to go-imap's server behind an [imapGate].
type imapFront struct {
	*Servers
	w *wire

	mailbox   string
	token     string
	connected bool // false behind a sign-in that opens no mailbox
}

// maxIMAPLine is Exchange Server's default command size; a longer one is refused
// with Command Error. 10, as Exchange Online does somewhere below 40 kB.
const maxIMAPLine = 10240

func (s *Servers) serveIMAP(ctx context.Context, c net.Conn) {
	f := &imapFront{Servers: s, w: newWire(c)}
	s.world.Bump("imap_session")
	err := f.run(ctx)
	if err == nil && f.connected {
		s.imap.take(newIMAPGate(ctx, f))
		return
	}
	if err != nil && !errors.Is(err, errHangUp) {
		s.cfg.Log.DebugContext(ctx, "session ended", "service", "imap", "err", err)
	}
}

// run returns nil when a mailbox is open.
func (f *imapFront) run(ctx context.Context) error {
	if err := f.answer(ctx, "greeting", "", "*", func() string { return imapGreeting }); err != nil {
		return err
	}
	for !f.connected {
		line, err := f.line()
		if err != nil {
			return err
		}
		tag, name, args := imapWords(line)
		if err := f.command(ctx, tag, name, args); err != nil {
			return err
		}
	}
	return nil
}

func (f *imapFront) answer(ctx context.Context, stage, mailbox, tag string, work func() string) error {
	text, err := f.step(ctx, f.w, place{"imap", stage, mailbox}, work)
	if err != nil {
		return err
	}
	return f.w.say(imapTagged(tag, text))
}

// line reads a command with its literals put in line; before the sign-in they
// can only be the arguments of LOGIN.
func (f *imapFront) line() (string, error) {
	var whole strings.Builder
	for {
		raw, err := f.w.rawLine(maxLine)
		if errors.Is(err, errTooLong) {
			return string(raw), nil // no command that is served is so long
		}
		if err != nil {
			return "", err
		}
		text := strings.TrimRight(string(raw), "\r\n")
		n, sync, ok := imapLiteral(text)
		if !ok || whole.Len()+int(n) > maxLine {
			return whole.String() + text, nil
		}
		whole.WriteString(text[:strings.LastIndexByte(text, '{')])
		if sync {
			if err := f.w.say("+ Ready for additional command text."); err != nil {
				return "", err
			}
		}
		literal := content{}
		if err := f.w.counted(&literal, n, 0); err != nil {
			return "", err
		}
		whole.Write(literal.raw)
	}
}

// imapWords takes a command line apart; the UID of "UID FETCH" is dropped.
func imapWords(line string) (tag, name, args string) {
	tag, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	name, args, _ = strings.Cut(rest, " ")
	if strings.EqualFold(name, "UID") {
		name, args, _ = strings.Cut(args, " ")
	}
	if tag == "" || strings.ContainsAny(tag, "+*(){}%\"\\") {
		return "*", "", ""
	}
	return tag, strings.ToUpper(name), args
}

// imapLiteral reads the announcement {123} or {123+} at the end of a line.
func imapLiteral(line string) (n int64, sync, ok bool) {
	open := strings.LastIndexByte(line, '{')
	if open < 0 || !strings.HasSuffix(line, "}") {
		return 0, false, false
	}
	digits, plus := strings.CutSuffix(line[open+1:len(line)-1], "+")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, !plus, err == nil && n >= 0 && digits[0] != '+'
}

func (f *imapFront) command(ctx context.Context, tag, name, args string) error {
	switch name {
	case "CAPABILITY":
		return f.answer(ctx, "capability", f.mailbox, tag, func() string { return imapCapBefore + "\n" + tag + " " + imapCapOK })
	case "NOOP":
		return f.answer(ctx, "noop", f.mailbox, tag, func() string { return imapNoopOK })
	case "ID":
		return f.answer(ctx, "id", f.mailbox, tag, func() string { return imapID + "\n" + tag + " " + imapIDOK })
	case "LOGOUT":
		if err := f.w.say(imapByeLogout + "\n" + tag + " " + imapLogoutOK); err != nil {
			return err
		}
		return errHangUp
	}
	switch {
	case f.mailbox != "": // signed in to nothing
		if err := f.w.say(tag + " " + imapNotConnected + "\n" + imapByeClosed); err != nil {
			return err
		}
		return errHangUp
	case name == "LOGIN":
		return f.answer(ctx, "auth", "", tag, func() string { return imapLoginRefused })
	case name == "AUTHENTICATE":
		return f.authenticate(ctx, tag, args)
	case imapStage(name) != "":
		return f.w.say(tag + " " + imapStateError)
	}
	return f.w.say(imapTagged(tag, imapCommandError))
}

// authenticate takes XOAUTH2 on one line (RFC 4959) or two. PLAIN is offered, as
// Exchange offers it, and always refused.
func (f *imapFront) authenticate(ctx context.Context, tag, args string) error {
	mech, response, oneLine := strings.Cut(args, " ")
	if !oneLine {
		if err := f.w.say(imapContinue); err != nil {
			return err
		}
		var err error
		if response, err = f.w.line(); err != nil {
			return err
		}
	}
	c := presented(response)
	return f.answer(ctx, "auth", c.user, tag, func() string {
		if !strings.EqualFold(mech, sasl.XOAUTH2) {
			return imapAuthRefused
		}
		switch f.judge(reading(), c) {
		case welcome:
			f.connected = true
		case noRights, noMailbox: // known only when the first real command comes
		default:
			return imapAuthRefused
		}
		f.mailbox, f.token = c.user, c.token.Reveal()
		return imapWelcome
	})
}

// imapStage names the stage of a command for faults, "" for an unknown command.
func imapStage(name string) string {
	switch name {
	case "SELECT", "EXAMINE":
		return "select"
	case "FETCH", "STORE", "SEARCH", "COPY", "MOVE", "EXPUNGE", "IDLE", "APPEND", "LIST", "LSUB", "STATUS", "NOOP", "CHECK",
		"CLOSE", "UNSELECT", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "NAMESPACE", "LOGOUT", "CAPABILITY", "ID":
		return strings.ToLower(name)
	}
	return ""
}
