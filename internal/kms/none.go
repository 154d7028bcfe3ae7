//go:build !cloudkeys

package kms

import (
	"context"

	"postern/internal/fault"
)

// Open says that this build reaches no key service.
func Open(_ context.Context, address string) (Keeper, error) {
	return nil, fault.New(fault.Invalid, "master_key_url", "this build of Postern reaches no cloud key service, and the master key is in %s", Name(address)).
		WithHint("run a build that does: go build -tags cloudkeys ./cmd/postern")
}
