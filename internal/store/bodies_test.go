package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
)

// octets is a body of n octets that no two places have in common.
func octets(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d\r\n", i)
	}
	return b.Bytes()[:n]
}

// leftovers counts the bodies that exist, in rows and in files.
func leftovers(t testing.TB, d database) (n int) {
	t.Helper()
	db, err := d.raw()
	ok(t, err)
	defer db.Close()
	ok(t, db.QueryRow(`SELECT count(DISTINCT body) FROM chunks`).Scan(&n))
	if d.dir != "" {
		files, err := os.ReadDir(filepath.Join(d.dir, "bodies"))
		ok(t, err)
		n += len(files)
	}
	return n
}

func TestBodies(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s := opened(t, d)
		for n, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 256 << 10, 512 << 10, 512<<10 + 1, 1 << 20} {
			m, want := message(n, "scan"), octets(size)
			ok(t, s.PutMessage(t.Context(), &m, bytes.NewReader(want)))
			if m.Size != int64(size) {
				t.Errorf("%d octets: size %d", size, m.Size)
			}
			if have := body(t, s, m.ID); have != string(want) {
				t.Errorf("%d octets: read %d others", size, len(have))
			}
		}
		if n := leftovers(t, d); n != 8 {
			t.Errorf("%d bodies", n)
		}
		for _, m := range claim(t, s, "me") {
			m.State = relay.Delivered
			ok(t, s.FinishMessage(t.Context(), "me", m, relay.Spent{}))
		}
		if n := leftovers(t, d); n != 0 {
			t.Errorf("%d bodies after delivery", n)
		}
		big := message(9, "scan")
		ok(t, s.PutMessage(t.Context(), &big, bytes.NewReader(octets(1<<20))))
		ok(t, s.DeleteMessage(t.Context(), big.ID))
		if n := leftovers(t, d); n != 0 {
			t.Errorf("%d bodies after deletion", n)
		}
	})
}

func TestPutMessageTwice(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s := opened(t, d)
		for n, size := range []int{10, 100 << 10} {
			m, want := message(n, "scan"), octets(size)
			ok(t, s.PutMessage(t.Context(), &m, bytes.NewReader(want)))
			for _, again := range []int{10, 100 << 10} {
				other := message(n, "scan")
				failed(t, s.PutMessage(t.Context(), &other, strings.NewReader(strings.Repeat("x", again))), fault.Conflict)
			}
			if body(t, s, m.ID) != string(want) {
				t.Error("the second took the body of the first")
			}
		}
		if n := leftovers(t, d); n != 2 {
			t.Errorf("%d bodies of 2 messages", n)
		}
	})
}

// A sender that breaks off leaves nothing, and its error stays what it was.
func TestBrokenSender(t *testing.T) {
	t.Parallel()
	broken := fault.New(fault.Invalid, "read data", "message is larger than allowed")
	each(t, func(t *testing.T, d database) {
		s := opened(t, d)
		for n, size := range []int{10, 100 << 10, 1 << 20} {
			m := message(n, "scan")
			m.Size = 7
			err := s.PutMessage(t.Context(), &m, io.MultiReader(bytes.NewReader(octets(size)), failing{broken}))
			failed(t, err, fault.Invalid, "larger than allowed")
			if m.Size != 7 || m.State != "" {
				t.Error("a message that was not stored was changed")
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		m := message(9, "scan")
		err := s.PutMessage(ctx, &m, io.MultiReader(bytes.NewReader(octets(100<<10)), hook{func() { cancel() }}, bytes.NewReader(octets(1<<20))))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("have %v", err)
		}
		got(t, map[relay.State]int{})(s.Counts(t.Context()))
		if n := leftovers(t, d); n != 0 {
			t.Errorf("%d bodies left", n)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// hook does something in the midst of a stream.
type hook struct{ do func() }

func (h hook) Read([]byte) (int, error) { h.do(); return 0, io.EOF }

// The row comes last: while the body still arrives, nobody sees the message.
func TestRowAfterBody(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s, other := opened(t, d), opened(t, d)
		for n, size := range []int{10, 1 << 20} {
			m := message(n, "scan")
			looked := 0
			look := hook{func() {
				looked++
				failed(t, second(other.Message(t.Context(), m.ID)), fault.NotFound)
				if ms := claim(t, other, "other"); len(ms) != 0 {
					t.Errorf("claimed %v", ids(ms))
				}
			}}
			r := io.MultiReader(look, bytes.NewReader(octets(size)), look)
			ok(t, s.PutMessage(t.Context(), &m, r))
			if looked != 2 {
				t.Errorf("looked %d times", looked)
			}
			if ms := claim(t, other, "other"); len(ms) != 1 || body(t, other, ms[0].ID) != string(octets(size)) {
				t.Errorf("claimed %v", ids(ms))
			}
		}
	})
}

// A start removes the bodies that no message has, except young ones: their message
// may be about to come.
func TestSweep(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s, err := d.open(t.Context(), store.Options{})
		ok(t, err)
		kept := message(1, "scan")
		ok(t, s.PutMessage(t.Context(), &kept, bytes.NewReader(octets(1<<20))))
		ok(t, s.Close())
		orphan(t, d, "young", time.Now())
		orphan(t, d, "old", time.Now().Add(-2*time.Hour))
		age(t, d)
		s = opened(t, d)
		if n := leftovers(t, d); n != 2 {
			t.Errorf("%d bodies, want the kept one and the young one", n)
		}
		if body(t, s, kept.ID) != string(octets(1<<20)) {
			t.Error("the body of a message was swept")
		}
	})
}

// orphan makes a body that no message has.
func orphan(t *testing.T, d database, name string, stored time.Time) {
	t.Helper()
	if d.dir != "" {
		path := filepath.Join(d.dir, "bodies", name+".tmp")
		ok(t, os.WriteFile(path, []byte("x"), 0o600))
		ok(t, os.Chtimes(path, stored, stored))
		return
	}
	execute(t, d, fmt.Sprintf(`INSERT INTO chunks (body, part, stored, data) VALUES ('%s', 1, %d, 'x')`, name, stored.UnixMilli()))
}

// age makes every body but the orphans two hours old.
func age(t *testing.T, d database) {
	t.Helper()
	old := time.Now().Add(-2 * time.Hour)
	if d.dir == "" {
		execute(t, d, fmt.Sprintf(`UPDATE chunks SET stored = %d WHERE body NOT IN ('young', 'old')`, old.UnixMilli()))
		return
	}
	files, err := filepath.Glob(filepath.Join(d.dir, "bodies", "*"))
	ok(t, err)
	for _, f := range files {
		if !strings.HasSuffix(f, ".tmp") {
			ok(t, os.Chtimes(f, old, old))
		}
	}
}

func execute(t *testing.T, d database, query string) {
	t.Helper()
	db, err := d.raw()
	ok(t, err)
	defer db.Close()
	_, err = db.Exec(query)
	ok(t, err)
}

// A body that another process took away while it arrived fails its message.
func TestSweptMeanwhile(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s := opened(t, d)
		m := message(1, "scan")
		sweep := hook{func() {
			if d.dir == "" {
				execute(t, d, `DELETE FROM chunks`)
				return
			}
			files, _ := filepath.Glob(filepath.Join(d.dir, "bodies", "*"))
			for _, f := range files {
				ok(t, os.Remove(f))
			}
		}}
		err := s.PutMessage(t.Context(), &m, io.MultiReader(bytes.NewReader(octets(1<<20)), sweep))
		failed(t, err, fault.Temporary)
		got(t, map[relay.State]int{})(s.Counts(t.Context()))
		if n := leftovers(t, d); n != 0 {
			t.Errorf("%d bodies left", n)
		}
	})
}

// A body that is gone though its message is there is damage, and says so.
func TestLostBody(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s := opened(t, d)
		m := message(1, "scan")
		ok(t, s.PutMessage(t.Context(), &m, bytes.NewReader(octets(1<<20))))
		if d.dir == "" {
			execute(t, d, `DELETE FROM chunks WHERE part = 2`)
		} else {
			ok(t, os.RemoveAll(filepath.Join(d.dir, "bodies")))
		}
		r, err := s.Body(t.Context(), m.ID)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		failed(t, err, fault.Permanent)
		if !strings.Contains(fault.HintOf(err), "backup") {
			t.Errorf("hint %q", fault.HintOf(err))
		}
	})
}

// Neither way may a body of 20 MB stand in memory. This test is not parallel, so that
// no other one's memory is counted.
func TestMemoryIsBounded(t *testing.T) {
	for _, d := range []struct {
		name string
		make func(*testing.T) database
	}{{"sqlite", newSQLite}, {"postgres", newPostgres}} {
		t.Run(d.name, func(t *testing.T) {
			const size, bound = 20 << 20, 6 << 20
			s := opened(t, d.make(t))
			m := message(1, "scan")
			in := &meter{sum: sha256.New(), src: io.LimitReader(counting{}, size), base: heap()}
			ok(t, s.PutMessage(t.Context(), &m, in))
			r, err := s.Body(t.Context(), m.ID)
			ok(t, err)
			defer r.Close()
			out := &meter{sum: sha256.New(), src: r, base: heap()}
			n, err := io.Copy(io.Discard, out)
			ok(t, err)
			if n != size || !bytes.Equal(in.sum.Sum(nil), out.sum.Sum(nil)) {
				t.Errorf("%d octets came back, or others", n)
			}
			if in.peak > bound || out.peak > bound {
				t.Errorf("%d octets of heap while storing, %d while reading", in.peak, out.peak)
			}
		})
	}
}

// counting yields octets without end.
type counting struct{}

func (counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// meter hashes a stream and measures the heap at every megabyte.
type meter struct {
	src        io.Reader
	sum        hash.Hash
	base, peak int64
	read       int
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.src.Read(p)
	m.sum.Write(p[:n])
	if before := m.read; before>>20 != (m.read+n)>>20 {
		m.peak = max(m.peak, heap()-m.base)
	}
	m.read += n
	return n, err
}

// A sender that goes away while it speaks over TLS, or in an HTTP request, ends its
// message with io.ErrUnexpectedEOF: that is no end of a message.
func TestBodyCutShortIsNotKept(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		for _, size := range []int{10, 64 << 10, 64<<10 + 1, 300 << 10, 512 << 10} {
			m := message(size, "scan")
			err := s.PutMessage(t.Context(), &m, io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(io.ErrUnexpectedEOF)))
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d octets: %v", size, err)
			}
			if _, err := s.Message(t.Context(), m.ID); !errors.Is(err, fault.NotFound) {
				t.Errorf("%d octets: kept: %v", size, err)
			}
		}
	})
}
