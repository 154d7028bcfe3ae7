// Command postern is the side gate into Microsoft 365 mail for programs that
// only know SMTP, IMAP and POP3.
//
// Output rules, for every command: stdout is data, stderr is talk. What lists
// takes --json. An error is one "postern: …" line, then, where there is one,
// a "next:" line with the step that mends it. Exit codes are in exitCode.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/config"
	"postern/internal/fault"
)

// version is set by the build (make build); a plain `go build` leaves it to the
// module's own build information.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c := &cli{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}
	root := newRoot(c)
	if as := calledAs(os.Args); as != nil {
		root.SetArgs(append(as, os.Args[1:]...))
	}
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		explain(os.Stderr, err)
	}
	os.Exit(exitCode(err))
}

// cli is what every command shares: the streams and the bootstrap configuration.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
	configFile     string
	root           *cobra.Command
}

func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:           "postern",
		Short:         "The side gate into Microsoft 365 mail for programs that only know SMTP, IMAP and POP3",
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          args(subcommand),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
		Long: `Postern signs in to Microsoft 365 the modern way and keeps the tokens, so that
printers, scripts and old programs go on sending and fetching mail with a host,
a user name and a password.

  postern demo --once          watch the main job against a simulated Microsoft
  postern serve                run the gate
  postern apply -f FILE        say which apps, accounts, devices and tasks there are
  postern signin ACCOUNT       sign an account in
  postern check ACCOUNT        see whether it works, or the one switch to flip
  postern alerts test          see whether you would hear of trouble
  postern expiring             see what will end, and what to do about it`,
	}
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.SetVersionTemplate("postern {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.Wrap(fault.Invalid, cmd.CommandPath(), err).(*fault.Error).WithHint("%s --help", cmd.CommandPath()) //nolint:errorlint,forcetypeassert // made on this line
	})
	flags := root.PersistentFlags()
	flags.StringVar(&c.configFile, "config", "", "TOML file (default: postern.toml here, then /etc/postern/postern.toml, when there is one)")
	for _, k := range config.Keys() {
		if k.Secret {
			continue
		}
		flags.String(k.Flag(), k.Default, k.Help+" ["+k.Env()+"]")
	}
	c.root = root
	root.AddCommand(newServe(c), newApply(c), newExport(c), newImport(c), newSignin(c), newConsent(c), newCheck(c), newGuide(c), newToken(c),
		newApps(c), newAccounts(c), newDevices(c), newExpiring(c), newFetch(c), newSend(c), newSendmail(c), newQueue(c), newSessions(c), newTokens(c), newAlerts(c), newAudit(c), newKey(c), newAdmin(c), newUsers(c), newConfig(c), newDemo(c))
	return root
}

// load reads the configuration from file, environment and flags.
func (c *cli) load() (config.Config, error) {
	given := map[string]string{}
	for _, k := range config.Keys() {
		if f := c.root.PersistentFlags().Lookup(k.Flag()); f != nil && f.Changed {
			given[k.Name] = f.Value.String()
		}
	}
	path := c.configFile
	if path == "" {
		for _, p := range []string{"postern.toml", "/etc/postern/postern.toml"} {
			if _, err := os.Stat(p); err == nil {
				path = p
				break
			}
		}
	}
	return config.Load(path, c.getenv, given)
}

// open loads the configuration and opens database and vault, for commands that
// do one thing and leave.
func (c *cli) open(ctx context.Context) (*app.App, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, err
	}
	log := newLogger(c.stderr, cfg.LogFormat, max(cfg.LogLevel.Level, quiet))
	return app.Open(ctx, cfg, app.Options{Log: log, Version: buildVersion()})
}

// with opens the app, runs f and closes it again.
func (c *cli) with(ctx context.Context, f func(*app.App) error) error {
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(a), a.Close())
}

// The exit codes; the manual has the same table.
const (
	exitOK      = 0
	exitFailed  = 1 // something did not work
	exitUsage   = 2 // bad usage or configuration
	exitCheck   = 3 // the connection check failed
	exitUnknown = 4 // no such account, task or message; sendmail has codes of its own
)

var errCheckFailed = errors.New("the connection check failed")

func exitCode(err error) int {
	var mailer *sysexit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &mailer):
		return mailer.code
	case errors.Is(err, errCheckFailed):
		return exitCheck
	case errors.Is(err, fault.NotFound):
		return exitUnknown
	case errors.Is(err, fault.Invalid):
		return exitUsage
	}
	return exitFailed
}

// args wraps cobra's argument checks, so that their errors are usage errors.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fault.New(fault.Invalid, cmd.CommandPath(), "%w", err).WithHint("%s --help", cmd.CommandPath())
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args(subcommand), SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}

// subcommand refuses a word that names no subcommand.
func subcommand(cmd *cobra.Command, given []string) error {
	if len(given) > 0 {
		return fmt.Errorf("%q is not a command%s", given[0], didYouMean(cmd, given[0]))
	}
	return nil
}

func didYouMean(cmd *cobra.Command, word string) string {
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return ""
}

func explain(w io.Writer, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, errCheckFailed) {
		return
	}
	fmt.Fprintln(w, "postern:", err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintln(w, "next:   ", hint)
	}
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
