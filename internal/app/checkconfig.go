package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"postern/internal/config"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/store"
	"postern/internal/vault"
)

// CheckConfig tries what a start would only find out later: the files that the
// configuration names, the rules in it, the address of the database. It opens nothing,
// makes nothing, and asks nobody.
func CheckConfig(ctx context.Context, cfg config.Config) error {
	a := &App{Config: cfg, log: slog.New(slog.DiscardHandler)}
	for _, try := range []func(context.Context) error{a.tryData, a.tryKey, a.tryWeb} {
		if err := try(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tryData looks whether the data can be where they shall be.
func (a *App) tryData(context.Context) error {
	at, err := os.Stat(a.Config.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a start makes it
	case err != nil:
		return fault.New(fault.Invalid, "data_dir", "%w", err).WithHint("name a directory Postern may write to")
	case !at.IsDir():
		return fault.New(fault.Invalid, "data_dir", "%s is a file", a.Config.DataDir).WithHint("name a directory Postern may write to")
	}
	if a.Config.Database == "" {
		return nil
	}
	return store.CheckPostgres(a.Config.Database)
}

// tryKey reads the master key, where there is one already.
func (a *App) tryKey(ctx context.Context) error {
	var err error
	switch {
	case a.Config.MasterKeyURL != "":
		_, err = remoteKey(ctx, a.Config.MasterKeyURL)
	case !a.Config.MasterKey.Empty():
		_, err = vault.ParseKey(a.Config.MasterKey)
	default:
		if _, err = vault.LoadKey(a.keyFile()); errors.Is(err, fs.ErrNotExist) {
			err = nil // a start makes it, or says what it is missing for
		}
	}
	return err
}

// tryWeb reads the certificates, the way of web requests and who may come to the pages.
func (a *App) tryWeb(context.Context) error {
	network, err := a.network()
	if err == nil {
		_, err = network.Transport("")
	}
	if err == nil && a.Config.TLSCert != "" {
		_, err = door.LoadCertificate(a.Config.TLSCert, a.Config.TLSKey)
	}
	if err == nil {
		_, err = a.provider()
	}
	return err
}
