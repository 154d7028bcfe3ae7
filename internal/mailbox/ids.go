package mailbox

import (
	"cmp"
	"iter"
	"slices"
	"sort"
	"strings"
)

// IDs is a list of message ids, each of them different, that takes little more room than
// their characters: a folder may hold any number of messages.
type IDs struct {
	text  string   // one id behind the other
	ends  []uint32 // where each ends in it
	order []uint32 // their positions, in the order of the ids; nil: they are in it, as they mostly are
}

// NewIDs lists ids, which it asks for twice.
func NewIDs(ids iter.Seq[string]) IDs {
	count, size := 0, 0
	for id := range ids {
		count++
		size += len(id)
	}
	var text strings.Builder
	text.Grow(size)
	l := IDs{ends: make([]uint32, 0, count)}
	last, sorted := "", true
	for id := range ids {
		text.WriteString(id)
		l.ends = append(l.ends, uint32(text.Len())) //nolint:gosec // no listing has four gigabytes
		sorted = sorted && compare(last, id) <= 0
		last = id
	}
	l.text = text.String()
	if !sorted {
		l.sort()
	}
	return l
}

func (l *IDs) sort() {
	l.order = make([]uint32, l.Len())
	for i := range l.order {
		l.order[i] = uint32(i) //nolint:gosec // fewer than there are octets
	}
	slices.SortFunc(l.order, func(a, b uint32) int { return compare(l.At(int(a)), l.At(int(b))) })
}

// compare has numbers in their own order, which servers list them in.
func compare(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }

// Len is how many there are.
func (l IDs) Len() int { return len(l.ends) }

// At is the id at a position.
func (l IDs) At(i int) string {
	if i == 0 {
		return l.text[:l.ends[0]]
	}
	return l.text[l.ends[i-1]:l.ends[i]]
}

// Find is the position of an id.
func (l IDs) Find(id string) (i int, there bool) {
	at := func(n int) int {
		if l.order == nil {
			return n
		}
		return int(l.order[n])
	}
	n, there := sort.Find(l.Len(), func(n int) int { return compare(id, l.At(at(n))) })
	if !there {
		return 0, false
	}
	return at(n), true
}

// With is the list with more ids behind it, which it has not.
func (l IDs) With(more ...string) IDs {
	return NewIDs(func(yield func(string) bool) {
		for id := range l.All() {
			if !yield(id) {
				return
			}
		}
		for _, id := range more {
			if !yield(id) {
				return
			}
		}
	})
}

// All are the ids, in the order that they were given in.
func (l IDs) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range l.ends {
			if !yield(l.At(i)) {
				return
			}
		}
	}
}
