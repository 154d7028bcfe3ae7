// Package app is the one place that knows everything: it builds Postern from its
// configuration in readable order, starts it and stops it. Rooms below never see
// the configuration, only values; rules are theirs, wiring is here.
package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"postern/internal/alert"
	"postern/internal/bridge"
	"postern/internal/catalogue"
	"postern/internal/certificate"
	"postern/internal/config"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/outbound"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
	"postern/internal/vault"
)

// Options are what a caller gives beside the configuration.
type Options struct {
	Log     *slog.Logger
	Version string
}

// App is everything, built and not yet serving.
type App struct {
	Config    config.Config
	Store     *store.Store
	Vault     *vault.Vault
	Relay     *relay.Relay
	Fetch     *fetch.Fetcher
	Catalogue *catalogue.Catalogue
	Desk      *alert.Desk
	People    *people.Registry

	entra    *entra.Client
	seals    *vault.Sealer
	counters counters
	limits   limits
	holder   string
	log      *slog.Logger
	version  string

	legacy  legacy                             // devices that need old TLS
	shows   atomic.Pointer[certificateFor]     // what the doors show
	issuer  atomic.Pointer[certificate.Issuer] // nil without ACME
	bridge  atomic.Pointer[bridge.Bridge]      // nil without IMAP and POP3 doors
	pools   pools
	backlog atomic.Pointer[backlog] // nil until somebody looked
	turned  atomic.Uint64           // senders, recipients and messages that the doors turned away
}

// Open opens the database and the vault and builds the rest, listening nowhere.
// A first call makes the data directory, the database and the master key.
func Open(ctx context.Context, cfg config.Config, opts Options) (*App, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fault.New(fault.Invalid, "data_dir", "%w", err).WithHint("name a directory Postern may write to: data_dir, POSTERN_DATA_DIR or --data-dir")
	}
	holder := newHolder()
	st, err := openStore(ctx, cfg, store.Options{Log: opts.Log, Holder: holder})
	if err != nil {
		return nil, err
	}
	a := &App{Config: cfg, Store: st, holder: holder, log: opts.Log, version: opts.Version, counters: newCounters()}
	if err := a.build(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return a, nil
}

func openStore(ctx context.Context, cfg config.Config, opts store.Options) (*store.Store, error) {
	if cfg.Database != "" {
		return store.OpenPostgres(ctx, cfg.Database, opts)
	}
	return store.OpenSQLite(ctx, cfg.DataDir, opts)
}

func (a *App) build(ctx context.Context) error {
	var err error
	if a.seals, err = a.sealer(ctx); err != nil {
		return err
	}
	if a.Catalogue, err = catalogue.Load(); err != nil {
		return err
	}
	network, err := a.network()
	if err != nil {
		return err
	}
	a.entra = entra.New(time.Now, network)
	a.Vault = vault.Open(vault.Config{
		Store: a.Store, Sealer: a.seals, Entra: a.entra, PublicURL: a.Config.PublicURL.String(),
		Holder: a.holder, Now: a.Store.Now, Log: a.log.With("room", "vault"), Catalogue: a.Catalogue, Alert: a.alert,
	})
	a.Desk = a.newDesk(network)
	if a.People, err = a.newPeople(); err != nil {
		return err
	}
	may := &a.limits
	pretends := func(account string) bool { return bool(a.Config.Simulate) || may.pretends(account) }
	a.Relay = relay.New(relay.Config{
		Store: a.Store, Accounts: limited{accounts{a}, may, pretends}, Limits: may.of, Caps: may.caps, Holder: a.holder, Hostname: a.hostname(), Reporter: a.reporter, Room: (&room{look: a.lookForRoom}).left, Now: a.Store.Now,
		Sender: &relay.Simulation{Real: a.sender(network, a.Store), Pretends: pretends, Would: a.would}, Resend: a.Config.ResendWindow.Duration,
		Log: a.log.With("room", "relay"), Events: a.log.With("room", "mail_event"),
	})
	a.Fetch = fetch.New(fetch.Config{
		Ledger: a.Store, Sources: sources{a, &seats{}}, Holder: a.holder, Now: a.Store.Now, Log: a.log.With("room", "fetch"), Lease: 30 * time.Second,
		Spool: filepath.Join(a.Config.DataDir, "spool"), Targets: a.target,
	})
	return nil
}

// network is the way web requests take.
func (a *App) network() (outbound.Network, error) {
	n := outbound.Network{Proxy: a.Config.Proxy.Text, Direct: a.Config.NoProxy}
	if a.Config.CAFile == "" {
		return n, nil
	}
	pem, err := os.ReadFile(a.Config.CAFile)
	if err != nil {
		return n, fault.Wrap(fault.Invalid, "ca_file", err)
	}
	n.CA = string(pem)
	if _, err := outbound.Roots(n.CA); err != nil {
		return n, fault.Wrap(fault.Invalid, "ca_file", err)
	}
	return n, nil
}

// Close gives the database back.
func (a *App) Close() error { return a.Store.Close() }

// Applier puts declared documents into effect.
func (a *App) Applier(getenv func(string) (string, bool)) declare.Applier {
	return declare.Applier{
		Vault: a.Vault, Devices: a.Store, Tasks: a.Store, Alerts: a.Store, Secrets: a.Vault, Getenv: getenv,
		MakeDirectory: func(path string) error { return os.MkdirAll(path, 0o750) },
		Passwords:     declare.Passwords{New: door.NewPassword, Hash: door.HashPassword, Verify: func(hash string, clear secret.Text) bool { return door.VerifyPassword(hash, clear) == nil }},
	}
}
