package door

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"slices"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Scope is something that a token allows.
type Scope string

// The scopes.
const (
	MaySend       Scope = "send"
	MayReadQueue  Scope = "queue:read"
	MayWriteQueue Scope = "queue:write"
	MayReadFetch  Scope = "fetch:read" // as the next, never for a device
	MayWriteFetch Scope = "fetch:write"
	MayMetrics    Scope = "metrics"

	MayReadAccounts  Scope = "accounts:read"  // and devices; as the next, never for a device
	MayWriteAccounts Scope = "accounts:write" // which makes passwords of devices too

	MayAdmin Scope = "admin" // what people do at the command line; never for a device
)

// Scopes are all of them.
func Scopes() []Scope {
	return []Scope{MaySend, MayReadQueue, MayWriteQueue, MayReadFetch, MayWriteFetch, MayReadAccounts, MayWriteAccounts, MayMetrics, MayAdmin}
}

// Token lets a program use the HTTP API. One with a device sends as that device may
// and sees that device's messages; one without sees all of them and cannot send.
type Token struct {
	ID       string // stands in the token itself, and finds it
	Name     string
	Device   string
	Scopes   []Scope
	Hash     []byte // of the secret
	Created  time.Time
	LastUsed time.Time // to the minute
}

// Tokens keeps them. Missing is fault.NotFound.
type Tokens interface {
	Tokens(ctx context.Context) ([]Token, error)
	Token(ctx context.Context, id string) (Token, error)
	PutToken(ctx context.Context, t Token) error        // fault.Conflict when the name is taken
	DeleteToken(ctx context.Context, name string) error // it lets nobody in from then on
	UseToken(ctx context.Context, id string, at time.Time) error
}

// The look of a token: postern_ID_SECRET. The prefix lets scanners find one that
// stands where it should not.
const (
	tokenPrefix  = "postern_"
	tokenIDLen   = 10
	tokenSecrets = 32 // octets
)

var tokenAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewToken makes a token and the text that proves it, which is kept nowhere.
//
// The hash is a plain SHA-256: the secret is 256 random bits, which nobody finds by
// trying, however fast each try is. Slow hashes are for passwords that people choose,
// and would cost every request what they cost a login.
func NewToken(name, device string, scopes []Scope, now time.Time) (Token, secret.Text, error) {
	const op = "create token"
	t := Token{Name: name, Device: device, Scopes: scopes, Created: now}
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return t, secret.Text{}, fault.New(fault.Invalid, op, "a name without blanks is needed")
	case len(scopes) == 0:
		return t, secret.Text{}, fault.New(fault.Invalid, op, "a token without a scope is good for nothing").WithHint("scopes: %s", scopeNames())
	case t.Allows(MaySend) && device == "":
		return t, secret.Text{}, fault.New(fault.Invalid, op, "to send, a token needs a device: its account, its senders and its policy apply")
	}
	for _, beyond := range []Scope{MayAdmin, MayReadFetch, MayWriteFetch, MayReadAccounts, MayWriteAccounts, MayMetrics} {
		if t.Allows(beyond) && device != "" {
			return t, secret.Text{}, fault.New(fault.Invalid, op, "a token of a device cannot have the scope %s, which goes beyond the device", beyond)
		}
	}
	for _, s := range scopes {
		if !slices.Contains(Scopes(), s) {
			return t, secret.Text{}, fault.New(fault.Invalid, op, "%q is not a scope; allowed: %s", s, scopeNames())
		}
	}
	var id [tokenIDLen]byte
	var key [tokenSecrets]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	_, _ = rand.Read(key[:])
	t.ID = tokenAlphabet.EncodeToString(id[:])
	t.Hash = hashToken(key[:])
	return t, secret.New(tokenPrefix + t.ID + "_" + tokenAlphabet.EncodeToString(key[:])), nil
}

func scopeNames() string {
	var names []string
	for _, s := range Scopes() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// Allows reports whether the token has the scope.
func (t Token) Allows(s Scope) bool { return slices.Contains(t.Scopes, s) }

// FindToken returns the token that a text proves. One that is not ours, is revoked or
// has another secret is fault.Denied; other errors are the store's.
func FindToken(ctx context.Context, all interface { // Tokens
	Token(ctx context.Context, id string) (Token, error)
}, text secret.Text) (Token, error) {
	denied := fault.New(fault.Denied, "check token", "the token is not known here, or was revoked").
		WithHint("make one with: postern tokens create NAME")
	id, key, ok := strings.Cut(strings.TrimPrefix(text.Reveal(), tokenPrefix), "_")
	given, err := tokenAlphabet.DecodeString(key)
	if !ok || err != nil || len(given) != tokenSecrets {
		return Token{}, denied
	}
	t, err := all.Token(ctx, id)
	if fault.KindOf(err) == fault.NotFound {
		return Token{}, denied
	}
	if err != nil {
		return Token{}, err
	}
	if subtle.ConstantTimeCompare(hashToken(given), t.Hash) != 1 {
		return Token{}, denied
	}
	return t, nil
}

func hashToken(key []byte) []byte {
	sum := sha256.Sum256(key)
	return sum[:]
}
