package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Sealer seals and opens secrets under the data keys. It looks at the database before
// it seals and whenever it meets a key it does not know, and so follows a rotation
// that another process makes. It is safe for concurrent use.
type Sealer struct{ ring *keyring }

// lookFor bounds a look at the keys in the database, the key service's part included.
// Seals are made and opened in the middle of things, where there is no context to end
// them by.
const lookFor = 10 * time.Second

// OpenSealer unwraps the data keys of this database. A database that has none yet gets
// them now; of two processes that start at once, both end up with the same ones.
func OpenSealer(ctx context.Context, store Store, key Key) (*Sealer, error) {
	if key.seal == nil {
		return nil, fault.New(fault.Invalid, "master key", "there is none")
	}
	k := &keyring{store: store, log: slog.New(slog.DiscardHandler), key: key}
	_, err := k.look(ctx) // mostly there: then nothing is written, on a full or locked disk either
	if errors.Is(err, fault.NotFound) {
		err = k.create(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &Sealer{ring: k}, nil
}

// LogTo lets a Sealer that nobody uses yet say when keys change.
func (s *Sealer) LogTo(log *slog.Logger) { s.ring.log = log }

// Seal encrypts a secret and binds it to what it is and whose, so that a row
// copied to another account does not open. No secret gives no seal.
func (s *Sealer) Seal(clear secret.Text, what, whose string) (Sealed, error) {
	if clear.Empty() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	keys, err := s.ring.look(ctx)
	if err != nil { // what is to be sealed may be the only copy of a refresh token: the keys we know must do
		s.ring.log.WarnContext(ctx, "data keys not read again; sealing under the key known", "key", s.ring.known().primary, "error", err)
		keys = s.ring.known()
	}
	return keys.seal(clear, what, whose)
}

func (k *dataKeys) seal(clear secret.Text, what, whose string) (Sealed, error) {
	b, err := k.aead.Encrypt([]byte(clear.Reveal()), binding(what, whose))
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
	keys, id := s.ring.known(), sealed.key()
	if !keys.has(id) {
		ctx, cancel := context.WithTimeout(context.Background(), lookFor)
		defer cancel()
		var err error
		if keys, err = s.ring.look(ctx); err != nil {
			// This process lacks a key, and the account is not to blame: whatever kind that is
			// at a start, here it may pass.
			return secret.Text{}, fault.New(fault.Temporary, "open "+what, "key %d is not known here: %v", id, err).WithHint("%s", fault.HintOf(err))
		}
	}
	if !keys.has(id) {
		return secret.Text{}, fault.New(fault.NeedsAdmin, "open "+what, "the seal of %q is under key %d, which this database no longer has", whose, id).
			WithHint("enter the secret (or sign in) again; or restore the database as a whole, with its keys")
	}
	b, err := keys.aead.Decrypt(sealed, binding(what, whose))
	if err != nil {
		return secret.Text{}, fault.New(fault.NeedsAdmin, "open "+what, "the seal of %q is broken: its row was changed", whose).
			WithHint("restore the database, or enter the secret (or sign in) again")
	}
	return secret.New(string(b)), nil
}

// binding cannot be the same for two pairs: what is ours and holds no NUL.
func binding(what, whose string) []byte { return []byte(what + "\x00" + whose) }

// key is the id of the key a seal is under, 0 for what is no seal: Tink puts a mark
// and the id before what it encrypts.
func (s Sealed) key() uint32 {
	if len(s) < 5 || s[0] != 1 {
		return 0
	}
	return binary.BigEndian.Uint32(s[1:5])
}
