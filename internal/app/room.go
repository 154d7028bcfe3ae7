package app

import (
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

// diskReserve stays free in the data directory, so that the database can go on with
// what is queued; and as much again as its log has grown to, which is to be copied back.
const diskReserve = 32 << 20

// roomAgain is how long a disk that had room is taken to have some: so short that less
// than the reserve comes in meanwhile.
const roomAgain = 20 * time.Millisecond

// room says whether one more piece of a message may be taken.
type room struct {
	look func() error

	mu   sync.Mutex
	good time.Time // when there was some
}

func (r *room) left() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Sub(r.good) < roomAgain {
		return nil
	}
	err := r.look()
	if err == nil {
		r.good = now
	}
	return err
}

// lookForRoom asks the disk. One that cannot be asked has room until a write fails.
func (a *App) lookForRoom() error {
	free, err := freeSpace(a.Config.DataDir)
	if err != nil || free >= diskReserve+a.Store.LogSize() {
		return nil //nolint:nilerr // said above
	}
	return fault.New(fault.Temporary, "take a message", "%w: %d MB are left in %s", relay.ErrFull, free>>20, a.Config.DataDir).
		WithHint("free space there; what was accepted is safe")
}
