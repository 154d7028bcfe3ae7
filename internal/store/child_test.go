package store_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
)

// The test binary runs itself again as another process: what dies by a signal, or
// holds a lock, must not be this one.
const (
	childRole = "POSTERN_STORE_CHILD"
	childDir  = "POSTERN_STORE_DIR"
)

func child(role, dir string) int {
	run := map[string]func(dir string) error{"put": putForever, "lock": holdLock, "claim": claimOne}[role]
	if err := run(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// start runs a child that ends with the test at the latest.
func start(t *testing.T, role, dir string) (cmd *exec.Cmd, stdin io.WriteCloser, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"="+role, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	return cmd, stdin, bufio.NewScanner(out)
}

// putForever queues messages of many sizes from several goroutines, and prints the
// id and size of each that was accepted.
func putForever(dir string) error {
	ctx := context.Background()
	s, err := store.OpenSQLite(ctx, dir, store.Options{})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	fails := make(chan error, 6)
	for range 6 {
		wg.Go(func() {
			for {
				size := []int{100, 10 << 10, 64 << 10, 200 << 10}[rand.N(4)]
				m := relay.Message{ID: mail.NewID(time.Now()), Account: "scan", Recipients: []relay.Recipient{{State: relay.Waiting}}}
				if err := s.PutMessage(ctx, &m, bytes.NewReader(crashBody(m.ID, size))); err != nil {
					fails <- err
					return
				}
				fmt.Println(m.ID, size) // one write: lines stay whole
			}
		})
	}
	wg.Wait()
	return <-fails
}

// crashBody can be told from the body of any other message.
func crashBody(id string, size int) []byte {
	return bytes.Repeat([]byte(id+"\r\n"), size/28+1)[:size]
}

// TestCrash kills a process that accepts mail, at instants that chance chooses. What
// it said it had accepted must be there, whole; and what is there must be whole.
func TestCrash(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	accepted, newest := map[string]int{}, ""
	for range rounds {
		cmd, _, lines := start(t, "put", d.dir)
		for left := 1 + rand.N(60); lines.Scan(); left-- {
			id, size, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.Atoi(size)
			ok(t, err)
			accepted[id] = n
			if left == 0 {
				ok(t, cmd.Process.Kill())
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		newest = intact(t, d, accepted, newest)
	}
	intact(t, d, accepted, "")
	t.Logf("%d messages accepted in %d lives", len(accepted), rounds)
}

// intact looks at the messages after an id, and returns the newest one's.
func intact(t *testing.T, d database, accepted map[string]int, last string) string {
	t.Helper()
	s, err := d.open(t.Context(), store.Options{})
	ok(t, err)
	defer s.Close()
	there, from := map[string]bool{}, last
	for {
		page, err := s.Messages(t.Context(), relay.Filter{After: last, Limit: 1000})
		ok(t, err)
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			there[m.ID], last = true, m.ID
			if body(t, s, m.ID) != string(crashBody(m.ID, int(m.Size))) {
				t.Errorf("message %s has another body", m.ID)
			}
		}
	}
	for id := range accepted {
		if id > from && !there[id] {
			t.Errorf("message %s was accepted and is gone", id)
		}
	}
	return last
}

// holdLock keeps SQLite's write lock until its standard input ends.
func holdLock(dir string) error {
	db, err := sqliteIn(dir).raw()
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(context.Background(), `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	fmt.Println("locked")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// Another process's write is waited for; one that does not end is named.
func TestLockOfAnotherProcess(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	hasty, err := d.open(t.Context(), store.Options{BusyTimeout: 50 * time.Millisecond})
	ok(t, err)
	defer hasty.Close()
	patient := opened(t, d)
	cmd, stdin, lines := start(t, "lock", d.dir)
	if !lines.Scan() || lines.Text() != "locked" {
		t.Fatal("the child has no lock")
	}

	err = hasty.PutApp(t.Context(), contoso())
	failed(t, err, fault.Temporary, "another process holds the database")
	if fault.HintOf(err) == "" {
		t.Error("no hint")
	}
	got(t, map[relay.State]int{})(hasty.Counts(t.Context())) // reading goes on
	ok(t, hasty.Ping(t.Context()))

	done := make(chan error, 1)
	go func() { done <- patient.PutApp(t.Context(), contoso()) }()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	ok(t, stdin.Close())
	ok(t, cmd.Wait())
	ok(t, <-done)
	ok(t, hasty.PutApp(t.Context(), contoso()))
	if errors.Is(hasty.Ping(t.Context()), fault.Temporary) {
		t.Error("still locked")
	}
}

// claimOne leases what is due, says what, and waits for its end.
func claimOne(dir string) error {
	ctx := context.Background()
	s, err := store.OpenSQLite(ctx, dir, store.Options{Holder: "host/9/CHILD"})
	if err != nil {
		return err
	}
	claimed, err := s.ClaimMessages(ctx, relay.Claim{Holder: "host/9/CHILD", Now: time.Now(), Until: time.Now().Add(time.Hour), Most: 9, PerAccount: 9})
	if err != nil {
		return err
	}
	for _, m := range claimed {
		fmt.Println(m.ID)
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
