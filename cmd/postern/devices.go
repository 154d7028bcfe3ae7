package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/door"
)

type deviceRow struct {
	Name     string    `json:"name"`
	Account  string    `json:"account"`
	Senders  []string  `json:"senders"`
	Doors    []string  `json:"doors"`
	Reads    []string  `json:"mailboxes"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

func newDevices(c *cli) *cobra.Command {
	var asJSON bool
	list := &cobra.Command{
		Use:     "list",
		Short:   "List devices: programs and machines with a local password",
		Example: "  postern devices list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.Store.Devices(cmd.Context())
				if err != nil {
					return err
				}
				rows := make([]deviceRow, 0, len(all))
				for _, d := range all {
					r := deviceRow{Name: d.Name, Account: d.Account, Senders: []string{}, Doors: d.Policy.Doors, Reads: []string{}, Disabled: d.Disabled, Created: d.Created}
					if len(r.Doors) == 0 {
						r.Doors = []string{door.DoorSMTP}
					}
					for _, box := range d.Policy.Mailboxes {
						r.Reads = append(r.Reads, box.String())
					}
					for _, s := range d.Senders {
						r.Senders = append(r.Senders, s.String())
					}
					rows = append(rows, r)
				}
				if asJSON {
					return writeJSON(c.stdout, rows)
				}
				return table(c.stdout, "DEVICE\tACCOUNT\tDOORS\tMAY ALSO SEND AS\tMAY ALSO READ\tDISABLED", func(line func(...string)) {
					for _, r := range rows {
						line(r.Name, r.Account, strings.Join(r.Doors, ","), strings.Join(r.Senders, ","), strings.Join(r.Reads, ","), fmt.Sprint(r.Disabled))
					}
				})
			})
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return group("devices", "Devices: programs that send through an account", list, newDevicesPassword(c), newDevicesDelete(c))
}
