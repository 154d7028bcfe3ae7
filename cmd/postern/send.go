package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/app"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
)

// sendFlags are what send was told.
type sendFlags struct {
	device, account string
	draft           api.Draft
	attach          []string
	raw, asJSON     bool
}

func newSend(c *cli) *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send --to ADDRESS...",
		Short: "Put a message into the queue and print its id",
		Long: `Reads the text from standard input, unless --text or --html is given, and puts the
message into the queue of the configured database; the server that runs there
delivers it. With --raw a whole message (MIME) is read, and goes to its To, Cc and
Bcc unless --to says otherwise.

It sends as a device may (--device, else POSTERN_SENDMAIL_DEVICE, else the device
"sendmail"), or plainly as an account's mailbox (--account).`,
		Example: "  postern send --device billing --to a@b.example --subject Invoice --text 'See below.' --attach invoice.pdf\n" +
			"  echo 'It is done.' | postern send --account scan --to boss@contoso.com --subject Backup\n" +
			"  postern send --account scan --raw < message.eml",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				id, err := c.send(cmd.Context(), a, f)
				if err != nil {
					return err
				}
				if f.asJSON {
					return writeJSON(c.stdout, map[string]string{"id": id})
				}
				_, err = fmt.Fprintln(c.stdout, id)
				return err
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.device, "device", "", "send as this device may")
	fl.StringVar(&f.account, "account", "", "send as this account's mailbox")
	fl.StringVar(&f.draft.From, "from", "", "sender, with or without a name (default: the mailbox)")
	fl.StringArrayVar(&f.draft.To, "to", nil, "recipient; may be given several times, as --cc, --bcc and --reply-to")
	fl.StringArrayVar(&f.draft.Cc, "cc", nil, "recipient of a copy")
	fl.StringArrayVar(&f.draft.Bcc, "bcc", nil, "recipient that nobody sees")
	fl.StringArrayVar(&f.draft.ReplyTo, "reply-to", nil, "where answers go")
	fl.StringVar(&f.draft.Subject, "subject", "", "subject")
	fl.StringVar(&f.draft.Text, "text", "", "the text, instead of standard input")
	fl.StringVar(&f.draft.HTML, "html", "", "the text in HTML, beside --text or instead of it")
	fl.StringArrayVar(&f.attach, "attach", nil, "file to attach; may be given several times")
	fl.BoolVar(&f.raw, "raw", false, "standard input is a whole message")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("device", "account")
	for _, composed := range []string{"subject", "text", "html", "attach", "cc", "bcc", "reply-to"} {
		cmd.MarkFlagsMutuallyExclusive("raw", composed)
	}
	return cmd
}

func (c *cli) send(ctx context.Context, a *app.App, f sendFlags) (id string, err error) {
	h := api.Handed{Via: "LOCAL"}
	if f.account != "" {
		if _, err := a.Vault.Account(ctx, f.account); err != nil {
			return "", err
		}
		h.Device = door.Device{Name: "send", Account: f.account}
	} else if h.Device, err = a.Store.Device(ctx, c.sendmailDevice(f.device)); err != nil {
		return "", hinted(err, "name one with --device, or an account with --account")
	}
	if f.raw {
		return c.sendRaw(ctx, a, h, f.draft)
	}
	if f.draft.Text == "" && f.draft.HTML == "" {
		text, err := io.ReadAll(io.LimitReader(c.stdin, longestText+1))
		switch {
		case err != nil:
			return "", fmt.Errorf("read the text: %w", err)
		case len(text) > longestText:
			return "", fault.New(fault.Invalid, "send", "the text is longer than %d MB", longestText>>20).WithHint("attach it: --attach FILE")
		}
		f.draft.Text = string(text)
	}
	for _, path := range f.attach {
		if _, err := os.Stat(path); err != nil {
			return "", fault.Wrap(fault.Invalid, "--attach", err)
		}
		f.draft.Attachments = append(f.draft.Attachments, api.Attachment{
			Name: filepath.Base(path), Open: func() (io.ReadCloser, error) { return os.Open(path) },
		})
	}
	l, err := f.draft.Letter()
	if err != nil {
		return "", err
	}
	return a.Intake().Letter(ctx, h, l)
}

// longestText is what is read of standard input as a letter's text.
const longestText = 16 << 20

func (c *cli) sendRaw(ctx context.Context, a *app.App, h api.Handed, d api.Draft) (id string, err error) {
	for _, to := range d.To {
		addr, err := mail.ParseAddress(to)
		if err != nil {
			return "", fault.Wrap(fault.Invalid, "--to", err)
		}
		h.To = append(h.To, addr)
	}
	if d.From != "" {
		if h.From, err = mail.ParseAddress(d.From); err != nil {
			return "", fault.Wrap(fault.Invalid, "--from", err)
		}
	}
	h.Body = c.stdin
	return a.Intake().Raw(ctx, h)
}

// sendmailDevice is the device that commands send as.
func (c *cli) sendmailDevice(given string) string {
	if given != "" {
		return given
	}
	if name, ok := c.getenv("POSTERN_SENDMAIL_DEVICE"); ok && name != "" {
		return name
	}
	return "sendmail"
}

// hinted gives an error that names no next step one.
func hinted(err error, format string, args ...any) error {
	if fault.HintOf(err) != "" {
		return err
	}
	var e *fault.Error
	if !errors.As(err, &e) {
		return err
	}
	marked := *e
	return marked.WithHint("%s", strings.TrimSpace(fmt.Sprintf(format, args...)))
}
