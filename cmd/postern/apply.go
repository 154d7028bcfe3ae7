package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/declare"
	"postern/internal/fault"
)

func newApply(c *cli) *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make apps, accounts, devices and tasks as a YAML file says",
		Long: `Creates what is missing and changes what differs; what the file does not name
stays. Applying the same file again changes nothing. A running server notices.

Secrets are given as {env: NAME}, {file: PATH} or {value: TEXT}. A device without a
password gets one made for it, which is printed this one time.`,
		Example: "  postern apply -f postern.yaml\n  postern export | postern apply -f -",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			doc, err := readDocument(c, file)
			if err != nil {
				return err
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				changes, err := a.ApplyHere(cmd.Context(), who(), doc, c.getenv)
				return printChanges(c, changes, asJSON, err)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "YAML file, - for standard input")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was done as JSON")
	return cmd
}

func readDocument(c *cli, file string) (declare.Document, error) {
	switch file {
	case "":
		return declare.Document{}, fault.New(fault.Invalid, "apply", "which file?").WithHint("postern apply -f FILE")
	case "-":
		return declare.Parse("standard input", c.stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return declare.Document{}, fault.Wrap(fault.Invalid, "apply", err)
	}
	defer f.Close()
	return declare.Parse(file, f)
}

// printChanges is the one place where a generated password leaves: to the
// terminal of whoever applied.
func printChanges(c *cli, changes []declare.Change, asJSON bool, err error) error {
	if asJSON {
		type shown struct {
			declare.Change
			Password string `json:"password,omitempty"`
		}
		out := make([]shown, 0, len(changes))
		for _, ch := range changes {
			out = append(out, shown{ch, ch.Password.Reveal()})
		}
		if werr := writeJSON(c.stdout, out); werr != nil {
			return werr
		}
		return err
	}
	for _, ch := range changes {
		_, _ = fmt.Fprintf(c.stdout, "%s %s: %s\n", ch.Kind, ch.Name, ch.Action)
		if !ch.Password.Empty() {
			_, _ = io.WriteString(c.stdout, "  password (shown this once): "+ch.Password.Reveal()+"\n")
		}
		if ch.Note != "" {
			_, _ = fmt.Fprintf(c.stderr, "note: %s %s: %s\n", ch.Kind, ch.Name, ch.Note)
		}
	}
	return err
}

func newExport(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "export",
		Short:   "Write apps, accounts, devices and tasks as YAML, without secrets",
		Example: "  postern export > postern.yaml",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				doc, err := a.Applier(c.getenv).Export(cmd.Context())
				if err != nil {
					return err
				}
				return doc.Write(c.stdout)
			})
		},
	}
}
