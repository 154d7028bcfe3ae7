package main

import (
	"errors"
	"fmt"
	"os/user"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/relay"
)

// actWords are what each action is called.
func actWords(act relay.Action) (short, done string) {
	switch act {
	case relay.Retry:
		return "Try messages again now, failed ones included", "due now"
	case relay.Hold:
		return "Keep waiting messages back until they are released", "held"
	case relay.Release:
		return "Let held messages go", "released"
	default:
		return "Delete messages for good", "deleted"
	}
}

func newQueueAct(c *cli, act relay.Action) *cobra.Command {
	var all, yes bool
	var f relay.Filter
	short, done := actWords(act)
	cmd := &cobra.Command{
		Use:     string(act) + " ID... | --all",
		Short:   short,
		Example: fmt.Sprintf("  postern queue %[1]s ID\n  postern queue %[1]s --all --account scan --text invoice", act),
		RunE: func(cmd *cobra.Command, ids []string) error {
			narrowed := f != (relay.Filter{})
			switch {
			case all == (len(ids) > 0):
				return fault.New(fault.Invalid, "queue "+string(act), "give ids, or --all with what to choose").WithHint("%s --help", cmd.CommandPath())
			case act == relay.Delete && all && !narrowed && !yes:
				return fault.New(fault.Invalid, "queue delete", "this would delete the whole queue for good").WithHint("choose with --state, --account, --device or --text, or say --yes")
			case narrowed && !all:
				return fault.New(fault.Invalid, "queue "+string(act), "a choice needs --all").WithHint("%s --help", cmd.CommandPath())
			}
			if err := checkState(f.State); err != nil {
				return err
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				if all {
					return c.actOnAll(cmd, a, act, f, done)
				}
				for _, id := range ids {
					if err := a.Operator().Do(cmd.Context(), who(), act, id); err != nil {
						return err
					}
					_, _ = fmt.Fprintln(c.stdout, id, done)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every message that the other flags choose")
	if act == relay.Delete {
		cmd.Flags().BoolVar(&yes, "yes", false, "really everything, with --all alone")
	}
	narrow(cmd.Flags(), &f)
	return cmd
}

// actOnAll acts on many and says how many; one that cannot be changed is passed over.
func (c *cli) actOnAll(cmd *cobra.Command, a *app.App, act relay.Action, f relay.Filter, done string) error {
	bar := newProgress(c.stderr)
	sum, err := a.Operator().DoAll(cmd.Context(), who(), act, f, func(d relay.Done) { bar.at(d.Changed + d.Skipped) })
	bar.end()
	_, werr := fmt.Fprintf(c.stdout, "%d %s, %d passed over\n", sum.Changed, done, sum.Skipped)
	if sum.First != nil {
		_, _ = fmt.Fprintln(c.stderr, "note: the first that was passed over:", sum.First)
	}
	return errors.Join(err, werr)
}

// who is named in the audit log for what is done on the command line.
func who() string {
	u, err := user.Current()
	if err != nil {
		return "cli"
	}
	return "cli:" + u.Username
}
