package vault_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers itself as pgx

	"postern/internal/entra"
	"postern/internal/outbound"
	"postern/internal/store"
	"postern/internal/vault"
)

// childEnv holds what the test binary needs to run as another node.
const childEnv = "POSTERN_VAULT_CHILD"

// together is how many callers ask at once in each process.
const together = 50

func TestMain(m *testing.M) {
	if env := os.Getenv(childEnv); env != "" {
		if err := beNode(env); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// node is what a process is told of itself.
type node struct {
	Directory, Postgres, Key, Holder string // one of the first two
}

func (n node) open(ctx context.Context) (*store.Store, error) {
	if n.Postgres != "" {
		return store.OpenPostgres(ctx, n.Postgres, store.Options{Holder: n.Holder})
	}
	return store.OpenSQLite(ctx, n.Directory, store.Options{Holder: n.Holder})
}

// beNode reads times from its standard input. At each, many callers ask for a token
// together, and a digest of what each of them got is printed.
func beNode(env string) error {
	ctx := context.Background()
	var n node
	if err := json.Unmarshal([]byte(env), &n); err != nil {
		return err
	}
	db, err := n.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // the process ends
	key, _, err := vault.LoadOrCreateKey(n.Key)
	if err != nil {
		return err
	}
	sealer, err := vault.OpenSealer(ctx, db, key)
	if err != nil {
		return err
	}
	var clock atomic.Int64
	now := func() time.Time { return time.UnixMilli(clock.Load()).UTC() }
	v := vault.Open(vault.Config{
		Store: db, Sealer: sealer, Entra: entra.New(now, outbound.Network{}), PublicURL: "https://gate.contoso.com",
		Holder: n.Holder, Now: now, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		at, err := time.Parse(time.RFC3339, in.Text())
		if err != nil {
			return err
		}
		clock.Store(at.UnixMilli())
		fmt.Println(strings.Join(askTogether(ctx, v), " "))
	}
	return nil
}

func askTogether(ctx context.Context, v *vault.Vault) []string {
	got := make([]string, together)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			c, err := v.Credential(ctx, "scan", vault.Send, vault.Cached)
			sum := sha256.Sum256([]byte(c.Token.Reveal()))
			got[i] = hex.EncodeToString(sum[:8])
			if err != nil {
				got[i] = strings.ReplaceAll(err.Error(), " ", "_")
			}
		})
	}
	wg.Wait()
	return got
}

// process is a child that has said that it is ready.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startNode(t *testing.T, n node) *process {
	t.Helper()
	env, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(env))
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if !p.lines.Scan() || p.lines.Text() != "ready" {
		t.Fatalf("the node is not ready: %q", p.lines.Text())
	}
	return p
}

// A hundred callers in two processes over one database, all at the instant at which
// the token has ended: Entra is asked once, and all have the same token.
func TestOneRefreshForTwoProcesses(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]func(*testing.T) node{
		"sqlite":   func(t *testing.T) node { return node{Directory: t.TempDir()} },
		"postgres": func(t *testing.T) node { return node{Postgres: newPostgres(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := where(t)
			db, err := n.open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			s := newStandOn(t, db)
			s.signIn()
			n.Key = s.key
			var nodes []*process
			for _, holder := range []string{"host/1/A", "host/2/B"} {
				n.Holder = holder
				nodes = append(nodes, startNode(t, n))
			}
			for round := range int64(5) {
				s.pass(2 * time.Hour)
				for _, p := range nodes {
					_, err := fmt.Fprintln(p.stdin, s.clock().Format(time.RFC3339))
					s.must(err)
				}
				got := map[string]int{}
				for _, p := range nodes {
					if !p.lines.Scan() {
						t.Fatal("a node has ended")
					}
					for _, token := range strings.Fields(p.lines.Text()) {
						got[token]++
					}
				}
				if len(got) != 1 || total(got) != 2*together {
					t.Errorf("the callers got %v", got)
				}
				s.wantAsked(round + 1)
			}
			for _, p := range nodes {
				s.must(p.stdin.Close())
				s.must(p.cmd.Wait())
			}
			s.wantState(vault.Active)
		})
	}
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// newPostgres makes a database on the cluster that POSTERN_TEST_POSTGRES names, drops
// it afterwards, and returns its address.
func newPostgres(t *testing.T) string {
	t.Helper()
	base := os.Getenv("POSTERN_TEST_POSTGRES")
	if base == "" {
		const how = "POSTERN_TEST_POSTGRES is not set: start a throwaway cluster with scripts/postgres start DIR and put the URL it prints there"
		if os.Getenv("POSTERN_TEST_REQUIRE") == "1" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	name := "v_" + strings.ToLower(rand.Text())
	administer(t, base, `CREATE DATABASE `+name)
	t.Cleanup(func() { administer(t, base, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u.Path = "/" + name
	return u.String()
}

func administer(t *testing.T, address, query string) {
	t.Helper()
	db, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // nothing is left to write
	if _, err := db.ExecContext(context.Background(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
