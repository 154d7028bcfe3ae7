package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/vault"
)

// checkFlags say what is checked.
type checkFlags struct {
	purpose, task, sendTest, file, cloud string
	network, all, last, json             bool
}

func newCheck(c *cli) *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check ACCOUNT | check -f FILE [ACCOUNT] | check --all | check --last [ACCOUNT] | check --network [APP]",
		Short: "Check a connection stage by stage: \"Connection successful\", or the one switch to flip",
		Long: `Looks up, connects, encrypts, greets, compares clocks, gets a token or password,
signs in and opens the mailbox (or names the sender), for each of the account's
purposes. Changes no mail and sends none; Graph is tried as far as its token allows.

With --send-test ADDRESS a test message is really sent there: only that proves that
the mailbox may send. Where an account may read that mailbox, the check waits up to a
minute until the message arrives. With --task NAME the folders of that task are looked at.

With -f FILE the apps and accounts of the file are checked as they would be, and
nothing is saved; secrets and sign-ins that the file does not give are the saved ones.

With --all every account is checked, one after the other. A running server does so by
itself, see check_every; with --last what the last checks found is shown, and nobody is
asked anything.

With --network it tries, without any account, the hosts that firewall and proxy must
let through: of the app's cloud, of the clouds of all apps, or of --cloud.

Exit code 0: everything that is needed works; 3: something does not; 1: it could not
be checked; 2: bad usage or a bad file; 4: there is no such account, app or task.`,
		Example: `  postern check scan
  postern check scan --for send --json
  postern check scan --send-test you@example.com
  postern check invoices --task bills
  postern check -f postern.yaml scan
  postern check --network --cloud usgov`,
		Args: func(cmd *cobra.Command, given []string) error { return args(f.fit)(cmd, given) },
		RunE: func(cmd *cobra.Command, names []string) error {
			if f.network {
				return checkNetwork(cmd.Context(), c, f.cloud, names, f.json)
			}
			return c.with(cmd.Context(), func(a *app.App) error { return checkAccounts(cmd.Context(), c, a, f, names) })
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print JSON")
	flags.StringVar(&f.purpose, "for", "", "only this purpose: send, imap, pop3, graph or hve")
	flags.StringVar(&f.task, "task", "", "look at the folders of this task too")
	flags.StringVar(&f.sendTest, "send-test", "", "really send a test message to this address")
	flags.StringVarP(&f.file, "file", "f", "", "check what this YAML file declares, unsaved; - for standard input")
	flags.BoolVar(&f.all, "all", false, "check every account")
	flags.BoolVar(&f.last, "last", false, "show what the last check found")
	flags.BoolVar(&f.network, "network", false, "try the hosts that firewall and proxy must let through")
	flags.StringVar(&f.cloud, "cloud", "", "with --network: global, usgov, dod or china")
	return cmd
}

// fit says which arguments go together.
func (f checkFlags) fit(cmd *cobra.Command, given []string) error {
	ofAccount := f.purpose != "" || f.task != "" || f.sendTest != ""
	switch {
	case f.network && (f.all || f.last || f.file != ""):
		return errors.New("--network goes with none of --all, --last and -f")
	case f.last && (f.all || ofAccount || f.file != ""):
		return errors.New("--last goes with nothing but an account and --json")
	case !f.network && f.cloud != "":
		return errors.New("--cloud goes with --network")
	case f.network && ofAccount:
		return errors.New("--for goes with an account, not with --network")
	case f.network && f.cloud != "" && len(given) > 0:
		return errors.New("give an app or --cloud, not both")
	case f.all && (ofAccount || f.file != "" || len(given) > 0):
		return errors.New("--all goes with nothing but --json")
	case f.all:
		return nil
	case f.network, f.last, f.file != "":
		return cobra.MaximumNArgs(1)(cmd, given)
	}
	return cobra.ExactArgs(1)(cmd, given)
}

// checker checks one account for one purpose.
type checker func(ctx context.Context, acct vault.Account, w app.CheckWish, onStage func(check.Stage)) (check.Report, error)

// checkAccounts finds out what is to be checked, and how.
func checkAccounts(ctx context.Context, c *cli, a *app.App, f checkFlags, names []string) error {
	by, account := checker(a.Check), a.Vault.Account
	switch {
	case f.last:
		return lastChecks(ctx, c, a, names, f.json)
	case f.all:
		all, err := a.Vault.Accounts(ctx)
		if err != nil {
			return err
		}
		return runChecks(ctx, c, by, all, app.CheckWish{}, f.json)
	case f.file != "":
		doc, err := readDocument(c, f.file)
		if err != nil {
			return err
		}
		d, err := a.Draft(ctx, doc, c.getenv)
		if err != nil {
			return err
		}
		by, account = d.Check, d.Account
		if len(names) == 0 {
			names = d.Accounts()
		}
	}
	var todo []vault.Account
	for _, name := range names {
		acct, err := account(ctx, name)
		if err != nil {
			return err
		}
		todo = append(todo, acct)
	}
	wish, err := f.wish()
	if err != nil {
		return err
	}
	err = runChecks(ctx, c, by, todo, wish, f.json)
	if errors.Is(err, errCheckFailed) && f.file == "" {
		_, _ = fmt.Fprintf(c.stderr, "guide:   postern guide --account %s\n", names[0])
	}
	return err
}

func (f checkFlags) wish() (w app.CheckWish, err error) {
	w = app.CheckWish{Purpose: vault.Purpose(f.purpose), Task: f.task, Await: true}
	if f.task != "" && f.purpose == "" {
		w.Purpose = vault.IMAP
	}
	if f.sendTest != "" {
		if w.TestTo, err = mail.ParseAddress(f.sendTest); err != nil {
			err = fault.New(fault.Invalid, "check", "--send-test: %w", err)
		}
	}
	return w, err
}

// purposesOf are those of an account that the wish is about.
func purposesOf(acct vault.Account, w app.CheckWish) ([]vault.Purpose, error) {
	switch {
	case w.Purpose == "":
		return acct.Purposes, nil
	case !acct.May(w.Purpose):
		return nil, fault.New(fault.Invalid, "check "+acct.Name, "--for %q is not among its purposes: %v", w.Purpose, acct.Purposes)
	}
	return []vault.Purpose{w.Purpose}, nil
}

// runChecks shows the checks as they go, or all of them as JSON. An account that cannot
// be checked keeps no other from it.
func runChecks(ctx context.Context, c *cli, by checker, accounts []vault.Account, w app.CheckWish, asJSON bool) error {
	reports := []check.Report{}
	good := true
	var errs []error
	for _, acct := range accounts {
		want, err := purposesOf(acct, w)
		errs = append(errs, err)
		for _, p := range want {
			one := w
			one.Purpose = p
			r, err := runCheck(ctx, c, by, acct, one, asJSON)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			good = good && r.OK
			reports = append(reports, r)
		}
	}
	if asJSON {
		errs = append(errs, writeJSON(c.stdout, reports))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !good {
		return errCheckFailed
	}
	return nil
}

func runCheck(ctx context.Context, c *cli, by checker, acct vault.Account, w app.CheckWish, quietly bool) (check.Report, error) {
	if quietly {
		return by(ctx, acct, w, nil)
	}
	head := fmt.Sprintf("%s: %s for %s\n", acct.Name, w.Purpose, acct.Mailbox)
	r, err := by(ctx, acct, w, func(s check.Stage) {
		_, _ = fmt.Fprint(c.stdout, head+s.Text())
		head = ""
	})
	if err == nil {
		_, _ = fmt.Fprintf(c.stdout, "%s\n\n", r.Headline)
	}
	return r, err
}

// lastChecks shows what the last checks found, of one account or of all.
func lastChecks(ctx context.Context, c *cli, a *app.App, names []string, asJSON bool) error {
	accounts, err := a.Vault.Accounts(ctx)
	if err == nil && len(names) > 0 {
		accounts = make([]vault.Account, 1)
		accounts[0], err = a.Vault.Account(ctx, names[0])
	}
	if err != nil {
		return err
	}
	all, good := []app.Checked{}, true
	for _, acct := range accounts {
		some, err := a.LastChecks(ctx, acct.Name)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	for _, l := range all {
		good = good && l.Report.OK
		if !asJSON {
			_, _ = fmt.Fprintf(c.stdout, "%s\n", l.Report.Text())
		}
	}
	if asJSON {
		if err := writeJSON(c.stdout, all); err != nil {
			return err
		}
	} else if len(all) == 0 {
		_, _ = fmt.Fprintln(c.stderr, "nothing was checked yet")
	}
	if !good {
		return errCheckFailed
	}
	return nil
}
