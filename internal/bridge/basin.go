package bridge

import "sync"

// The sizes of what is read into: little while a session idles, more than a TLS record
// and a held line while it does not.
const (
	smallBasin = 512
	bigBasin   = 24 << 10
	maxHeld    = 4 << 10 // of a line that has not ended yet
)

var basins = sync.Pool{New: func() any { return new([bigBasin]byte) }}

// basin is what one direction reads into. It begins with what is held back: the start
// of a line that has not ended.
type basin struct {
	small [smallBasin]byte
	big   *[bigBasin]byte
	held  int
}

func (b *basin) bytes() []byte {
	if b.big != nil {
		return b.big[:]
	}
	return b.small[:]
}

// room is where to read to.
func (b *basin) room() []byte { return b.bytes()[b.held:] }

// take is everything in the basin after n octets more were read. When they filled it,
// there is more to come, and the next read finds more room.
func (b *basin) take(n int) []byte { return b.bytes()[:b.held+n] }

// keep holds back the last octets of what was taken.
func (b *basin) keep(rest []byte, filled bool) {
	if (filled || len(rest) >= smallBasin) && b.big == nil {
		b.big, _ = basins.Get().(*[bigBasin]byte)
	}
	b.held = copy(b.bytes(), rest)
}

// rest gives the big buffer back when the session idles.
func (b *basin) rest() {
	if b.big == nil || b.held > smallBasin/2 {
		return
	}
	copy(b.small[:], b.big[:b.held])
	basins.Put(b.big)
	b.big = nil
}

// empty gives it back for good.
func (b *basin) empty() {
	b.held = 0
	b.rest()
}
