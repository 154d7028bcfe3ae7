package vault

import (
	"crypto/subtle"
	"strings"

	"postern/internal/secret"
)

// whatPassword is what an account's password is sealed as.
const whatPassword = "account password"

// PasswordIs reports whether clear is the password of a.
func (v *Vault) PasswordIs(a Account, clear secret.Text) bool {
	have, err := v.seal.Open(a.Password, whatPassword, a.Name)
	return err == nil && subtle.ConstantTimeCompare([]byte(have.Reveal()), []byte(strings.TrimSpace(clear.Reveal()))) == 1
}
