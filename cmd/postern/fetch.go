package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fetch"
)

func newFetch(c *cli) *cobra.Command {
	return group("fetch", "Tasks that take attachments out of mailboxes",
		newFetchList(c), newFetchRun(c), newFetchRuns(c), newFetchLedger(c))
}

func newFetchList(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tasks",
		Example: "  postern fetch list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				tasks, err := a.Store.Tasks(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					if tasks == nil {
						tasks = []fetch.Task{}
					}
					return writeJSON(c.stdout, tasks)
				}
				return table(c.stdout, "TASK\tACCOUNT\tFOLDER\tINTO\tEVERY\tDISABLED", func(line func(...string)) {
					for _, t := range tasks {
						line(t.Name, t.Account, t.Folder, t.Directory, t.Every.String(), fmt.Sprint(t.Disabled))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newFetchRun(c *cli) *cobra.Command {
	var asJSON, dry bool
	cmd := &cobra.Command{
		Use:     "run TASK",
		Short:   "Run a task now (--dry-run: say what would be saved, touch nothing)",
		Example: "  postern fetch run invoices --dry-run\n  postern fetch run invoices",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				opts := fetch.Options{DryRun: dry}
				if !asJSON {
					opts.Progress = func(e fetch.Event) { showEvent(c.stdout, e, dry) }
				}
				run, err := a.Fetch.RunTask(cmd.Context(), name[0], opts)
				if asJSON {
					if werr := writeJSON(c.stdout, run); werr != nil {
						return werr
					}
					return err
				}
				if err == nil {
					_, err = fmt.Fprintf(c.stdout, "%d looked at, %d taken, %d files, %d failed\n", run.Looked, run.Saved, run.Files, run.Failed)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "touch neither mailbox, ledger nor disk")
	return cmd
}

// showEvent is one line a message, and one for each of its files.
func showEvent(w io.Writer, e fetch.Event, dry bool) {
	verb := string(e.State)
	if dry {
		verb = "would be " + verb
	}
	line := fmt.Sprintf("uid %s  %s  %s", e.UID, verb, e.Subject)
	if e.Reason != "" {
		line += "  (" + e.Reason + ")"
	}
	_, _ = fmt.Fprintln(w, line)
	for _, f := range e.Files {
		_, _ = fmt.Fprintf(w, "    %s  %d bytes  %s\n", f.Name, f.Size, f.ContentType)
	}
}

func newFetchRuns(c *cli) *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:     "runs TASK",
		Short:   "List a task's last runs, newest first",
		Example: "  postern fetch runs invoices",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				if _, err := a.Store.Task(cmd.Context(), name[0]); err != nil {
					return err
				}
				runs, err := a.Store.Runs(cmd.Context(), name[0], limit)
				if err != nil {
					return err
				}
				if asJSON {
					if runs == nil {
						runs = []fetch.Run{}
					}
					return writeJSON(c.stdout, runs)
				}
				return table(c.stdout, "STARTED\tLOOKED\tTAKEN\tFILES\tFAILED\tERROR", func(line func(...string)) {
					for _, r := range runs {
						line(when(r.Started), fmt.Sprint(r.Looked), fmt.Sprint(r.Saved), fmt.Sprint(r.Files), fmt.Sprint(r.Failed), r.Error)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	return cmd
}

func newFetchLedger(c *cli) *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:     "ledger TASK",
		Short:   "List what became of each message, newest first",
		Example: "  postern fetch ledger invoices --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				if _, err := a.Store.Task(cmd.Context(), name[0]); err != nil {
					return err
				}
				entries, err := a.Store.Entries(cmd.Context(), name[0], limit)
				if err != nil {
					return err
				}
				if asJSON {
					if entries == nil {
						entries = []fetch.Entry{}
					}
					return writeJSON(c.stdout, entries)
				}
				return table(c.stdout, "FOLDER\tUID\tSTATE\tFILES\tTRIES\tUPDATED\tREASON", func(line func(...string)) {
					for _, e := range entries {
						line(e.Folder, e.UID, string(e.State), fmt.Sprint(len(e.Files)), fmt.Sprint(e.Attempts), when(e.Updated), e.Reason)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	return cmd
}
