package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"postern/internal/fault"
)

// KeysetSetting is the setting with the wrapped data keys: a database that has it has
// been sealed.
const KeysetSetting = "vault.keyset"

// wrapped is that setting's value.
type wrapped struct {
	Keyset []byte `json:"keyset"` // Tink's encrypted keyset, under the master key
	Master string `json:"master"` // what that key is called, for whoever looks for it
}

// dataKeys are the keys that seal and open, unwrapped.
type dataKeys struct {
	kept    []byte // the setting they were unwrapped from
	handle  *keyset.Handle
	aead    tink.AEAD
	ids     []uint32
	primary uint32 // the one that seals
}

func (k *dataKeys) has(id uint32) bool { return slices.Contains(k.ids, id) }

// older are the keys that open and no longer seal.
func (k *dataKeys) older() []uint32 {
	return slices.DeleteFunc(slices.Clone(k.ids), func(id uint32) bool { return id == k.primary })
}

// keyring holds the data keys as they were when somebody last looked.
type keyring struct {
	store Store
	log   *slog.Logger

	mu  sync.Mutex
	key Key
	now *dataKeys
}

func (r *keyring) known() *dataKeys {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *keyring) master() Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.key
}

// look returns the data keys that the database has now. They are unwrapped again only
// when they are others than before.
func (r *keyring) look(ctx context.Context) (*dataKeys, error) {
	kept, err := r.store.Setting(ctx, KeysetSetting)
	if err != nil {
		return nil, err
	}
	if have := r.known(); have != nil && bytes.Equal(have.kept, kept) {
		return have, nil
	}
	return r.take(ctx, kept)
}

// take unwraps what the database has and keeps it. The master key's file is read again
// when the key in memory does not do: it may have been replaced.
func (r *keyring) take(ctx context.Context, kept []byte) (*dataKeys, error) {
	key := r.master()
	keys, err := unwrap(ctx, key, kept)
	if err != nil && key.again != nil {
		if fresh, ferr := key.again(); ferr == nil {
			if opened, oerr := unwrap(ctx, fresh, kept); oerr == nil {
				key, keys, err = fresh, opened, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	r.adopt(ctx, key, keys)
	return keys, nil
}

func (r *keyring) adopt(ctx context.Context, key Key, keys *dataKeys) {
	r.mu.Lock()
	before := r.now
	r.key, r.now = key, keys
	r.mu.Unlock()
	if before != nil && !bytes.Equal(before.kept, keys.kept) {
		r.log.InfoContext(ctx, "data keys read again", "primary", keys.primary, "keys", keys.ids, "master", key.String())
	}
}

// create makes the first data key, unless another process does so first.
func (r *keyring) create(ctx context.Context) error {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fault.Wrap(fault.Unknown, "make a data key", err)
	}
	fresh, err := wrap(ctx, r.master(), h)
	if err != nil {
		return err
	}
	kept, err := r.store.PutSettingOnce(ctx, KeysetSetting, fresh)
	if err != nil {
		return err
	}
	_, err = r.take(ctx, kept)
	return err
}

// changesMost bounds how often a change is tried that others are faster with.
const changesMost = 25

// change replaces the data keys, or the master key they are wrapped with, or both.
// Before anybody else sees them, it is tried whether they open.
func (r *keyring) change(ctx context.Context, master func(Key) Key, f func(*keyset.Handle) (*keyset.Handle, error)) (*dataKeys, error) {
	for range changesMost {
		have, err := r.look(ctx)
		if err != nil {
			return nil, err
		}
		h, err := f(have.handle)
		if err != nil {
			return nil, err
		}
		key := master(r.master())
		kept, err := wrap(ctx, key, h)
		if err != nil {
			return nil, err
		}
		next, err := unwrap(ctx, key, kept)
		if err != nil {
			return nil, err
		}
		switch err := r.store.SwapSetting(ctx, KeysetSetting, have.kept, kept); {
		case err == nil:
			r.adopt(ctx, key, next)
			return next, nil
		case !errors.Is(err, fault.Conflict):
			return nil, err
		}
	}
	return nil, fault.New(fault.Conflict, "change the keys", "other processes change them all the time").WithHint("try again in a moment")
}

func wrap(ctx context.Context, key Key, h *keyset.Handle) ([]byte, error) {
	var b bytes.Buffer
	heard := &listening{AEADWithContext: key.seal}
	if err := h.WriteWithContext(ctx, keyset.NewBinaryWriter(&b), heard, []byte(KeysetSetting)); err != nil {
		return nil, heard.or(fault.New(fault.Unknown, "wrap the data keys", "encryption failed"))
	}
	return json.Marshal(wrapped{Keyset: b.Bytes(), Master: key.String()})
}

func unwrap(ctx context.Context, key Key, kept []byte) (*dataKeys, error) {
	const op = "master key"
	var w wrapped
	if err := json.Unmarshal(kept, &w); err != nil || len(w.Keyset) == 0 {
		return nil, fault.New(fault.Invalid, op, "the data keys in the database are damaged").WithHint("restore the database from a backup")
	}
	heard := &listening{AEADWithContext: key.seal}
	h, err := keyset.ReadWithContext(ctx, keyset.NewBinaryReader(bytes.NewReader(w.Keyset)), heard, []byte(KeysetSetting))
	if err != nil {
		return nil, heard.or(fault.New(fault.Invalid, op, "this master key does not open this database: it is %s, and %s is wanted", key, w.Master).
			WithHint("give the key this database was made with, or was last moved to (master_key_file, POSTERN_MASTER_KEY or master_key_url); without it a new database is needed and every account must sign in again"))
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, fault.Wrap(fault.Unknown, op, err)
	}
	return &dataKeys{kept: kept, handle: h, aead: a, ids: ids(h), primary: h.KeysetInfo().GetPrimaryKeyId()}, nil
}

// listening remembers why a master key failed: Tink's keyset functions pass on no more
// than the words.
type listening struct {
	tink.AEADWithContext
	err error
}

func (l *listening) EncryptWithContext(ctx context.Context, clear, bound []byte) (b []byte, err error) {
	b, l.err = l.AEADWithContext.EncryptWithContext(ctx, clear, bound)
	return b, l.err
}

func (l *listening) DecryptWithContext(ctx context.Context, sealed, bound []byte) (b []byte, err error) {
	b, l.err = l.AEADWithContext.DecryptWithContext(ctx, sealed, bound)
	return b, l.err
}

// or is what the key service said, or else the error given.
func (l *listening) or(err error) error {
	if fault.As(l.err) != nil {
		return l.err
	}
	return err
}
