package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/fault"
)

// newBench returns a writer without a loop, so that a test can compose its batches.
func newBench(t *testing.T) (w *writer, s *Store) {
	t.Helper()
	dir := t.TempDir()
	s, err := OpenSQLite(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := connectSQLite(filepath.Join(dir, databaseFile), time.Second, "synchronous(FULL)", "foreign_keys(ON)", "wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	w, err = newWriter(t.Context(), db, filepath.Join(dir, databaseFile+"-wal"), Options{BusyTimeout: time.Second}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(w.ended) // there was no loop to end
		if err := errors.Join(w.close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return w, s
}

func batchOf(changes ...func(tx querier) error) []*pending {
	var batch []*pending
	for _, c := range changes {
		batch = append(batch, &pending{run: c, gone: func() error { return nil }})
	}
	return batch
}

// set writes a setting named key; then it fails with err.
func set(key string, err error) func(tx querier) error {
	return func(tx querier) error {
		_, xerr := tx.ExecContext(context.Background(), `INSERT INTO settings (key, value) VALUES ($1, x'00')`, key)
		return errors.Join(xerr, err)
	}
}

func statement(query string) func(tx querier) error {
	return func(tx querier) error {
		_, err := tx.ExecContext(context.Background(), query)
		return err
	}
}

// keys are the names of all settings, sorted.
func keys(t *testing.T, s *Store) string {
	t.Helper()
	joined, err := column[string](t.Context(), s.db, "list",
		`SELECT COALESCE(group_concat(key, ' '), '') FROM (SELECT key FROM settings ORDER BY key)`)
	if err != nil {
		t.Fatal(err)
	}
	return joined
}

func TestFailingChangeIsAlone(t *testing.T) {
	t.Parallel()
	w, s := newBench(t)
	own := errors.New("own")
	batch := batchOf(set("a", nil), set("b", own), set("c", nil), set("a", nil), statement(`NO SQL`), set("d", nil))
	batch[5].gone = func() error { return context.Canceled }
	w.commit(batch)
	for i, want := range []func(error) bool{
		func(e error) bool { return e == nil },
		func(e error) bool { return errors.Is(e, own) },
		func(e error) bool { return e == nil },
		func(e error) bool { return errors.Is(classify("x", e), fault.Conflict) },
		func(e error) bool { return e != nil },
		func(e error) bool { return errors.Is(e, context.Canceled) },
	} {
		if !want(batch[i].err) {
			t.Errorf("change %d: %v", i, batch[i].err)
		}
	}
	if have := keys(t, s); have != "a c" {
		t.Errorf("kept %q", have)
	}
}

// Some failures end the whole transaction. Then nobody's change is kept, nobody is
// told that it was, and the next batch works.
func TestLostTransactionFailsAll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(tx querier) error
		kind   fault.Kind
	}{
		"rolled back, then failed": {func(tx querier) error {
			return errors.Join(statement(`ROLLBACK`)(tx), errors.New("full"))
		}, fault.Temporary},
		"commit refused": {func(tx querier) error {
			return errors.Join(statement(`PRAGMA defer_foreign_keys = ON`)(tx),
				statement(`INSERT INTO links (token_hash, account, expires) VALUES ('h', 'nobody', 0)`)(tx))
		}, fault.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := newBench(t)
			batch := batchOf(set("a", nil), c.change, set("b", nil))
			w.commit(batch)
			for i, p := range batch {
				if err := classify("x", p.err); fault.KindOf(err) != c.kind || fault.As(err).Ambiguous {
					t.Errorf("change %d: %v", i, err)
				}
			}
			if have := keys(t, s); have != "" {
				t.Errorf("kept %q", have)
			}
			again := batchOf(set("z", nil))
			w.commit(again)
			if have := keys(t, s); again[0].err != nil || have != "z" {
				t.Errorf("afterwards: %v, kept %q", again[0].err, have)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	w, s := newBench(t)
	w.commit(batchOf(set("before", nil)))
	if err := w.exec(t.Context(), `PRAGMA max_page_count = 1`); err != nil { // SQLite takes the present size for it
		t.Fatal(err)
	}
	big := statement(`INSERT INTO settings (key, value) VALUES ('big', zeroblob(1000000))`)
	batch := batchOf(big)
	w.commit(batch)
	err := classify("save", batch[0].err)
	if fault.KindOf(err) != fault.Temporary || !strings.Contains(err.Error(), "the disk is full") || fault.HintOf(err) == "" {
		t.Errorf("have %v", err)
	}
	if err := w.exec(t.Context(), `PRAGMA max_page_count = 1000000`); err != nil {
		t.Fatal(err)
	}
	w.commit(batchOf(big))
	if have := keys(t, s); have != "before big" {
		t.Errorf("kept %q", have)
	}
}

// A caller whose context ends while it waits is let go, and its change never runs.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	s, err := OpenSQLite(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	busy, free := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- s.writes.do(context.Background(), "hold", func(context.Context, querier) error {
			close(busy)
			<-free
			return nil
		})
	}()
	<-busy
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() {
		second <- s.writes.do(ctx, "wait", func(context.Context, querier) error {
			t.Error("a change ran for a caller that had gone")
			return nil
		})
	}()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
	close(free)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// Once a change has begun its caller gets to know how it ended, whatever happens
// to the caller's context.
func TestBegunIsFinished(t *testing.T) {
	t.Parallel()
	s, err := OpenSQLite(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	err = s.writes.do(ctx, "save", func(_ context.Context, tx querier) error {
		cancel()
		return set("a", nil)(tx)
	})
	if have := keys(t, s); err != nil || have != "a" {
		t.Errorf("%v, kept %q", err, have)
	}
}

// The write-ahead log does not grow without end; a reader that stays on an old
// snapshot delays that, and stops nobody.
func TestLogIsCopiedBack(t *testing.T) {
	t.Parallel()
	s, err := OpenSQLite(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wal := s.writes.(*writer).wal
	size := func() int64 {
		info, err := os.Stat(wal)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	value := make([]byte, 1<<20)
	fill := func(n int) (largest int64) {
		for i := range n {
			_, _ = rand.Read(value) // SQLite does not write what is there already
			if err := s.PutSetting(t.Context(), fmt.Sprint("k", i), value); err != nil {
				t.Fatal(err)
			}
			largest = max(largest, size())
		}
		return largest
	}
	if n := fill(40); n > walLimit+4<<20 {
		t.Errorf("the log grew to %d", n)
	}
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := column[int](t.Context(), tx, "read", `SELECT count(*) FROM settings`); err != nil {
		t.Fatal(err)
	}
	if n := fill(24); n < walLimit+4<<20 {
		t.Errorf("the log grew to %d only: the reader was not in the way", n)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for size() > walLimit && time.Now().Before(deadline) {
		fill(1)
	}
	if n := size(); n > walLimit {
		t.Errorf("the log stays at %d", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(wal); err == nil && info.Size() > 0 {
		t.Errorf("%d octets of log after the end", info.Size())
	}
}

func TestLogGrowsInACrowd(t *testing.T) {
	t.Parallel()
	w := &writer{limit: walLimit}
	begun := time.Now()
	for _, step := range []struct {
		name  string
		batch int
		after time.Duration
		limit int64
		want  int64
	}{
		{"alone", 1, 0, walLimit, walLimit},
		{"in a crowd", crowd, time.Second, walLimit, crowdLimit},
		{"alone within a rush", 1, time.Second + idleAfter/2, walLimit, crowdLimit},
		{"behind a reader", crowd, 2 * time.Second, 2 * crowdLimit, 2 * crowdLimit},
		{"after it", 1, 2*time.Second + idleAfter, walLimit, walLimit},
	} {
		w.limit = step.limit
		if have := w.due(step.batch, begun.Add(step.after)); have != step.want {
			t.Errorf("%s: %d, want %d", step.name, have, step.want)
		}
	}
}

// In a crowd a commit waits for those that were in the last one, but not for ever; and
// for nobody when few are there.
func TestCommitWaitsForACrowd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		before, come int
		every, waits time.Duration
		want         int
	}{
		{"all come back", 5, 4, linger / 10, 4 * linger / 10, 5},
		{"some stay away", 20, 3, linger / 10, linger, 4},
		{"they are too slow", 5, 4, linger * 2, linger, 1},
		{"no crowd", crowd - 1, 2, linger / 10, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &writer{queue: make(chan *pending), before: c.before}
				enough := make(chan struct{})
				var others sync.WaitGroup
				others.Go(func() {
					tick := time.NewTicker(c.every)
					defer tick.Stop()
					for range c.come {
						select {
						case <-tick.C:
						case <-enough:
							return
						}
						select {
						case w.queue <- &pending{}:
						case <-enough:
							return
						}
					}
				})
				begun := time.Now()
				batch := w.gather([]*pending{{}})
				if waited := time.Since(begun); len(batch) != c.want || waited != c.waits {
					t.Errorf("%d after %s", len(batch), waited)
				}
				close(enough)
				others.Wait()
			})
		})
	}
}
