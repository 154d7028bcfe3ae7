package vault

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"postern/internal/fault"
	"postern/internal/secret"
)

// maxKeyFile bounds what is read as a key.
const maxKeyFile = 64 << 10

// readKeyFile reads a key file that nobody but its owner can read.
func readKeyFile(path string) (*keyset.Handle, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "open the master key", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "open the master key", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.Invalid, "master key", "%s can be read or changed by others (mode %04o)", path, info.Mode().Perm()).
			WithHint("chmod 600 %s", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "read the master key", err)
	}
	return parseHandle(secret.New(string(b)))
}

// keyFile is a key file while its key is being replaced, by one process at a time.
type keyFile struct {
	path   string // with symbolic links followed: what is replaced is the file itself
	before []uint32
	unlock func() error
}

// openKeyFile keeps other rotations of the same file out until close.
func openKeyFile(path string) (*keyFile, error) {
	const op = "replace the master key"
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	unlock, err := lockBeside(real)
	if errors.Is(err, errLocked) {
		return nil, fault.New(fault.Conflict, op, "somebody else is replacing the key in %s", path).WithHint("wait until that is done: postern key show")
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	return &keyFile{path: real, unlock: unlock}, nil
}

func (f *keyFile) close() error { return f.unlock() }

// add puts a new key into the file, beside those that are there, and makes it the one
// that seals.
func (f *keyFile) add() (Key, error) {
	h, err := readKeyFile(f.path)
	if err != nil {
		return Key{}, err
	}
	f.before = ids(h)
	h, _, err = withNewKey(h)
	if err != nil {
		return Key{}, err
	}
	if err := f.write(h); err != nil {
		return Key{}, err
	}
	return LoadKey(f.path)
}

// only is the key that add made, alone.
func (f *keyFile) only() (*keyset.Handle, error) {
	h, err := readKeyFile(f.path)
	if err != nil {
		return nil, err
	}
	return without(h, f.before)
}

// write puts a keyset in the file's place in one step, durable before it shows.
func (f *keyFile) write(h *keyset.Handle) error {
	text, err := keyText(h)
	if err == nil {
		err = f.replace(text)
	}
	if err != nil {
		return fault.New(fault.Invalid, "replace the master key", "%w", err).
			WithHint("let Postern write to the directory of the key file; or make a key elsewhere: postern key move --to-file FILE")
	}
	return nil
}

func (f *keyFile) replace(text []byte) error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	next := f.path + ".next" // one name: what a killed rotation left is replaced by the next one
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(sameOwner(w, info), writeAndClose(w, text)); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, f.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

func writeAndClose(f *os.File, text []byte) error {
	_, err := f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
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

// ids lists a keyset's keys.
func ids(h *keyset.Handle) []uint32 {
	var all []uint32
	for _, k := range h.KeysetInfo().GetKeyInfo() {
		all = append(all, k.GetKeyId())
	}
	return all
}

// withNewKey is a keyset with one key more, which seals from then on.
func withNewKey(h *keyset.Handle) (*keyset.Handle, uint32, error) {
	m := keyset.NewManagerFromHandle(h)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		return nil, 0, fault.Wrap(fault.Unknown, "make a key", err)
	}
	h, err = m.Handle()
	return h, id, fault.Wrap(fault.Unknown, "make a key", err)
}

// without is a keyset that lacks some of its keys.
func without(h *keyset.Handle, gone []uint32) (*keyset.Handle, error) {
	m := keyset.NewManagerFromHandle(h)
	for _, id := range gone {
		if err := m.Delete(id); err != nil {
			return nil, fault.Wrap(fault.Unknown, "drop a key", err)
		}
	}
	h, err := m.Handle()
	return h, fault.Wrap(fault.Unknown, "drop a key", err)
}
