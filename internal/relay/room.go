package relay

import (
	"errors"
	"io"
)

// ErrFull is within the error of a message for which there is no room: the disk is
// full, or so nearly that what is queued already could no longer be worked on.
var ErrFull = errors.New("the disk is full")

// roomStep is how much of a message is taken between two looks at the disk.
const roomStep = 1 << 20

// roomy reads a message for as long as there is room for it.
type roomy struct {
	r    io.Reader
	room func() error
	left int // until the next look
}

// Read is for io.Reader. The first one looks.
func (r *roomy) Read(p []byte) (int, error) {
	if r.left <= 0 {
		if err := r.room(); err != nil {
			return 0, err
		}
		r.left = roomStep
	}
	n, err := r.r.Read(p)
	r.left -= n
	return n, err
}
