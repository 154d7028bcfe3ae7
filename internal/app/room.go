package app

import (
	"postern/internal/fault"
	"postern/internal/relay"
)

// diskReserve stays free in the data directory, so that the database can go on with
// what is queued; and as much again as its log has grown to, which is to be copied back.
const diskReserve = 32 << 20

// room says whether one more piece of a message may be taken. A disk that cannot be
// asked has room until a write fails.
func (a *App) room() error {
	free, err := freeSpace(a.Config.DataDir)
	if err != nil || free >= diskReserve+a.Store.LogSize() {
		return nil //nolint:nilerr // said above
	}
	return fault.New(fault.Temporary, "take a message", "%w: %d MB are left in %s", relay.ErrFull, free>>20, a.Config.DataDir).
		WithHint("free space there; what was accepted is safe")
}
