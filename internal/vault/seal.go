package vault

import (
	"context"
	"errors"

	"github.com/tink-crypto/tink-go/v2/tink"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Sealer seals and opens secrets under the master key.
type Sealer struct{ seal tink.AEAD }

// The setting that proves which key a database was sealed with, and what it says.
const (
	checkSetting = "vault.check"
	checkText    = "postern"
	checkWhat    = "check"
)

// OpenSealer makes sure the key is the one this database knows; a database that
// knows none yet learns it now.
func OpenSealer(ctx context.Context, store Store, key Key) (*Sealer, error) {
	if key.seal == nil {
		return nil, fault.New(fault.Invalid, "master key", "there is none")
	}
	s := &Sealer{seal: key.seal}
	kept, err := store.Setting(ctx, checkSetting) // mostly there: then nothing is written, on a full or locked disk either
	if errors.Is(err, fault.NotFound) {
		fresh, serr := s.Seal(secret.New(checkText), checkWhat, "")
		if serr != nil {
			return nil, serr
		}
		kept, err = store.PutSettingOnce(ctx, checkSetting, fresh)
	}
	if err != nil {
		return nil, err
	}
	clear, err := s.Open(kept, checkWhat, "")
	if err != nil || clear.Reveal() != checkText {
		return nil, fault.New(fault.Invalid, "master key", "this master key does not open this database").
			WithHint("give the key this database was made with (master_key_file or POSTERN_MASTER_KEY); without it a new database is needed and every account must sign in again")
	}
	return s, nil
}

// Seal encrypts a secret and binds it to what it is and whose, so that a row
// copied to another account does not open. No secret gives no seal.
func (s *Sealer) Seal(clear secret.Text, what, whose string) (Sealed, error) {
	if clear.Empty() {
		return nil, nil
	}
	b, err := s.seal.Encrypt([]byte(clear.Reveal()), binding(what, whose))
	if err != nil {
		return nil, fault.New(fault.Unknown, "seal "+what, "encryption failed")
	}
	return b, nil
}

// Open decrypts what Seal made for the same what and whose.
func (s *Sealer) Open(sealed Sealed, what, whose string) (secret.Text, error) {
	if len(sealed) == 0 {
		return secret.Text{}, nil
	}
	b, err := s.seal.Decrypt(sealed, binding(what, whose))
	if err != nil {
		return secret.Text{}, fault.New(fault.NeedsAdmin, "open "+what, "the seal of %q is broken: it is not under this master key, or its row was changed", whose).
			WithHint("restore the database and its key together, or enter the secret (or sign in) again")
	}
	return secret.New(string(b)), nil
}

// binding cannot be the same for two pairs: what is ours and holds no NUL.
func binding(what, whose string) []byte { return []byte(what + "\x00" + whose) }
