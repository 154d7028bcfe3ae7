package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	"modernc.org/sqlite"

	"postern/internal/door"
	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/store"
	"postern/internal/vault"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(child(role, os.Getenv(childDir)))
	}
	goleak.VerifyTestMain(m)
}

// database is an empty database that can be opened several times, as several
// processes would, and be looked into behind the store's back.
type database struct {
	name string
	dir  string  // SQLite only
	url  url.URL // PostgreSQL only
	open func(ctx context.Context, opts store.Options) (*store.Store, error)
	raw  func() (*sql.DB, error)
}

// each runs the suite function on both databases.
func each(t *testing.T, f func(t *testing.T, d database)) {
	t.Helper()
	for _, kind := range []struct {
		name string
		make func(t *testing.T) database
	}{{"sqlite", newSQLite}, {"postgres", newPostgres}} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			f(t, kind.make(t))
		})
	}
}

// eachOpen is each with the database opened once.
func eachOpen(t *testing.T, f func(t *testing.T, s *store.Store)) {
	t.Helper()
	each(t, func(t *testing.T, d database) { f(t, opened(t, d)) })
}

func opened(t testing.TB, d database) *store.Store {
	t.Helper()
	s, err := d.open(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func newSQLite(t *testing.T) database { return sqliteIn(t.TempDir()) }

func sqliteIn(dir string) database {
	return database{
		name: "sqlite", dir: dir,
		open: func(ctx context.Context, o store.Options) (*store.Store, error) { return store.OpenSQLite(ctx, dir, o) },
		raw: func() (*sql.DB, error) {
			c, err := sqlite.NewConnector("file:" + filepath.Join(dir, "postern.db"))
			if err != nil {
				return nil, err
			}
			return sql.OpenDB(c), nil
		},
	}
}

// newPostgres makes a database on the cluster that POSTERN_TEST_POSTGRES names and
// drops it afterwards.
func newPostgres(t *testing.T) database {
	t.Helper()
	base := os.Getenv("POSTERN_TEST_POSTGRES")
	if base == "" {
		const how = "POSTERN_TEST_POSTGRES is not set: start a throwaway cluster with scripts/postgres start DIR and put the URL it prints there"
		if os.Getenv("POSTERN_TEST_REQUIRE") == "1" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	name := "t_" + strings.ToLower(rand.Text())
	administer(t, base, `CREATE DATABASE `+name)
	t.Cleanup(func() { administer(t, base, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return database{
		name: "postgres", url: *u,
		open: func(ctx context.Context, o store.Options) (*store.Store, error) {
			return store.OpenPostgres(ctx, u.String(), o)
		},
		raw: func() (*sql.DB, error) { return connect(u.String()) },
	}
}

func connect(url string) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	return stdlib.OpenDB(*cfg), nil
}

func administer(t *testing.T, url, query string) {
	t.Helper()
	db, err := connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), query); err != nil {
		t.Errorf("%s: %v", query, err)
	}
}

// The world of the tests: times are whole milliseconds, as the database has them.
var t0 = time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)

func after(d time.Duration) time.Time { return t0.Add(d) }

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func contoso() vault.App {
	cloud, _ := entra.CloudByName("usgov")
	return vault.App{
		Name: "contoso", Tenant: "contoso.com", ClientID: "11111111-2222-3333-4444-555555555555", Cloud: cloud,
		Secret: vault.Sealed{0, 1, 0xff}, SecretExpires: after(90 * 24 * time.Hour),
	}
}

func scanAccount() vault.Account {
	return vault.Account{
		Name: "scan", App: "contoso", Mailbox: address("scan@contoso.com"), Method: vault.Delegated,
		Purposes: []vault.Purpose{vault.Send, vault.IMAP}, State: vault.New, Since: t0, Transport: vault.OverSMTP,
	}
}

func printer() door.Device {
	return door.Device{Name: "printer", Account: "scan", PasswordHash: "$argon2id$x", Senders: []mail.Address{address("a@contoso.com")}}
}

func invoices() fetch.Task {
	return fetch.Task{
		Name: "invoices", Account: "scan", Disabled: true, Spec: fetch.Spec{
			Source:   fetch.Origin{Folders: []string{"INBOX", "A/*"}, Start: fetch.StartAll, Which: fetch.Unread},
			Rules:    []fetch.Rule{{Name: "pdf", Take: fetch.Take{Inline: true, MaxSize: 10 << 20}}},
			Handover: fetch.Handover{Directory: "/in"}, After: fetch.Action{Do: fetch.Move, To: "Done"},
			Schedule: fetch.Schedule{Every: fetch.Duration(90 * time.Second)},
		},
	}
}

// furnished puts the app, the account, the device and the task above.
func furnished(t testing.TB, s *store.Store) *store.Store {
	t.Helper()
	ctx := t.Context()
	for _, err := range []error{
		s.PutApp(ctx, contoso()), s.PutAccount(ctx, scanAccount()), s.PutDevice(ctx, printer()), s.PutTask(ctx, invoices()),
	} {
		ok(t, err)
	}
	return s
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got fails the test unless a call gave what was wanted.
func got[T any](t testing.TB, want T) func(T, error) {
	t.Helper()
	return func(have T, err error) {
		t.Helper()
		ok(t, err)
		if diff := cmp.Diff(want, have, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want +have)\n%s", diff)
		}
	}
}

// failed fails the test unless err has the kind and says each of the words.
func failed(t testing.TB, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) || fault.KindOf(err) != kind {
		t.Fatalf("want %v, have %v (%v)", kind, err, fault.KindOf(err))
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// second is the error of a call that returns a value too.
func second[T any](_ T, err error) error { return err }
