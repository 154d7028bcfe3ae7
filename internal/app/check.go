package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"postern/internal/catalogue"
	"postern/internal/check"
	"postern/internal/config"
	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/store"
	"postern/internal/vault"
)

// CheckWish is what a check is asked for.
type CheckWish struct {
	Purpose vault.Purpose
	Task    string       // whose folders are looked at too; "" for no task's
	TestTo  mail.Address // where a test message is really sent; null for nowhere
	Await   bool         // see it arrive, where Postern may read: a minute at most
}

// Check runs the staged connection check of one of an account's purposes. It asks for
// a credential as a person does: that the account is paused is no reason not to. When a
// mail server was what paused it, a check that succeeds lifts the pause, and its mail
// goes on at once. What was found is kept, see [App.LastChecks].
func (a *App) Check(ctx context.Context, acct vault.Account, w CheckWish, onStage func(check.Stage)) (check.Report, error) {
	r, err := a.checkBy(ctx, a.Vault, acct, w, onStage)
	if err == nil {
		err = a.keepHealth(ctx, r)
	}
	if err != nil {
		return r, err
	}
	p := w.Purpose
	if r.OK && p != vault.Graph && (p == sendsFor(acct) || !acct.May(sendsFor(acct))) { // reading proves nothing of sending
		err = a.Vault.Worked(ctx, acct.Name)
	}
	return r, err
}

// checkBy checks with the credentials of a vault: that of the database, or one that
// knows what is not saved.
func (a *App) checkBy(ctx context.Context, v *vault.Vault, acct vault.Account, w CheckWish, onStage func(check.Stage)) (check.Report, error) {
	reg, err := v.App(ctx, acct.App)
	if err != nil {
		return check.Report{}, err
	}
	pool, err := a.roots(reg.Cloud)
	if err != nil {
		return check.Report{}, err
	}
	network, err := a.network()
	if err != nil {
		return check.Report{}, err
	}
	target := check.Target{
		Account: acct.Name, Purpose: check.Purpose(w.Purpose), Mailbox: acct.Mailbox, Server: serverFor(reg.Cloud, w.Purpose), RootCAs: pool,
		Method: check.Method(acct.Method), Shared: acct.Shared, Cloud: reg.Cloud, Tenant: reg.Tenant, ClientID: reg.ClientID,
		Proof: proofOf(reg), PasswordSet: acct.PasswordSet, TestTo: w.TestTo,
	}
	if !w.TestTo.Null() && (acct.Simulate || bool(a.Config.Simulate)) {
		return check.Report{}, fault.New(fault.Invalid, "check "+acct.Name, "simulation is on, and a test message would really be sent").
			WithHint("leave the test message out, or: postern accounts simulate %s off", acct.Name)
	}
	if w.Task != "" {
		if target.Folders, target.MoveTo, err = a.foldersOf(ctx, w.Task, acct.Name); err != nil {
			return check.Report{}, err
		}
	}
	var arrived func(context.Context, string) (bool, error)
	if w.Await && !w.TestTo.Null() {
		if arrived, err = a.lookoutFor(ctx, w.TestTo); err != nil {
			return check.Report{}, err
		}
	}
	return check.Run(ctx, target, check.Deps{
		Arrived:   arrived,
		Catalogue: a.Catalogue, HelloName: a.hostname(), Web: network,
		Credential: func(ctx context.Context) (check.Credential, error) {
			c, err := v.Credential(ctx, acct.Name, w.Purpose, vault.Asked)
			return check.Credential(c), err
		},
	}, onStage), nil
}

// foldersOf are those a task reads, and those it moves messages to and does not make.
func (a *App) foldersOf(ctx context.Context, task, account string) (read, moveTo []string, err error) {
	t, err := a.Store.Task(ctx, task)
	switch {
	case err != nil:
		return nil, nil, err
	case t.Account != account:
		return nil, nil, fault.New(fault.Invalid, "check "+account, "task %q reads account %q", task, t.Account)
	}
	for _, do := range []fetch.Action{t.After, t.Unmatched, t.Failure.Do} {
		if do.Do == fetch.Move && !t.MakeFolders && !slices.Contains(moveTo, do.To) {
			moveTo = append(moveTo, do.To)
		}
	}
	return t.Source.Folders, moveTo, nil
}

// serverFor is the mail server of a purpose; Graph has none.
func serverFor(cloud entra.Cloud, p vault.Purpose) mail.Server {
	switch p {
	case vault.Send:
		return cloud.SMTP
	case vault.HVE:
		return cloud.HVE
	case vault.IMAP:
		return cloud.IMAP
	case vault.POP3:
		return cloud.POP3
	}
	return mail.Server{}
}

// proofOf says what an app proves itself with; with both, it is the certificate.
func proofOf(reg vault.App) check.Proof {
	if leaf, err := x509.ParseCertificate(reg.Certificate); err == nil {
		return check.Proof{What: "the certificate " + entra.Certificate{Leaf: leaf}.Thumbprint(), Ends: leaf.NotAfter}
	}
	if len(reg.Secret) > 0 {
		return check.Proof{What: "the client secret", Ends: reg.SecretExpires}
	}
	return check.Proof{}
}

// CheckNetwork tries the hosts a cloud needs. Neither database nor account is needed.
func CheckNetwork(ctx context.Context, cfg config.Config, t check.NetworkTarget, onHost func(check.HostReport)) (check.NetworkReport, error) {
	a := &App{Config: cfg}
	network, err := a.network()
	if err != nil {
		return check.NetworkReport{}, err
	}
	known, err := catalogue.Load()
	if err != nil {
		return check.NetworkReport{}, err
	}
	return check.Network(ctx, t, check.Deps{Catalogue: known, HelloName: a.hostname(), Web: network}, onHost), nil
}

// NetworkTargets are the clouds of the stored apps, each with what its accounts are
// for; of one app alone when it is named. It reads the database and no secret in it, so
// the master key may be missing.
func NetworkTargets(ctx context.Context, cfg config.Config, log *slog.Logger, only string) (targets []check.NetworkTarget, err error) {
	if _, err := os.Stat(cfg.DataDir); cfg.Database == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, unknownApp(only) // looking must not make a database
	}
	st, err := openStore(ctx, cfg, store.Options{Log: log, Holder: newHolder()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	apps, err := st.Apps(ctx)
	if err != nil {
		return nil, err
	}
	accounts, err := st.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	for _, reg := range apps {
		if only == "" || reg.Name == only {
			targets = addTarget(targets, reg, accounts)
		}
	}
	if len(targets) == 0 {
		return nil, unknownApp(only)
	}
	return targets, nil
}

func unknownApp(name string) error {
	if name == "" {
		return nil
	}
	return fault.New(fault.NotFound, "check the network", "there is no app %q", name).WithHint("postern apps list")
}

// addTarget adds an app's cloud, or what its accounts are for to that cloud.
func addTarget(targets []check.NetworkTarget, reg vault.App, accounts []vault.Account) []check.NetworkTarget {
	i := slices.IndexFunc(targets, func(t check.NetworkTarget) bool { return t.Cloud == reg.Cloud })
	if i < 0 {
		t := check.NetworkTarget{Name: reg.Cloud.Name, Cloud: reg.Cloud}
		if reg.Cloud.Name == entra.Custom {
			t.Name, t.Tenant = fmt.Sprintf("%s, app %s", entra.Custom, reg.Name), reg.Tenant
		}
		targets, i = append(targets, t), len(targets)
	}
	for _, acct := range accounts {
		for _, p := range acct.Purposes {
			if use := check.Purpose(p); acct.App == reg.Name && !slices.Contains(targets[i].Uses, use) {
				targets[i].Uses = append(targets[i].Uses, use)
			}
		}
	}
	return targets
}

// NetworkTarget is one of Microsoft's clouds, whatever is stored.
func NetworkTarget(cloud string) (check.NetworkTarget, error) {
	preset, err := entra.CloudByName(cloud)
	if err != nil {
		return check.NetworkTarget{}, fault.Wrap(fault.Invalid, "check the network", err)
	}
	return check.NetworkTarget{Name: preset.Name, Cloud: preset}, nil
}
