package fetch

import (
	"iter"
	"slices"

	"postern/internal/mailbox"
)

// contents is what a run keeps in mind of the messages in a folder: some bytes for each,
// so that a folder may hold any number of them.
type contents struct {
	ids     mailbox.IDs // those listed, in their order, and behind them others
	listed  int
	known   []bool // by the ledger, which is why there is no need to look at them
	settled []bool // by this run, which does not come back to them
}

// newContents makes the contents of a folder as it was listed just now. Others matter
// though they are not in the list; what was settled before, on another connection, stays
// so, and may be in the list the next time.
func newContents(listed mailbox.IDs, others iter.Seq[string], settled mailbox.IDs) *contents {
	c := &contents{ids: listed, listed: listed.Len()}
	var absent []string
	for _, more := range []iter.Seq[string]{others, settled.All()} {
		for id := range more {
			if _, there := c.ids.Find(id); !there {
				absent = append(absent, id)
			}
		}
	}
	if len(absent) > 0 {
		slices.Sort(absent)
		c.ids = listed.With(slices.Compact(absent)...)
	}
	c.known, c.settled = make([]bool, c.ids.Len()), make([]bool, c.ids.Len())
	for id := range settled.All() {
		c.settle(id)
	}
	return c
}

// has reports whether a message was listed.
func (c *contents) has(id string) bool {
	i, there := c.ids.Find(id)
	return there && i < c.listed
}

func (c *contents) know(id string) {
	if i, there := c.ids.Find(id); there { // the ledger knows many that are long gone
		c.known[i] = true
	}
}

func (c *contents) settle(id string) {
	if i, there := c.ids.Find(id); there {
		c.settled[i] = true
	}
}

func (c *contents) isSettled(id string) bool {
	i, there := c.ids.Find(id)
	return there && c.settled[i]
}

// done are the messages settled, in the list or not.
func (c *contents) done() mailbox.IDs {
	return mailbox.NewIDs(func(yield func(string) bool) {
		for i, settled := range c.settled {
			if settled && !yield(c.ids.At(i)) {
				return
			}
		}
	})
}

// open are the positions of the messages listed that nobody has dealt with.
func (c *contents) open() (at []uint32) {
	for i := range c.listed {
		if !c.known[i] && !c.settled[i] {
			at = append(at, uint32(i)) //nolint:gosec // IDs counts no further
		}
	}
	return at
}

// unsettled are the positions of those of some messages that this run has not dealt with.
func (c *contents) unsettled(ids iter.Seq[string]) (at []uint32) {
	for id := range ids {
		if i, there := c.ids.Find(id); there && !c.settled[i] {
			at = append(at, uint32(i)) //nolint:gosec // IDs counts no further
		}
	}
	slices.Sort(at)
	return at
}

// pick are the messages at some positions.
func (c *contents) pick(at []uint32) []string {
	ids := make([]string, 0, len(at))
	for _, i := range at {
		ids = append(ids, c.ids.At(int(i)))
	}
	return ids
}
