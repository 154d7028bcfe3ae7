package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
)

type sessionRow struct {
	ID       string    `json:"id"`
	Protocol string    `json:"protocol"`
	Device   string    `json:"device"`
	Account  string    `json:"account"`
	Mailbox  string    `json:"mailbox"`
	Remote   string    `json:"remote"`
	Since    time.Time `json:"since"`
	Seen     time.Time `json:"seen"`
	In       int64     `json:"octets_in"`
	Out      int64     `json:"octets_out"`
}

func newSessions(c *cli) *cobra.Command {
	return group("sessions", "Sessions: programs that read mailboxes by IMAP and POP3 now", newSessionsList(c), newSessionsEnd(c))
}

func newSessionsList(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List who reads which mailbox, from where, since when",
		Long: `Lists the sessions of all nodes, the oldest first. A new session shows after a second
or so, its figures are up to ten seconds old.`,
		Example: "  postern sessions list\n  postern sessions list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.Store.Sessions(cmd.Context())
				if err != nil {
					return err
				}
				rows := make([]sessionRow, 0, len(all))
				for _, s := range all {
					rows = append(rows, sessionRow{s.ID, string(s.Protocol), s.Device, s.Account, s.Mailbox.String(), s.Remote, s.Since, s.Seen, s.In, s.Out})
				}
				if asJSON {
					return writeJSON(c.stdout, rows)
				}
				return table(c.stdout, "SESSION\tPROTOCOL\tDEVICE\tMAILBOX\tFROM\tSINCE\tIN\tOUT", func(line func(...string)) {
					for _, r := range rows {
						line(r.ID, r.Protocol, r.Device, r.Mailbox, r.Remote, r.Since.Local().Format(time.DateTime), fmt.Sprint(r.In), fmt.Sprint(r.Out))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newSessionsEnd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "end ID...",
		Short: "End sessions; their programs may sign in again",
		Long: `Asks the server that has a session to end it, which it does within two seconds. To
keep a program out, disable its device: that ends its sessions too.`,
		Example: "  postern sessions end 1f2e3d4c5b6a",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				for _, id := range ids {
					if err := a.EndSession(cmd.Context(), who(), id); err != nil {
						return err
					}
					_, _ = fmt.Fprintln(c.stdout, id, "ends")
				}
				return nil
			})
		},
	}
}
