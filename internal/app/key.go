package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"postern/internal/fault"
	"postern/internal/kms"
	"postern/internal/vault"
)

// sealer opens the data keys of this database with the master key.
func (a *App) sealer(ctx context.Context) (*vault.Sealer, error) {
	key, err := a.masterKey(ctx)
	if err != nil {
		return nil, err
	}
	s, err := vault.OpenSealer(ctx, a.Store, key)
	if err != nil {
		return nil, err
	}
	s.LogTo(a.log.With("room", "vault"))
	return s, nil
}

// masterKey finds the master key: in its service, in the configuration, in its file,
// or, when the database is new, made now. A database that has been sealed before never
// gets a new key: that would only hide the loss.
func (a *App) masterKey(ctx context.Context) (vault.Key, error) {
	switch {
	case a.Config.MasterKeyURL != "":
		return remoteKey(ctx, a.Config.MasterKeyURL)
	case !a.Config.MasterKey.Empty():
		return vault.ParseKey(a.Config.MasterKey)
	}
	path := a.keyFile()
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := a.Store.Setting(ctx, vault.KeysetSetting); err == nil {
			return vault.Key{}, fault.New(fault.Invalid, "master key", "%s is missing, and this database was sealed with it", path).
				WithHint("put the file back, or give its content as POSTERN_MASTER_KEY (after a move to a key service: set master_key_url); without it every account must be signed in again in a new database")
		} else if !errors.Is(err, fault.NotFound) {
			return vault.Key{}, err
		}
	}
	return a.loadKey(path)
}

// loadKey reads a key file, or makes it and says so.
func (a *App) loadKey(path string) (vault.Key, error) {
	key, created, err := vault.LoadOrCreateKey(path)
	if created {
		a.log.Warn("a master key was made: keep a copy of this file somewhere else; without it no account can be used again", "file", path)
	}
	return key, err
}

func remoteKey(ctx context.Context, address string) (vault.Key, error) {
	k, err := kms.Open(ctx, address)
	if err != nil {
		return vault.Key{}, err
	}
	return vault.RemoteKey(kms.Name(address), k)
}

// keyFile is where the master key lies when it lies in a file.
func (a *App) keyFile() string {
	if a.Config.MasterKeyFile != "" {
		return a.Config.MasterKeyFile
	}
	return filepath.Join(a.Config.DataDir, "master.key")
}

// MasterSource says where the master key comes from.
func (a *App) MasterSource() string {
	switch {
	case a.Config.MasterKeyURL != "":
		return kms.Name(a.Config.MasterKeyURL)
	case !a.Config.MasterKey.Empty():
		return "POSTERN_MASTER_KEY (or master_key)"
	}
	return a.keyFile()
}

// MasterFile is the file whose master key RotateMaster replaces; there is none where
// the key comes from elsewhere.
func (a *App) MasterFile() (string, error) {
	const op = "replace the master key"
	switch {
	case a.Config.MasterKeyURL != "":
		return "", fault.New(fault.Invalid, op, "it is in a key service: %s", a.MasterSource()).
			WithHint("rotate it there, which needs nothing here; or name another one: postern key move --to-url ADDRESS")
	case !a.Config.MasterKey.Empty():
		return "", fault.New(fault.Invalid, op, "it comes from %s, which Postern cannot change", a.MasterSource()).
			WithHint("postern key move --to-file FILE, and give the content of FILE instead")
	}
	return a.keyFile(), nil
}

// RotateMaster replaces the master key in its file.
func (a *App) RotateMaster(ctx context.Context) error {
	path, err := a.MasterFile()
	if err != nil {
		return err
	}
	return a.Vault.RotateMaster(ctx, path)
}

// MoveMaster puts the data keys under another master key, in a file or in a key
// service, and returns the line of the configuration that names it from now on.
func (a *App) MoveMaster(ctx context.Context, file, address string) (line string, err error) {
	var to vault.Key
	if address != "" {
		line = "master_key_url = " + strconv.Quote(address)
		to, err = remoteKey(ctx, address)
	} else {
		if file, err = filepath.Abs(file); err != nil {
			return "", fault.Wrap(fault.Invalid, "move the keys", err)
		}
		line = "master_key_file = " + strconv.Quote(file)
		to, err = a.loadKey(file)
	}
	if err != nil {
		return "", err
	}
	return line, a.Vault.MoveMaster(ctx, to)
}
