package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fetch"
)

func newFetch(c *cli) *cobra.Command {
	return group("fetch", "Tasks that take attachments out of mailboxes",
		newFetchList(c), newFetchRun(c), newFetchPreview(c), newFetchStop(c), newFetchRuns(c), newFetchLog(c), newFetchLedger(c))
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
					return writeJSON(c.stdout, some(tasks))
				}
				return table(c.stdout, "TASK\tACCOUNT\tFROM\tINTO\tWHEN\tDISABLED", func(line func(...string)) {
					for _, t := range tasks {
						line(t.Name, t.Account, t.Where(), t.Handover.Into(), t.Schedule.When(), fmt.Sprint(t.Disabled))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// some is a list that JSON shows as [] when it is empty.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func newFetchRun(c *cli) *cobra.Command {
	var asJSON, dry bool
	cmd := &cobra.Command{
		Use:     "run TASK",
		Short:   "Run a task now (--dry-run: say what would be saved, touch nothing)",
		Long:    "Run a task now, whether or not it is due or disabled. Ctrl-C ends the run in order: what it promised is finished by the next.",
		Example: "  postern fetch run invoices --dry-run\n  postern fetch run invoices",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				return c.runTask(cmd.Context(), a, name[0], fetch.Options{DryRun: dry}, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "touch neither mailbox, ledger nor disk")
	return cmd
}

func (c *cli) runTask(ctx context.Context, a *app.App, name string, opts fetch.Options, asJSON bool) error {
	// One group is read while the one before is committed, and a third processor would only
	// look for work that is not there. The server, which has many tasks, keeps them all.
	const useful = 2
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(min(useful, runtime.GOMAXPROCS(0))))
	bar, out := newProgress(c.stderr), &lines{w: bufio.NewWriter(c.stdout)}
	opts.Progress = func(e fetch.Event) {
		if !asJSON && e.State != fetch.NoMatch {
			bar.end()
			showEvent(out.w, e, opts.DryRun)
			out.pace()
		}
		bar.of(e.Run.Looked, e.Run.Total)
	}
	run, err := a.Fetch.RunTask(ctx, name, opts)
	bar.end()
	_ = out.w.Flush() // whoever reads them has gone
	if asJSON {
		return errors.Join(writeJSON(c.stdout, run), err)
	}
	if err == nil {
		_, err = fmt.Fprintf(c.stdout, "%d looked at, %d taken, %d files, %d failed\n", run.Looked, run.Saved, run.Files, run.Failed)
		if run.Stopped != "" {
			_, _ = fmt.Fprintln(c.stderr, "stopped by", run.Stopped)
		}
	}
	return err
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

func newFetchPreview(c *cli) *cobra.Command {
	var messages int
	cmd := &cobra.Command{
		Use:   "preview TASK",
		Short: "Show what the newest messages would become: matches, names, paths",
		Long: "Show what the newest messages would become, those that were dealt with before included.\n" +
			"Touches neither mailbox, ledger nor disk.",
		Example: "  postern fetch preview invoices --messages 10",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				task, err := a.Store.Task(cmd.Context(), name[0])
				if err != nil {
					return err
				}
				sample, err := task.SamplePath()
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintln(c.stdout, "a file would be called, for instance:", sample)
				opts := fetch.Options{DryRun: true, Everything: true, Messages: messages}
				opts.Progress = func(e fetch.Event) { showEvent(c.stdout, e, true) }
				_, err = a.Fetch.RunTask(cmd.Context(), name[0], opts)
				return err
			})
		},
	}
	cmd.Flags().IntVar(&messages, "messages", 5, "so many, the newest first")
	return cmd
}

func newFetchStop(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "stop TASK",
		Short:   "Stop the run of a task, on whatever node it is; what it promised is finished by the next",
		Example: "  postern fetch stop invoices",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				if err := a.FetchOperator().Stop(cmd.Context(), who(), name[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.stdout, name[0], "is told to stop")
				return err
			})
		},
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
					return writeJSON(c.stdout, some(runs))
				}
				return table(c.stdout, "RUN\tSTARTED\tTOOK\tLOOKED\tTAKEN\tFILES\tFAILED\tERROR", func(line func(...string)) {
					for _, r := range runs {
						line(r.ID, when(r.Started), took(r), fmt.Sprint(r.Looked), fmt.Sprint(r.Saved), fmt.Sprint(r.Files), fmt.Sprint(r.Failed), r.Error)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	return cmd
}

func took(r fetch.Run) string {
	switch {
	case r.Ended.IsZero():
		return "running or cut off"
	case r.Stopped != "":
		return "stopped"
	}
	return r.Ended.Sub(r.Started).String()
}

func newFetchLog(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "log TASK [RUN]",
		Short:   "Show what a run did, line by line; the last run without RUN",
		Example: "  postern fetch log invoices",
		Args:    args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, words []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				lines, err := a.FetchOperator().Log(cmd.Context(), words[0], strings.Join(words[1:], ""))
				if err != nil {
					return err
				}
				for _, l := range lines {
					if _, err := fmt.Fprintln(c.stdout, when(l.At), l.Text); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
