package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

// The exit codes of sysexits.h that programs know from sendmail. EX_TEMPFAIL (75) is not
// among them: sendmail says so of a message that it has kept, and PHP's mail() means to
// take it for success. What was not kept is EX_OSERR, after which mailers try again too.
const (
	exSyntax = 64 // EX_USAGE
	exData   = 65 // EX_DATAERR
	exOSErr  = 71 // EX_OSERR: not taken now, try again
	exNoPerm = 77 // EX_NOPERM
	exConfig = 78 // EX_CONFIG
)

// sysexit is an error that says how the process ends.
type sysexit struct {
	code int
	err  error
}

func (e *sysexit) Error() string { return e.err.Error() }
func (e *sysexit) Unwrap() error { return e.err }

// calledAs are the arguments that stand for the name under which the binary was started:
// nil for its own.
func calledAs(argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	switch strings.TrimSuffix(filepath.Base(argv[0]), ".exe") {
	case "sendmail":
		return []string{"sendmail"}
	case "mailq":
		return []string{"sendmail", "-bp"}
	case "newaliases":
		return []string{"sendmail", "-bi"}
	}
	return nil
}

func newSendmail(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "sendmail [-t] [-i] [-f SENDER] [-F NAME] [RECIPIENT...]",
		Short: "Take a message as sendmail does; link the binary as /usr/sbin/sendmail, mailq and newaliases",
		Long: `Reads a message from standard input and puts it into the queue. It sends as the
device named by --device, else POSTERN_SENDMAIL_DEVICE, else as the device "sendmail".

  -t          the recipients stand in To, Cc and Bcc, beside those given
  -i, -oi     a line with a dot alone does not end the message
  -f, -r      the sender
  -F          the sender's name, where the message has no From
  -B TYPE     7BIT or 8BITMIME
  -bm         take a message (the default)
  -bs         speak SMTP over standard input and output
  -bp         show what waits, as mailq does
  -bi         nothing, as there are no aliases to build; newaliases asks for it
  -N, -R, -V  taken, without effect: failures are always reported to the sender
  -o, -O, -e, -h, -L, -m, -n, -v, -G, -U  taken, without effect

Exit codes are those of sysexits.h: 64 bad usage, 65 bad message, 71 try again,
77 a sender that the device may not use, 78 no such device.`,
		Example:            "  postern sendmail -t -i < message.eml\n  printf 'Subject: done\\n\\nIt is.\\n' | postern sendmail boss@contoso.com",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, argv []string) error {
			p, err := c.parseSendmail(argv)
			if err != nil {
				return err
			}
			switch {
			case p.help:
				return cmd.Help()
			case p.mode == 'i':
				_, err := fmt.Fprintln(c.stderr, "postern: there are no aliases here; names without a domain get the mailbox's")
				return err
			}
			a, err := c.open(cmd.Context())
			if err != nil {
				return sysexits(err, exConfig)
			}
			switch p.mode {
			case 'p':
				err = c.mailq(cmd.Context(), a)
			case 's':
				err = c.speak(cmd.Context(), a, p.device)
			default:
				err = c.sendmail(cmd.Context(), a, p)
			}
			return sysexits(errors.Join(err, a.Close()), exData)
		},
	}
}

// sysexits gives an error the exit code that mail programs branch on. What nobody has
// classified may pass by itself: a mailer that keeps the message is the safe end.
// invalid is the code for what somebody gave wrongly.
func sysexits(err error, invalid int) error {
	var done *sysexit
	if err == nil || errors.As(err, &done) {
		return err
	}
	code := exOSErr
	switch fault.KindOf(err) {
	case fault.Invalid:
		code = invalid
	case fault.Denied:
		code = exNoPerm
	case fault.NotFound, fault.NeedsAdmin:
		code = exConfig
	}
	return &sysexit{code, err}
}

// sendmailArgs are the arguments as sendmail understands them.
type sendmailArgs struct {
	from, name, device string
	recipients         []string
	fromHeader, dots   bool // -t, and whether a lone dot is text
	mode               byte // of -b; 0 is a message
	help               bool
}

// Options with a value, which may follow at once or as the next argument; and those
// whose value always follows at once.
const (
	withValue  = "BCFfrhLNOpRVX"
	withSuffix = "Abdeoq"
)

func (c *cli) parseSendmail(argv []string) (p sendmailArgs, err error) {
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		switch {
		case arg == "--":
			p.recipients = append(p.recipients, argv[i+1:]...)
			return p, nil
		case strings.HasPrefix(arg, "--"):
			name, value, given := strings.Cut(arg[2:], "=")
			if name == "help" {
				p.help = true
				continue
			}
			if !given {
				if i++; i >= len(argv) {
					return p, usage("%s needs a value", arg)
				}
				value = argv[i]
			}
			if err := c.longOption(&p, name, value); err != nil {
				return p, err
			}
		case len(arg) > 1 && arg[0] == '-':
			used, err := p.short(arg[1:], argv[i+1:])
			if err != nil {
				return p, err
			}
			i += used
		default:
			p.recipients = append(p.recipients, arg)
		}
	}
	return p, nil
}

// longOption is one of ours: the device, or a setting that every command takes.
func (c *cli) longOption(p *sendmailArgs, name, value string) error {
	if name == "device" {
		p.device = value
		return nil
	}
	if c.root.PersistentFlags().Lookup(name) == nil {
		return usage("unknown option --%s", name)
	}
	if err := c.root.PersistentFlags().Set(name, value); err != nil {
		return usage("--%s: %w", name, err)
	}
	return nil
}

// short reads a cluster of one-letter options and says how many of the arguments
// behind it were their values.
func (p *sendmailArgs) short(cluster string, rest []string) (used int, err error) {
	for i := 0; i < len(cluster); i++ {
		opt, value := cluster[i], cluster[i+1:]
		switch {
		case strings.IndexByte(withValue, opt) >= 0:
			if value == "" {
				if len(rest) == 0 {
					return 0, usage("-%c needs a value", opt)
				}
				value, used = rest[0], 1
			}
			return used, p.set(opt, value)
		case strings.IndexByte(withSuffix, opt) >= 0:
			return 0, p.set(opt, value)
		case opt == 't':
			p.fromHeader = true
		case opt == 'i':
			p.dots = true
		case strings.IndexByte("GmnUv", opt) < 0:
			return 0, usage("unknown option -%c", opt)
		}
	}
	return 0, nil
}

func (p *sendmailArgs) set(opt byte, value string) error {
	switch opt {
	case 'f', 'r':
		p.from = strings.Trim(value, "<>")
	case 'F':
		p.name = value
	case 'o':
		p.dots = p.dots || value == "i"
	case 'B':
		if !strings.EqualFold(value, "7BIT") && !strings.EqualFold(value, "8BITMIME") {
			return usage("-B %s: allowed are 7BIT and 8BITMIME", value)
		}
	case 'b':
		switch value {
		case "m":
		case "p", "i", "s":
			p.mode = value[0]
		default:
			return usage("-b%s is not what this command does: it takes messages (-bm, -bs) and shows what waits (-bp)", value)
		}
	case 'd', 'q', 'C', 'p', 'X':
		return usage("-%c%s is not what this command does: it takes messages (-bm); the server delivers by itself", opt, value)
	}
	return nil
}

func usage(format string, args ...any) error {
	return &sysexit{exSyntax, fault.New(fault.Invalid, "sendmail", format, args...).WithHint("postern sendmail --help")}
}

// speak is a session of SMTP with the program that has started us.
func (c *cli) speak(ctx context.Context, a *app.App, device string) error {
	return hinted(a.TalkSMTP(ctx, c.sendmailDevice(device), c.stdin, c.stdout), hintDevice)
}

const hintDevice = "declare a device of that name and apply, or name another with --device or POSTERN_SENDMAIL_DEVICE"

func (c *cli) sendmail(ctx context.Context, a *app.App, p sendmailArgs) error {
	d, err := a.Store.Device(ctx, c.sendmailDevice(p.device))
	if err != nil {
		return hinted(err, hintDevice)
	}
	account, err := a.Intake().Account(ctx, d.Account)
	if err != nil {
		return err
	}
	body := c.stdin
	if !p.dots {
		body = &dotEnded{r: bufio.NewReader(body)}
	}
	m, err := relay.ReadAddresses(body)
	if err != nil {
		return err
	}
	h := api.Handed{Device: d, Named: m.From, Body: m.Body, EightBit: true, Via: "LOCAL"}
	if h.To, err = p.to(m, account.Mailbox.Domain); err != nil {
		return err
	}
	if p.from != "" {
		if h.From, err = mail.Qualified(p.from, account.Mailbox.Domain); err != nil {
			return usage("-f: %w", err)
		}
	}
	if p.name != "" && !m.HasFrom {
		h.Body = io.MultiReader(bytes.NewReader(p.fromLine(h.From, account.Mailbox)), m.Body)
	}
	_, err = a.Intake().Accept(ctx, h)
	return err
}

// to are the recipients. Words without an @ are local names.
func (p sendmailArgs) to(m relay.Addressed, domain string) (all []mail.Address, err error) {
	for _, list := range p.recipients {
		for word := range strings.SplitSeq(list, ",") {
			a, err := mail.Qualified(strings.Trim(strings.TrimSpace(word), "<>"), domain)
			if err != nil {
				return nil, usage("recipient: %w", err)
			}
			all = append(all, a)
		}
	}
	if p.fromHeader {
		named, err := m.To(domain)
		if err != nil {
			return nil, err
		}
		all = append(all, named...)
	}
	if len(all) == 0 {
		return nil, usage("no recipient is given")
	}
	return all, nil
}

// fromLine names the sender where the message does not.
func (p sendmailArgs) fromLine(from, mailbox mail.Address) []byte {
	if from.Null() {
		from = mailbox
	}
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, p.name)
	shown := netmail.Address{Name: name, Address: from.String()}
	return fmt.Appendf(nil, "From: %s\r\n", shown.String())
}

// dotEnded ends a message at a line that is a dot, as programs that wrote to sendmail's
// standard input in the eighties end theirs.
type dotEnded struct {
	r    *bufio.Reader
	have []byte
	mid  bool // the last piece did not end its line
	err  error
}

// Read is for io.Reader.
func (d *dotEnded) Read(p []byte) (int, error) {
	for len(d.have) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		begins := !d.mid
		d.have, d.err = d.r.ReadSlice('\n')
		if errors.Is(d.err, bufio.ErrBufferFull) {
			d.err = nil
		}
		d.mid = !bytes.HasSuffix(d.have, []byte("\n"))
		if begins && string(bytes.TrimRight(d.have, "\r\n")) == "." {
			d.have, d.err = nil, io.EOF
		}
	}
	n := copy(p, d.have)
	d.have = d.have[n:]
	return n, nil
}
