package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/relay"
)

func newQueue(c *cli) *cobra.Command {
	return group("queue", "The durable queue of outgoing mail",
		newQueueList(c), newQueueShow(c), newQueueDownload(c),
		newQueueAct(c, relay.Retry), newQueueAct(c, relay.Hold), newQueueAct(c, relay.Release), newQueueAct(c, relay.Delete))
}

func newQueueList(c *cli) *cobra.Command {
	var asJSON bool
	var f relay.Filter
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List messages, oldest first, with why each one waits and until when",
		Example: "  postern queue list --state failed\n  postern queue list --account scan --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkState(f.State); err != nil {
				return err
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				msgs, err := a.Store.Messages(cmd.Context(), f)
				if err == nil {
					err = a.SayWhy(cmd.Context(), msgs)
				}
				if err != nil {
					return err
				}
				if asJSON {
					if msgs == nil {
						msgs = []relay.Message{}
					}
					return writeJSON(c.stdout, msgs)
				}
				if err := sayPretending(cmd.Context(), c, a); err != nil {
					return err
				}
				return c.messageTable(msgs)
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	narrow(fl, &f)
	fl.StringVar(&f.After, "after", "", "only messages after this id (paging)")
	fl.IntVar(&f.Limit, "limit", 100, "at most so many")
	return cmd
}

func (c *cli) messageTable(msgs []relay.Message) error {
	return table(c.stdout, "ID\tACCOUNT\tSTATE\tTRIES\tNEXT\tFROM\tTO\tWHY", func(line func(...string)) {
		for _, m := range msgs {
			line(m.ID, m.Account, string(m.State), fmt.Sprint(m.Attempts), next(m), m.From.String(), recipients(m), m.Reason)
		}
	})
}

// mailq shows what has not gone yet, in the words that scripts look for when there is
// nothing.
func (c *cli) mailq(ctx context.Context, a *app.App) error {
	var waiting []relay.Message
	for _, s := range []relay.State{relay.Queued, relay.Delivering, relay.Held} {
		some, err := a.Store.Messages(ctx, relay.Filter{State: s, Limit: mailqMost - len(waiting)})
		if err != nil {
			return err
		}
		if waiting = append(waiting, some...); len(waiting) >= mailqMost {
			break
		}
	}
	if len(waiting) == 0 {
		_, err := fmt.Fprintln(c.stdout, "Mail queue is empty")
		return err
	}
	if err := a.SayWhy(ctx, waiting); err != nil {
		return err
	}
	if err := c.messageTable(waiting); err != nil || len(waiting) < mailqMost {
		return err
	}
	_, err := fmt.Fprintf(c.stderr, "postern: these are the first %d; postern queue list shows others\n", mailqMost)
	return err
}

// mailqMost bounds what mailq prints: it has no options to narrow it down.
const mailqMost = 1000

// narrow adds the flags that choose among messages.
func narrow(fl *pflag.FlagSet, f *relay.Filter) {
	fl.StringVar(&f.Account, "account", "", "only this account")
	fl.StringVar(&f.Device, "device", "", "only this device")
	fl.StringVar((*string)(&f.State), "state", "", "only "+states)
	fl.StringVar(&f.Text, "text", "", "only where this stands in an address, the subject, the Message-ID or the id")
}

const states = "queued, held, delivering, delivered, failed or simulated"

func checkState(s relay.State) error {
	switch s {
	case "", relay.Queued, relay.Held, relay.Delivering, relay.Delivered, relay.Failed, relay.Simulated:
		return nil
	}
	return fault.New(fault.Invalid, "queue", "--state %q is not known; allowed: %s", s, states)
}

func next(m relay.Message) string {
	if m.State != relay.Queued || m.NotBefore.IsZero() { // somebody must act first
		return "-"
	}
	if !m.NotBefore.After(time.Now()) {
		return "now"
	}
	return when(m.NotBefore)
}

func recipients(m relay.Message) string {
	if len(m.Recipients) == 0 {
		return "-"
	}
	s := m.Recipients[0].Address.String()
	if n := len(m.Recipients) - 1; n > 0 {
		s += fmt.Sprintf(" +%d", n)
	}
	return s
}

func newQueueShow(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one message: recipients, tries, the server's words, its transport, its header",
		Example: "  postern queue show ID --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, id []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				m, err := a.Store.Message(cmd.Context(), id[0])
				shown := []relay.Message{m}
				if err == nil {
					err = a.SayWhy(cmd.Context(), shown)
				}
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.stdout, shown[0])
				}
				if err := sayPretending(cmd.Context(), c, a); err != nil {
					return err
				}
				if err := showMessage(c.stdout, shown[0]); err != nil {
					return err
				}
				return c.showHeader(cmd.Context(), a, id[0])
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showMessage(w io.Writer, m relay.Message) error {
	var b strings.Builder
	row := func(k, v string) {
		if v != "" && v != "-" {
			fmt.Fprintf(&b, "%-12s %s\n", k, v)
		}
	}
	row("id", m.ID)
	row("state", string(m.State))
	row("account", m.Account)
	row("device", m.Device)
	row("from", m.From.String())
	row("subject", m.Subject)
	row("message-id", m.MessageID)
	row("size", fmt.Sprint(m.Size))
	row("accepted", when(m.Accepted))
	row("tries", fmt.Sprint(m.Attempts))
	row("next", next(m))
	row("done", when(m.Done))
	row("reports on", m.About)
	row("sender told", string(m.Bounce))
	row(carries(m.State), string(m.Over))
	row("why", m.Reason)
	row("what to do", m.Hint)
	row("envelope id", m.Notice.EnvelopeID)
	row("returns", string(m.Notice.Return))
	for _, r := range m.Recipients {
		row("to", strings.TrimRight(fmt.Sprintf("%s  %s  %s", r.Address, r.State, r.Reply), " "))
		if r.Told {
			row("  told", "the sender, in a report")
		}
		row("  notify", r.Notify.String())
		row("  original", r.Original)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// carries names what the transport is to a message.
func carries(s relay.State) string {
	if s == relay.Delivered || s == relay.Failed {
		return "went by"
	}
	return "goes by"
}

// showHeader prints the header of a message that is kept.
func (c *cli) showHeader(ctx context.Context, a *app.App, id string) error {
	header, err := a.Relay.Header(ctx, id)
	if errors.Is(err, fault.NotFound) { // it is dropped when it is delivered
		return nil
	}
	if err == nil {
		_, err = fmt.Fprintf(c.stdout, "\n%s", printable(header))
	}
	return err
}

// printable takes what steers a terminal out of a stranger's words.
func printable(header []byte) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return -1
		case r != '\n' && r != '\t' && unicode.IsControl(r):
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(string(header), "\uFFFD"))
}

func newQueueDownload(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "download ID",
		Short:   "Write a kept message (waiting or failed) to standard output",
		Example: "  postern queue download ID > message.eml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, id []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				r, err := a.Store.Body(cmd.Context(), id[0])
				if err != nil {
					return err
				}
				defer r.Close()
				_, err = io.Copy(c.stdout, r)
				return err
			})
		},
	}
}
