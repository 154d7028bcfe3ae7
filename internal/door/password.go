package door

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"postern/internal/fault"
	"postern/internal/secret"
)

// argon is a set of argon2id costs.
type argon struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// What new hashes cost: OWASP's choice for machines that do other things too.
func newHashCost() argon { return argon{memory: 19 << 10, time: 2, threads: 1} }

// maxHashCost bounds what a stored hash may make us spend.
func maxHashCost() argon { return argon{memory: 256 << 10, time: 16, threads: 16} }

const (
	saltLen = 16
	hashLen = 32
)

// passwordAlphabet has no letters that are read or typed wrong: no i, l, o, u.
const passwordAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// NewPassword makes a password of 100 random bits in four groups of five, which
// can be typed on a printer's panel.
func NewPassword() secret.Text {
	var raw [20]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	var b strings.Builder
	for i, c := range raw {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(passwordAlphabet[c%32])
	}
	return secret.New(b.String())
}

// HashPassword returns an argon2id hash as a PHC string.
func HashPassword(password secret.Text) (string, error) {
	if password.Empty() {
		return "", fault.New(fault.Invalid, "hash password", "it is empty")
	}
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt)
	cost := newHashCost()
	return encodeHash(cost, salt, cost.hash(password, salt, hashLen)), nil
}

// decoyHash is a hash that no password belongs to, made without hashing. Checking
// against it takes as long as against a real one.
func decoyHash() string {
	junk := make([]byte, saltLen+hashLen)
	_, _ = rand.Read(junk)
	return encodeHash(newHashCost(), junk[:saltLen], junk[saltLen:])
}

func encodeHash(cost argon, salt, hash []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, cost.memory, cost.time, cost.threads, b64(salt), b64(hash))
}

func (a argon) hash(password secret.Text, salt []byte, n int) []byte {
	return argon2.IDKey([]byte(password.Reveal()), salt, a.time, a.memory, a.threads, uint32(n)) //nolint:gosec // n is bounded
}

// VerifyPassword returns nil when password belongs to the PHC string, an error
// of fault.Denied when it does not, and of fault.Invalid when phc is no hash.
func VerifyPassword(phc string, password secret.Text) error {
	cost, salt, want, err := parseHash(phc)
	if err != nil {
		return fault.Wrap(fault.Invalid, "verify password", err)
	}
	if subtle.ConstantTimeCompare(cost.hash(password, salt, len(want)), want) != 1 {
		return fault.New(fault.Denied, "verify password", "it is wrong")
	}
	return nil
}

func parseHash(phc string) (cost argon, salt, hash []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return argon{}, nil, nil, fmt.Errorf("not an argon2id hash of version %d", argon2.Version)
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &cost.memory, &cost.time, &cost.threads); err != nil {
		return argon{}, nil, nil, fmt.Errorf("read costs: %w", err)
	}
	limit := maxHashCost()
	if cost.memory < 8 || cost.time < 1 || cost.threads < 1 ||
		cost.memory > limit.memory || cost.time > limit.time || cost.threads > limit.threads {
		return argon{}, nil, nil, fmt.Errorf("costs %q are out of bounds", parts[3])
	}
	if salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil {
		return argon{}, nil, nil, fmt.Errorf("read salt: %w", err)
	}
	if hash, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil {
		return argon{}, nil, nil, fmt.Errorf("read hash: %w", err)
	}
	if len(salt) < 8 || len(salt) > 64 || len(hash) < 16 || len(hash) > 64 {
		return argon{}, nil, nil, fmt.Errorf("salt of %d and hash of %d octets are out of bounds", len(salt), len(hash))
	}
	return cost, salt, hash, nil
}
