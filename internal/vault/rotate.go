package vault

import (
	"context"

	"postern/internal/fault"
)

// Rotation is what a rotation did.
type Rotation struct {
	Primary  uint32 // id of the key that seals from now on
	Resealed int    // secrets that were sealed anew
	Left     int    // secrets still under an older key
	Keys     int    // keys there are now
}

// RotateKeys makes a new data key the one that seals and seals everything anew under
// it, while other processes go on. Older keys stay until PruneKeys.
func (v *Vault) RotateKeys(ctx context.Context) (Rotation, error) {
	return Rotation{}, fault.New(fault.Unknown, "rotate the keys", "not built yet: %v", ctx)
}

// PruneKeys drops the keys that seal nothing any more; fault.Conflict while one does.
func (v *Vault) PruneKeys(ctx context.Context) (Rotation, error) {
	return Rotation{}, fault.New(fault.Unknown, "prune the keys", "not built yet: %v", ctx)
}
