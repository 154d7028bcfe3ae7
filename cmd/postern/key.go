package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/vault"
)

func newKey(c *cli) *cobra.Command {
	return group("key", "The keys that secrets and tokens are sealed with",
		newKeyShow(c), newKeyRotate(c), newKeyPrune(c), newKeyMove(c))
}

// keyRow is a data key as --json shows it.
type keyRow struct {
	ID      uint32 `json:"id"`
	Status  string `json:"status"`
	Primary bool   `json:"primary"`
	Secrets int    `json:"secrets"`
}

// keyList is what there is of keys, as --json shows it.
type keyList struct {
	Master string   `json:"master"`
	Source string   `json:"master_source"`
	Keys   []keyRow `json:"keys"`
	Lost   int      `json:"lost"`
}

func newKeyShow(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "List the keys by id, how many secrets each one seals, and where the master key is",
		Example: "  postern key show\n  postern key show --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				inv, err := a.Vault.Keys(cmd.Context())
				if err != nil {
					return err
				}
				all := keyList{Master: inv.Master, Source: a.MasterSource(), Keys: []keyRow{}, Lost: inv.Lost}
				for _, k := range inv.Data {
					all.Keys = append(all.Keys, keyRow(k))
				}
				if asJSON {
					return writeJSON(c.stdout, all)
				}
				return showKeys(c.stdout, all)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showKeys(w io.Writer, all keyList) error {
	err := table(w, "KEY\tSTATUS\tSEALS\tSECRETS", func(line func(...string)) {
		for _, k := range all.Keys {
			seals := "no"
			if k.Primary {
				seals = "yes"
			}
			line(fmt.Sprint(k.ID), k.Status, seals, fmt.Sprint(k.Secrets))
		}
		if all.Lost > 0 {
			line("others", "lost", "no", fmt.Sprint(all.Lost))
		}
	})
	if err == nil {
		_, err = fmt.Fprintf(w, "\nmaster: %s, from %s\n", all.Master, all.Source)
	}
	return err
}

// rotated is what a rotation did, as --json shows it.
type rotated struct {
	Primary  uint32 `json:"primary"`
	Resealed int    `json:"resealed"`
	Left     int    `json:"left"`
	Keys     int    `json:"keys"`
	Master   string `json:"master,omitempty"` // the new one, when it was replaced too
}

func newKeyRotate(c *cli) *cobra.Command {
	var asJSON, master bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make a new key and seal everything anew under it, while the gate goes on",
		Long: `Makes a new data key, lets it seal from now on, and seals every stored secret and
token anew under it. Servers that run follow by themselves; nobody signs in again.
Older keys stay until postern key prune.

--master replaces the master key in its file as well: the new key is written beside
the old one, the data keys are wrapped with it, then the old one goes. A rotation that
is cut off leaves a file that opens the database; run it again. Copy the new file to
where the old one's copy is, and to every other node.`,
		Example: "  postern key rotate\n  postern key rotate --master --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error { return c.rotateKeys(cmd.Context(), a, master, asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&master, "master", false, "replace the master key in its file, too")
	return cmd
}

func (c *cli) rotateKeys(ctx context.Context, a *app.App, master, asJSON bool) error {
	if master { // before anything is done
		if _, err := a.MasterFile(); err != nil {
			return err
		}
	}
	r, err := a.Vault.RotateKeys(ctx, c.secretsDone())
	if err != nil {
		return err
	}
	did := rotated{Primary: r.Primary, Resealed: r.Resealed, Left: r.Left, Keys: r.Keys}
	if err := a.WriteDown(ctx, who(), "rotate the keys", fmt.Sprint(r.Primary), fmt.Sprintf("sealed anew: %d", r.Resealed)); err != nil {
		return err
	}
	if master {
		if did.Master, err = c.rotateMaster(ctx, a); err != nil {
			return err
		}
	}
	if asJSON {
		return writeJSON(c.stdout, did)
	}
	_, err = fmt.Fprintf(c.stdout, "key %d seals now; sealed anew: %d, left under older keys: %d, keys: %d\n", did.Primary, did.Resealed, did.Left, did.Keys)
	if master {
		_, _ = fmt.Fprintf(c.stdout, "master: %s, in %s\n", did.Master, a.MasterSource())
	}
	_, _ = fmt.Fprintln(c.stderr, "next:    postern key prune")
	return err
}

// rotateMaster replaces the master key and returns what the new one is called.
func (c *cli) rotateMaster(ctx context.Context, a *app.App) (string, error) {
	if err := a.RotateMaster(ctx); err != nil {
		return "", err
	}
	return writeMaster(ctx, a, "replace the master key", "in "+a.MasterSource())
}

// writeMaster writes down that there is another master key, and returns what it is called.
func writeMaster(ctx context.Context, a *app.App, what, detail string) (string, error) {
	inv, err := a.Vault.Keys(ctx)
	if err != nil {
		return "", err
	}
	return inv.Master, a.WriteDown(ctx, who(), what, inv.Master, detail)
}

func newKeyPrune(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Drop the keys that seal nothing any more",
		Long: `Drops the older data keys once nothing is sealed under them. What still is, is sealed
anew first. That takes half a minute: a server in the middle of a refresh may hold a
token that is still under an older key. From then on a row copied out of an older
database opens no more; a whole older copy still does, with the master key of its day.`,
		Example: "  postern key prune",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				ctx := cmd.Context()
				r, err := a.Vault.PruneKeys(ctx, c.secretsDone())
				if err != nil {
					return err
				}
				if err := a.WriteDown(ctx, who(), "prune the keys", fmt.Sprint(r.Primary), "all others are dropped"); err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.stdout, rotated{Primary: r.Primary, Resealed: r.Resealed, Left: r.Left, Keys: r.Keys})
				}
				_, err = fmt.Fprintf(c.stdout, "key %d seals; sealed anew: %d, keys: %d\n", r.Primary, r.Resealed, r.Keys)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newKeyMove(c *cli) *cobra.Command {
	var file, address string
	cmd := &cobra.Command{
		Use:   "move --to-file FILE | --to-url ADDRESS",
		Short: "Put the keys under another master key, in a file or in a cloud key service",
		Long: `Wraps the data keys with another master key. A file that does not exist is made. Then
it prints the line for the configuration; change it before the next start, on every
node. Servers that run go on; restart them before the next rotation.`,
		Example: `  postern key move --to-file /etc/postern/master.key
  postern key move --to-url 'awskms:///alias/postern?region=eu-west-1'
  postern key move --to-url hashivault://postern`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (file == "") == (address == "") {
				return fault.New(fault.Invalid, "key move", "one of --to-file and --to-url is wanted").WithHint("%s --help", cmd.CommandPath())
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				line, err := a.MoveMaster(cmd.Context(), file, address)
				if err != nil {
					return err
				}
				if _, err := writeMaster(cmd.Context(), a, "move the keys", "from "+a.MasterSource()); err != nil {
					return err
				}
				_, err = fmt.Fprintln(c.stdout, line)
				_, _ = fmt.Fprintln(c.stderr, "next:    put this line into the configuration of every node in place of master_key_file, master_key and master_key_url, and restart")
				return err
			})
		},
	}
	cmd.Flags().StringVar(&file, "to-file", "", "key file; made when there is none")
	cmd.Flags().StringVar(&address, "to-url", "", "address of a key in a cloud key service")
	return cmd
}

// secretsDone shows a person how far the sealing is.
func (c *cli) secretsDone() vault.Progress {
	if !isTerminal(c.stderr) {
		return nil
	}
	var shown time.Time
	return func(done, of int) {
		switch {
		case done == of:
			_, _ = fmt.Fprint(c.stderr, "\r\x1b[K")
		case time.Since(shown) >= redraw:
			shown = time.Now()
			_, _ = fmt.Fprintf(c.stderr, "\r%d of %d records …", done, of)
		}
	}
}
