package vault_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

func newKey(t *testing.T) (vault.Key, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	key, created, err := vault.LoadOrCreateKey(path)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	return key, path
}

func TestAKeyIsMadeOnceForItsOwner(t *testing.T) {
	t.Parallel()
	_, path := newKey(t)
	info, err := os.Stat(path)
	if err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	before, _ := os.ReadFile(path)
	if _, created, err := vault.LoadOrCreateKey(path); created || err != nil {
		t.Fatalf("created again: %v, %v", created, err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the key changed")
	}
	if _, err := vault.ParseKey(secret.New(string(before))); err != nil {
		t.Errorf("the file's content is no key: %v", err)
	}
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProcessesThatStartTogetherShareAKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	store := newMemory()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sealers []*vault.Sealer
	var seals []vault.Sealed
	var errs []error
	for range 16 {
		wg.Go(func() {
			key, _, err := vault.LoadOrCreateKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			sealer, err := vault.OpenSealer(t.Context(), store, key)
			if err != nil {
				t.Error(err)
				return
			}
			b, err := sealer.Seal(secret.New("clear"), "refresh token", "scan")
			mu.Lock()
			defer mu.Unlock()
			sealers, seals, errs = append(sealers, sealer), append(seals, b), append(errs, err)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil || len(sealers) != 16 {
		t.Fatalf("%d sealers, %v", len(sealers), err)
	}
	for _, s := range sealers {
		for _, b := range seals {
			if clear, err := s.Open(b, "refresh token", "scan"); err != nil || clear.Reveal() != "clear" {
				t.Fatalf("one process does not open what another sealed: %v", err)
			}
		}
	}
}

func TestAKeyOthersCanReadIsRefused(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no such modes")
	}
	_, path := newKey(t)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := vault.LoadOrCreateKey(path)
		if fault.KindOf(err) != fault.Invalid || fault.HintOf(err) != "chmod 600 "+path {
			t.Errorf("%o: %v, hint %q", mode, err, fault.HintOf(err))
		}
	}
}

func TestWrongKeyIsNamed(t *testing.T) {
	t.Parallel()
	store := newMemory()
	a, _ := newKey(t)
	b, _ := newKey(t)
	for range 2 {
		if _, err := vault.OpenSealer(t.Context(), store, a); err != nil {
			t.Fatal(err)
		}
	}
	_, err := vault.OpenSealer(t.Context(), store, b)
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "this master key does not open this database") || fault.HintOf(err) == "" {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
	if _, err := vault.OpenSealer(t.Context(), store, vault.Key{}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("no key: %v", err)
	}
}

func TestASealIsBoundToWhatAndWhose(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	s, err := vault.OpenSealer(t.Context(), newMemory(), key)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Seal(secret.New("clear"), "refresh token", "scan")
	if err != nil {
		t.Fatal(err)
	}
	if clear, err := s.Open(sealed, "refresh token", "scan"); err != nil || clear.Reveal() != "clear" {
		t.Errorf("%v, %v", clear, err)
	}
	for _, c := range [][2]string{{"refresh token", "eve"}, {"access token", "scan"}, {"", ""}} {
		if _, err := s.Open(sealed, c[0], c[1]); fault.KindOf(err) != fault.NeedsAdmin {
			t.Errorf("%v opened it: %v", c, err)
		}
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := s.Open(sealed, "refresh token", "scan"); err == nil {
		t.Error("a changed seal opened")
	}
}

// away is a store whose settings cannot be read for a while.
type away struct {
	*memory
	err error
}

func (a *away) Setting(ctx context.Context, key string) ([]byte, error) {
	if a.err != nil {
		return nil, a.err
	}
	return a.memory.Setting(ctx, key)
}

// While the database is away, a seal is made under the key known: it may be of the only
// copy of a refresh token. What is under a key that is not known waits, and is nobody's
// fault.
func TestSealingWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	db := &away{memory: newMemory()}
	key, _ := newKey(t)
	s, err := vault.OpenSealer(t.Context(), db, key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := vault.OpenSealer(t.Context(), newMemory(), key)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Seal(secret.New("clear"), "refresh token", "scan")
	if err != nil {
		t.Fatal(err)
	}
	db.err = fault.New(fault.Permanent, "read", "the disk is gone")
	sealed, err := s.Seal(secret.New("clear"), "refresh token", "scan")
	if err != nil {
		t.Fatal(err)
	}
	if clear, err := s.Open(sealed, "refresh token", "scan"); err != nil || clear.Reveal() != "clear" {
		t.Errorf("%v, %v", clear, err)
	}
	if _, err := s.Open(foreign, "refresh token", "scan"); fault.KindOf(err) != fault.Temporary || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("an unknown key while nobody can look: %v", err)
	}
	db.err = nil
	if _, err := s.Open(foreign, "refresh token", "scan"); fault.KindOf(err) != fault.NeedsAdmin || fault.HintOf(err) == "" {
		t.Errorf("an unknown key: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("x"))
	f.Add([]byte{1, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 7, 42})
	path := filepath.Join(f.TempDir(), "master.key")
	key, _, err := vault.LoadOrCreateKey(path)
	if err != nil {
		f.Fatal(err)
	}
	s, err := vault.OpenSealer(f.Context(), newMemory(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if clear, err := s.Open(sealed, "refresh token", "scan"); len(sealed) > 0 && (fault.KindOf(err) != fault.NeedsAdmin || !clear.Empty()) {
			t.Errorf("%q opened: %v", sealed, err)
		}
	})
}

func FuzzOpenSealer(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte(`{"keyset":"","master":"key 1"}`))
	f.Add([]byte(`{"keyset":"EgA=","master":"key 1"}`))
	key, _, err := vault.LoadOrCreateKey(filepath.Join(f.TempDir(), "master.key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kept []byte) {
		store := newMemory()
		store.settings[vault.KeysetSetting] = kept
		if _, err := vault.OpenSealer(t.Context(), store, key); fault.KindOf(err) != fault.Invalid || fault.HintOf(err) == "" {
			t.Errorf("%q: %v", kept, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add("")
	f.Add(`{"primaryKeyId":1,"key":[]}`)
	f.Add(`{"primaryKeyId":1,"key":[{"keyData":{"typeUrl":"t","value":"c2VjcmV0","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := vault.ParseKey(secret.New(text)); err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%v", err)
		}
	})
}

func TestPutAppChecks(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	good := vault.App{Name: "other", Tenant: " contoso.com ", ClientID: " id ", Cloud: s.cloud}
	text := func(v string) *secret.Text { t := secret.New(v); return &t }
	for name, c := range map[string]struct {
		change func(*vault.App)
		secret *secret.Text
	}{
		"no name":       {func(a *vault.App) { a.Name = "" }, nil},
		"no client id":  {func(a *vault.App) { a.ClientID = " " }, nil},
		"bad tenant":    {func(a *vault.App) { a.Tenant = "evil.example/x" }, nil},
		"no tenant":     {func(a *vault.App) { a.Tenant = "" }, nil},
		"the Secret ID": {func(*vault.App) {}, text("a5b1c2d3-0000-4000-8000-0123456789ab ")},
		"plain http":    {func(a *vault.App) { a.Cloud.Authority = "http://login.example" }, nil},
	} {
		a := good
		c.change(&a)
		if err := s.vault.PutApp(t.Context(), a, vault.Proof{Secret: c.secret}); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.must(s.vault.PutApp(t.Context(), good, vault.Proof{Secret: text(" va~lue\n")}))
	kept := func() vault.App { a, err := s.vault.App(t.Context(), "other"); s.must(err); return a }
	if a := kept(); a.Tenant != "contoso.com" || a.ClientID != "id" || !s.vault.SecretIs(a, secret.New("va~lue")) || s.vault.SecretIs(a, secret.New("x")) {
		t.Errorf("kept %+v", a)
	}
	s.must(s.vault.PutApp(t.Context(), good, vault.Proof{}))
	if !s.vault.SecretIs(kept(), secret.New("va~lue")) {
		t.Error("the sealed secret was lost")
	}
	s.must(s.vault.PutApp(t.Context(), good, vault.Proof{Secret: text("")}))
	if len(kept().Secret) != 0 {
		t.Error("a public client keeps a secret")
	}
}

func TestPutAccountChecks(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cloud, err := entra.CloudByName("global")
	s.must(err)
	for _, tenant := range []string{"organizations", "common", "consumers"} {
		s.must(s.vault.PutApp(t.Context(), vault.App{Name: tenant, Tenant: tenant, ClientID: "id", Cloud: cloud}, vault.Proof{}))
		a := s.scan()
		a.Name, a.App, a.Method = "other", tenant, vault.Application
		if err := s.vault.PutAccount(t.Context(), a, nil); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), tenant) {
			t.Errorf("%s: %v", tenant, err)
		}
	}
	for name, change := range map[string]func(*vault.Account){
		"no name":     func(a *vault.Account) { a.Name = "" },
		"no mailbox":  func(a *vault.Account) { a.Mailbox = mail.Address{} },
		"no method":   func(a *vault.Account) { a.Method = "" },
		"no purpose":  func(a *vault.Account) { a.Purposes = nil },
		"bad purpose": func(a *vault.Account) { a.Purposes = []vault.Purpose{"fax"} },
		"no such app": func(a *vault.Account) { a.App = "none" },
	} {
		a := s.scan()
		change(&a)
		if err := s.vault.PutAccount(t.Context(), a, nil); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
