package vault

import (
	"context"
	"time"

	"postern/internal/secret"
)

// Credential is what signs an account in at a server: a token or a password, never both.
type Credential struct {
	User     string      // the mailbox: XOAUTH2's user=, or the name that goes with Password
	Token    secret.Text // for XOAUTH2 or a Bearer header
	Password secret.Text // for PLAIN and LOGIN; only accounts with an app password have one
	Expires  time.Time   // of Token
	Scopes   []string    // as granted; empty for a password
}

// Want says how a credential is wanted.
type Want uint8

// The ways of wanting.
const (
	Cached Want = iota // the one there is, unless it is due
	Fresh              // a new one, because a server refused the last
	Asked              // a new one, because a person wants to know: a pause is no reason not to try
)

// Credential returns what signs an account in for one of its purposes, whatever its
// method: the one contract of all grants. Its errors are those of [Vault.Token].
func (v *Vault) Credential(ctx context.Context, account string, p Purpose, w Want) (Credential, error) {
	t, err := v.Token(ctx, account, p, w != Cached)
	return Credential{Token: t}, err
}
