// Package kms reaches a master key that stays in a cloud key service. The services' own
// libraries are large, so only builds with the tag cloudkeys have them; in others Open
// says so.
package kms

import (
	"context"
	"net/url"
)

// Keeper is a key in a service, which encrypts and decrypts a little at a time. It is
// good for as long as the process.
type Keeper interface {
	Encrypt(ctx context.Context, clear []byte) ([]byte, error)
	Decrypt(ctx context.Context, sealed []byte) ([]byte, error)
}

// Name is a key's address without what stands behind the question mark: enough to tell
// one key from another.
func Name(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "a key service"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
