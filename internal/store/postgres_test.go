package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
)

// Two changes that lock the same rows in opposite order: PostgreSQL ends one, and it
// is repeated. Repeated at once it could take its first row before the other has woken
// up to take it, and both would stand as before; so it waits for the other's end.
func TestDeadlockIsRepeated(t *testing.T) {
	t.Parallel()
	s := opened(t, newPostgres(t))
	ok(t, s.PutSetting(t.Context(), "a", []byte("0")))
	ok(t, s.PutSetting(t.Context(), "b", []byte("0")))
	var met sync.WaitGroup // both hold their first row
	met.Add(2)
	var runs atomic.Int32
	ended := make(chan struct{}) // one of them has
	end := sync.OnceFunc(func() { close(ended) })
	change := func(first, second string) error {
		var once sync.Once
		return s.Do(t.Context(), "change", func(ctx context.Context, tx store.Querier) error {
			switch n := runs.Add(1); {
			case n == 3:
				<-ended
			case n > 3:
				return fmt.Errorf("run %d: both were ended", n)
			}
			for _, key := range []string{first, second} {
				if _, err := tx.ExecContext(ctx, `UPDATE settings SET value = value || 'x'::bytea WHERE key = $1`, key); err != nil {
					return err
				}
				once.Do(func() { met.Done(); met.Wait() })
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			if err := change(order[0], order[1]); err != nil {
				t.Error(err)
			}
			end()
		})
	}
	wg.Wait()
	if n := runs.Load(); n != 3 {
		t.Errorf("%d runs, want one repeated", n)
	}
	got(t, []byte("0xx"))(s.Setting(t.Context(), "a"))
	got(t, []byte("0xx"))(s.Setting(t.Context(), "b"))
}

// A connection that ends at the commit leaves it open whether the message is there.
// Its body must stay, in case it is.
func TestConnectionEndsAtCommit(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	s := opened(t, d)
	execute(t, d, `
		CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER die AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION die()`)
	m := message(1, "scan")
	err := s.PutMessage(t.Context(), &m, bytes.NewReader(octets(1<<20)))
	failed(t, err, fault.Temporary)
	if !fault.As(err).Ambiguous {
		t.Errorf("%v is not ambiguous", err)
	}
	if n := leftovers(t, d); n != 1 {
		t.Errorf("%d bodies", n)
	}
	execute(t, d, `DROP TRIGGER die ON messages`)
	m = message(2, "scan") // the pool has found another connection
	ok(t, s.PutMessage(t.Context(), &m, bytes.NewReader(octets(1<<20))))
}

func TestReadOnlyPostgres(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	ok(t, opened(t, d).Ping(t.Context()))
	execute(t, d, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	_, err := d.open(t.Context(), store.Options{})
	failed(t, err, fault.Temporary, "read-only")
}

// A sender that is slow holds no connection.
func TestSlowSendersHoldNoConnection(t *testing.T) {
	t.Parallel()
	d := newPostgres(t)
	s, err := d.open(t.Context(), store.Options{MaxConns: 2})
	ok(t, err)
	defer s.Close()
	const slow = 5
	var waiting, wg sync.WaitGroup
	waiting.Add(slow)
	goOn := make(chan struct{})
	for n := range slow {
		wg.Go(func() {
			m := message(n, "scan")
			pause := hook{func() { waiting.Done(); <-goOn }}
			r := io.MultiReader(bytes.NewReader(octets(1<<20)), pause, bytes.NewReader([]byte("end")))
			if err := s.PutMessage(t.Context(), &m, r); err != nil {
				t.Error(err)
			}
		})
	}
	waiting.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := range 10 {
		m := message(100+n, "scan")
		if err := s.PutMessage(ctx, &m, bytes.NewReader([]byte(fmt.Sprint(n)))); err != nil {
			t.Error(errors.Join(err, ctx.Err()))
		}
	}
	close(goOn)
	wg.Wait()
	got(t, map[relay.State]int{relay.Queued: slow + 10})(s.Counts(t.Context()))
}
