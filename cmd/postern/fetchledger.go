package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
)

func newFetchLedger(c *cli) *cobra.Command {
	var asJSON bool
	f := fetch.Filter{}
	cmd := &cobra.Command{
		Use:     "ledger TASK",
		Short:   "List what became of each message, newest first",
		Example: "  postern fetch ledger invoices --state failed,parked\n  postern fetch ledger show invoices --uid 17",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.entries(cmd, name[0], f, func(entries []fetch.Entry) error {
				if asJSON {
					return writeJSON(c.stdout, some(entries))
				}
				if n := len(entries); n == f.Limit {
					defer func() { _, _ = fmt.Fprintf(c.stderr, "older ones: --after %s\n", entries[n-1].Mark()) }()
				}
				return table(c.stdout, "FOLDER\tUID\tSTATE\tFILES\tTRIES\tUPDATED\tSUBJECT\tREASON", func(line func(...string)) {
					for _, e := range entries {
						line(e.Folder, e.UID, string(e.State), fmt.Sprint(len(e.Files)), fmt.Sprint(e.Attempts), when(e.Updated), e.Subject, e.Reason)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVar(&f.Limit, "limit", 50, "at most so many")
	cmd.Flags().StringVar(&f.After, "after", "", "go on after this place (paging)")
	chooseEntries(cmd.Flags(), &f)
	cmd.AddCommand(newLedgerShow(c), newLedgerAct(c, fetch.Reprocess), newLedgerAct(c, fetch.Reset))
	return cmd
}

// stateList reads states, with commas between them.
type stateList struct{ to *[]fetch.EntryState }

// String is for pflag.
func (l stateList) String() string { return "" }

// Type is for pflag.
func (l stateList) Type() string { return "states" }

// Set is for pflag.
func (l stateList) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		state := fetch.EntryState(strings.TrimSpace(word))
		if !slices.Contains(fetch.States(), state) {
			return fmt.Errorf("%q is not known; allowed: %s", word, stateWords())
		}
		*l.to = append(*l.to, state)
	}
	return nil
}

func stateWords() string {
	var words []string
	for _, s := range fetch.States() {
		words = append(words, string(s))
	}
	return strings.Join(words, ", ")
}

func chooseEntries(flags *pflag.FlagSet, f *fetch.Filter) {
	flags.Var(stateList{&f.States}, "state", "only these: "+stateWords())
	flags.StringVar(&f.UID, "uid", "", "only this message")
	flags.StringVar(&f.Folder, "folder", "", "only this folder")
	flags.StringVar(&f.Text, "text", "", "only where this stands in sender, subject, Message-ID or a file's name")
	flags.StringVar(&f.Run, "run", "", "only what this run did last")
}

func (c *cli) entries(cmd *cobra.Command, task string, f fetch.Filter, show func([]fetch.Entry) error) error {
	f.Task = task
	return c.with(cmd.Context(), func(a *app.App) error {
		if _, err := a.Store.Task(cmd.Context(), task); err != nil {
			return err
		}
		entries, err := a.Store.Entries(cmd.Context(), f)
		if err != nil {
			return err
		}
		return show(entries)
	})
}

func newLedgerShow(c *cli) *cobra.Command {
	var asJSON bool
	f := fetch.Filter{}
	cmd := &cobra.Command{
		Use:     "show TASK --uid UID",
		Short:   "Show all that is known of a message",
		Example: "  postern fetch ledger show invoices --uid 17",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			if f.UID == "" {
				return fault.New(fault.Invalid, "fetch ledger show", "which message? give --uid").WithHint("postern fetch ledger %s", name[0])
			}
			return c.entries(cmd, name[0], f, func(entries []fetch.Entry) error {
				if len(entries) == 0 {
					return fault.New(fault.NotFound, "fetch ledger show", "task %q knows no such message", name[0]).WithHint("postern fetch ledger %s", name[0])
				}
				if asJSON {
					return writeJSON(c.stdout, entries)
				}
				for _, e := range entries {
					if err := showEntry(c.stdout, e); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	chooseEntries(cmd.Flags(), &f)
	return cmd
}

func showEntry(w io.Writer, e fetch.Entry) error {
	var b strings.Builder
	row := func(k, v string) {
		if v != "" && v != "-" && v != "0" {
			fmt.Fprintf(&b, "%-12s %s\n", k, v)
		}
	}
	row("state", string(e.State))
	row("why", e.Reason)
	row("folder", e.Folder)
	row("uid", fmt.Sprintf("%s (of UIDVALIDITY %d)", e.UID, e.UIDValidity))
	row("message-id", e.MessageID)
	row("from", e.From)
	row("subject", e.Subject)
	row("arrived", when(e.Arrived))
	row("size", fmt.Sprint(e.Size))
	row("sha256", e.Digest)
	row("rule", e.Rule)
	row("tries", fmt.Sprint(e.Attempts))
	row("taken again", fmt.Sprint(e.Again))
	row("run", e.Run)
	row("updated", when(e.Updated))
	row("receipt", e.Receipt)
	for _, f := range e.Files {
		note := ""
		if f.Dropped {
			note = "  dropped: a file of that name was there"
		}
		row("file", fmt.Sprintf("%s  %d bytes  %s%s", f.Name, f.Size, f.SHA256, note))
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

func newLedgerAct(c *cli, act fetch.LedgerAction) *cobra.Command {
	var all bool
	f := fetch.Filter{}
	short, done := "Have messages taken and handed over again by the next run", "to be taken again"
	if act == fetch.Reset {
		short, done = "Forget messages: the next run looks at them as if they were new", "forgotten"
	}
	cmd := &cobra.Command{
		Use:     string(act) + " TASK",
		Short:   short,
		Example: fmt.Sprintf("  postern fetch ledger %[1]s invoices --uid 17\n  postern fetch ledger %[1]s invoices --state parked\n  postern fetch ledger %[1]s invoices --all", act),
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			if all == f.Chosen() {
				return fault.New(fault.Invalid, "fetch ledger "+string(act), "say which messages, or --all").WithHint("%s --help", cmd.CommandPath())
			}
			f.Task = name[0]
			return c.with(cmd.Context(), func(a *app.App) error {
				n, err := a.FetchOperator().Do(cmd.Context(), who(), act, f, nil)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.stdout, "%s %s\n", mail.Count(n, "message"), done)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every message of the task")
	chooseEntries(cmd.Flags(), &f)
	return cmd
}
