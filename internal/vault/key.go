package vault

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Key is the master key: a Tink keyset for AES-256-GCM. It lives outside the
// database, in a file or in the environment.
type Key struct{ seal tink.AEAD }

// maxKeyFile bounds what is read as a key.
const maxKeyFile = 64 << 10

// ParseKey reads a keyset in Tink's JSON form, as a key file holds it.
func ParseKey(text secret.Text) (Key, error) {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(strings.NewReader(strings.TrimSpace(text.Reveal()))))
	if err == nil {
		var k Key
		if k.seal, err = aead.New(h); err == nil {
			return k, nil
		}
	}
	// Tink's parser quotes what it read, so its words stay here.
	return Key{}, fault.New(fault.Invalid, "master key", "it is not a Tink AES-256-GCM keyset in JSON").
		WithHint("give the whole content of the key file, braces included")
}

// LoadOrCreateKey reads the key file, or makes one that only its owner can read.
// Of two processes that start at once, both end up with the same key.
func LoadOrCreateKey(path string) (key Key, created bool, err error) {
	key, err = loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	created, err = createKey(path)
	if err != nil {
		return Key{}, false, fault.New(fault.Invalid, "make the master key", "%w", err).
			WithHint("name a file in a directory Postern may write to: master_key_file")
	}
	key, err = loadKey(path)
	return key, created, err
}

func loadKey(path string) (Key, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return Key{}, fault.Wrap(fault.Invalid, "open the master key", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return Key{}, fault.Wrap(fault.Invalid, "open the master key", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return Key{}, fault.New(fault.Invalid, "master key", "%s can be read or changed by others (mode %04o)", path, info.Mode().Perm()).
			WithHint("chmod 600 %s", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return Key{}, fault.Wrap(fault.Invalid, "read the master key", err)
	}
	return ParseKey(secret.New(string(b)))
}

// createKey writes a new key beside path and links it into place, so that no
// reader meets half a key and no key replaces another. It reports whether ours
// is the one in place.
func createKey(path string) (bool, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return false, err
	}
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&text)); err != nil {
		return false, err
	}
	text.WriteByte('\n')
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".master-key-*") // O_EXCL, mode 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a left-over is harmless and unreadable to others
	_, werr := f.Write(text.Bytes())
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
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

// syncDir makes a new name durable; Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
