package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Key is the master key: what the data keys in the database are wrapped with. It
// lives outside the database, in a file, in the environment or in a key service.
type Key struct {
	seal  tink.AEADWithContext
	name  string              // what an operator may call it; never the key itself
	again func() (Key, error) // reads it anew where it may have been replaced; nil elsewhere
}

// String names the key without giving it away: by its id, or by its service's address.
func (k Key) String() string { return k.name }

// Wrapper is a key that never leaves its service, which does the work with it.
type Wrapper interface {
	Encrypt(ctx context.Context, clear []byte) ([]byte, error)
	Decrypt(ctx context.Context, sealed []byte) ([]byte, error)
}

// RemoteKey is a master key in a key service. The service sees no more than one small
// key at a time: some take only a few hundred octets.
func RemoteKey(name string, w Wrapper) (Key, error) {
	seal, err := aead.NewKMSEnvelopeAEADWithContext(aead.AES256GCMKeyTemplate(), remote{w})
	if err != nil {
		return Key{}, fault.Wrap(fault.Unknown, "master key", err)
	}
	return Key{seal: seal, name: name}, nil
}

// remote gives a Wrapper Tink's form. An envelope binds its content itself.
type remote struct{ Wrapper }

func (r remote) EncryptWithContext(ctx context.Context, clear, _ []byte) ([]byte, error) {
	return r.Encrypt(ctx, clear)
}

func (r remote) DecryptWithContext(ctx context.Context, sealed, _ []byte) ([]byte, error) {
	return r.Decrypt(ctx, sealed)
}

// local is a key that is here, and so waits for nobody.
type local struct{ tink.AEAD }

func (l local) EncryptWithContext(_ context.Context, clear, bound []byte) ([]byte, error) {
	return l.Encrypt(clear, bound)
}

func (l local) DecryptWithContext(_ context.Context, sealed, bound []byte) ([]byte, error) {
	return l.Decrypt(sealed, bound)
}

// ParseKey reads a keyset in Tink's JSON form, as a key file holds it. It may hold
// several keys: all of them open, the primary one seals.
func ParseKey(text secret.Text) (Key, error) {
	h, err := parseHandle(text)
	if err != nil {
		return Key{}, err
	}
	return keyOf(h)
}

func parseHandle(text secret.Text) (*keyset.Handle, error) {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(strings.NewReader(strings.TrimSpace(text.Reveal()))))
	if err != nil {
		return nil, errNoKey() // Tink's parser quotes what it read, so its words stay there
	}
	return h, nil
}

func errNoKey() error {
	return fault.New(fault.Invalid, "master key", "it is not a Tink AES-256-GCM keyset in JSON").
		WithHint("give the whole content of the key file, braces included")
}

func keyOf(h *keyset.Handle) (Key, error) {
	seal, err := aead.New(h)
	if err != nil {
		return Key{}, errNoKey()
	}
	return Key{seal: local{seal}, name: fmt.Sprintf("key %d", h.KeysetInfo().GetPrimaryKeyId())}, nil
}

// LoadOrCreateKey reads the key file, or makes one that only its owner can read.
// Of two processes that start at once, both end up with the same key.
func LoadOrCreateKey(path string) (key Key, created bool, err error) {
	key, err = LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	created, err = createKey(path)
	if err != nil {
		return Key{}, false, fault.New(fault.Invalid, "make the master key", "%w", err).
			WithHint("name a file in a directory Postern may write to: master_key_file")
	}
	key, err = LoadKey(path)
	return key, created, err
}

// LoadKey reads the key file; one that is missing is fs.ErrNotExist.
func LoadKey(path string) (Key, error) {
	h, err := readKeyFile(path)
	if err != nil {
		return Key{}, err
	}
	k, err := keyOf(h)
	k.again = func() (Key, error) { return LoadKey(path) }
	return k, err
}

// createKey writes a new key beside path and links it into place, so that no
// reader meets half a key and no key replaces another. It reports whether ours
// is the one in place.
func createKey(path string) (bool, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return false, err
	}
	text, err := keyText(h)
	if err != nil {
		return false, err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".master-key-*") // O_EXCL, mode 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a left-over is harmless and unreadable to others
	if err := writeAndClose(f, text); err != nil {
		return false, err
	}
	switch err := os.Link(f.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, syncDir(dir)
}

// keyText is a key file's content.
func keyText(h *keyset.Handle) ([]byte, error) {
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&text)); err != nil {
		return nil, err
	}
	text.WriteByte('\n')
	return text.Bytes(), nil
}
