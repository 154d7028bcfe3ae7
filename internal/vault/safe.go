package vault

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"postern/internal/fault"
	"postern/internal/secret"
)

// What other rooms must keep secret lies in settings, and is sealed anew with all the
// rest when keys rotate.
const (
	whatKept   = "kept secret"
	keptPrefix = "sealed."
)

// KeepSecret keeps a secret of another room under a name, in place of the one before;
// an empty one forgets it.
func (v *Vault) KeepSecret(ctx context.Context, name string, clear secret.Text) error {
	sealed, err := v.seal.Seal(clear, whatKept, name)
	if err != nil {
		return err
	}
	for range triesMost {
		have, err := v.store.PutSettingOnce(ctx, keptPrefix+name, sealed)
		if err != nil || bytes.Equal(have, sealed) {
			return err
		}
		err = v.store.SwapSetting(ctx, keptPrefix+name, have, sealed)
		if !errors.Is(err, fault.Conflict) {
			return err
		}
	}
	return fault.New(fault.Conflict, "keep a secret", "somebody else writes %q all the time", name)
}

// KeptSecret opens what KeepSecret kept; empty when there is nothing.
func (v *Vault) KeptSecret(ctx context.Context, name string) (secret.Text, error) {
	sealed, err := v.store.Setting(ctx, keptPrefix+name)
	if errors.Is(err, fault.NotFound) {
		return secret.Text{}, nil
	}
	if err != nil {
		return secret.Text{}, err
	}
	return v.seal.Open(sealed, whatKept, name)
}

func (v *Vault) keptRecord(key string) reader {
	name := strings.TrimPrefix(key, keptPrefix)
	return func(ctx context.Context) (record, error) {
		old, err := v.store.Setting(ctx, key)
		next := Sealed(old)
		return record{
			seals: []place{{&next, whatKept, name}},
			save:  func(ctx context.Context) error { return v.store.SwapSetting(ctx, key, old, next) },
		}, err
	}
}
