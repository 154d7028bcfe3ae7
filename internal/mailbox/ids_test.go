package mailbox

import (
	"runtime"
	"slices"
	"strconv"
	"testing"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	for name, ids := range map[string][]string{
		"none":     nil,
		"one":      {"7"},
		"numbers":  {"8", "9", "10", "99", "100"},
		"unsorted": {"b", "a", "ab", "", "ba", "a 2", "!~"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := NewIDs(slices.Values(ids))
			if l.Len() != len(ids) {
				t.Fatalf("%d of %d ids", l.Len(), len(ids))
			}
			for i, id := range ids {
				if at, there := l.Find(id); l.At(i) != id || at != i || !there {
					t.Errorf("%d is %q, and %q at %d (%v)", i, l.At(i), id, at, there)
				}
			}
			for _, id := range []string{"1", "98", "a ", "c", "1000"} {
				if i, there := l.Find(id); there {
					t.Errorf("%q, which is not in it, is at %d", id, i)
				}
			}
		})
	}
}

// FuzzIDs puts what is found against a search from the beginning.
func FuzzIDs(f *testing.F) {
	f.Add("1", "2", "10", "2")
	f.Add("", "a", "aa", "b")
	f.Fuzz(func(t *testing.T, a, b, c, wanted string) {
		ids := []string{a, b, c}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		i, there := NewIDs(slices.Values(ids)).Find(wanted)
		if at := slices.Index(ids, wanted); there != (at >= 0) || there && i != at {
			t.Errorf("%q in %q is at %d (%v)", wanted, ids, i, there)
		}
	})
}

// A message takes some bytes, and no allocation of its own.
func TestIDsAreSmall(t *testing.T) { //nolint:paralleltest // it measures the heap
	const count, most = 100_000, 12
	numbers := func(yield func(string) bool) {
		for i := range count {
			if !yield(strconv.Itoa(1_000_000 + i)) {
				return
			}
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := NewIDs(numbers)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / count; each > most { //nolint:gosec // a heap is smaller
		t.Errorf("%d bytes for each id", each)
	}
	runtime.KeepAlive(l)
}
