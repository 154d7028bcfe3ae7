package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// safe is a vault with something under every kind of seal, and no network.
type safe struct {
	*testing.T
	store  *memory
	path   string
	sealer *vault.Sealer
	vault  *vault.Vault
}

// sealedTexts is how many secrets a safe holds.
const sealedTexts = 8

func newSafe(t *testing.T) *safe {
	t.Helper()
	s := &safe{T: t, store: newMemory(), path: filepath.Join(t.TempDir(), "master.key")}
	s.sealer, s.vault = s.node()
	seal := func(what, whose string) vault.Sealed {
		b, err := s.sealer.Seal(secret.New(clearOf(what, whose)), what, whose)
		s.must(err)
		return b
	}
	s.store.apps["m365"] = vault.App{Name: "m365", Secret: seal("client secret", "m365"), Key: seal("private key", "m365")}
	s.store.settings["certificate.aside.m365"] = seal("certificate kept aside", "m365")
	s.store.settings["sealed.webhook/ops"] = seal("kept secret", "webhook/ops")
	s.store.accounts["scan"] = vault.Account{Name: "scan", App: "m365", Password: seal("account password", "scan"), Mailbox: mail.Address{Local: "scan", Domain: "contoso.com"}}
	s.store.accounts["fresh"] = vault.Account{Name: "fresh", App: "m365"} // nothing of it is sealed
	s.store.grants["scan"] = vault.Grant{Account: "scan", Generation: 1, Refresh: seal("refresh token", "scan"), Access: []vault.Access{
		{Resource: "a", Token: seal("access token", "scan")}, {Resource: "b", Token: seal("access token", "scan")},
	}}
	return s
}

func clearOf(what, whose string) string { return "clear " + what + " of " + whose }

func (s *safe) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// node is another process on the same database.
func (s *safe) node() (*vault.Sealer, *vault.Vault) {
	s.Helper()
	key, _, err := vault.LoadOrCreateKey(s.path)
	s.must(err)
	sealer, err := vault.OpenSealer(s.Context(), s.store, key)
	s.must(err)
	return sealer, vault.Open(vault.Config{Store: s.store, Sealer: sealer, Entra: &entra.Client{}, Holder: "node", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

// seals lists every seal that is stored, with what opens it.
func (s *safe) seals() (all []struct {
	sealed      vault.Sealed
	what, whose string
}) {
	defer s.store.lock()()
	add := func(b vault.Sealed, what, whose string) {
		all = append(all, struct {
			sealed      vault.Sealed
			what, whose string
		}{slices.Clone(b), what, whose})
	}
	add(s.store.apps["m365"].Secret, "client secret", "m365")
	add(s.store.apps["m365"].Key, "private key", "m365")
	add(s.store.settings["certificate.aside.m365"], "certificate kept aside", "m365")
	add(s.store.settings["sealed.webhook/ops"], "kept secret", "webhook/ops")
	add(s.store.accounts["scan"].Password, "account password", "scan")
	g := s.store.grants["scan"]
	add(g.Refresh, "refresh token", "scan")
	for _, a := range g.Access {
		add(a.Token, "access token", "scan")
	}
	return all
}

// wantOpen wants every stored secret to open.
func (s *safe) wantOpen(with *vault.Sealer) {
	s.Helper()
	all := s.seals()
	if len(all) != sealedTexts {
		s.Fatalf("%d seals, want %d", len(all), sealedTexts)
	}
	for _, p := range all {
		if clear, err := with.Open(p.sealed, p.what, p.whose); err != nil || clear.Reveal() != clearOf(p.what, p.whose) {
			s.Errorf("%s of %s: %v", p.what, p.whose, err)
		}
	}
}

// inventory is the keys as `postern key show` has them.
func (s *safe) inventory() (primary vault.DataKey, older []vault.DataKey) {
	s.Helper()
	inv, err := s.vault.Keys(s.Context())
	s.must(err)
	for _, k := range inv.Data {
		if k.Primary {
			primary = k
		} else {
			older = append(older, k)
		}
	}
	return primary, older
}

func TestARotationSealsEverythingAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSafe(t)
		other, _ := s.node() // knows the first key only
		before := s.seals()
		first, _ := s.inventory()
		var told []string
		r, err := s.vault.RotateKeys(t.Context(), func(done, of int) { told = append(told, fmt.Sprint(done, "/", of)) })
		s.must(err)
		primary, older := s.inventory()
		if r.Primary != primary.ID || r.Primary == first.ID || r.Resealed != sealedTexts || r.Left != 0 || r.Keys != 2 {
			t.Errorf("it says %+v", r)
		}
		if primary.Secrets != sealedTexts || primary.Status != "enabled" || len(older) != 1 || older[0].ID != first.ID || older[0].Secrets != 0 {
			t.Errorf("keys %+v, older %+v", primary, older)
		}
		if !slices.Contains(told, "7/7") {
			t.Errorf("progress was %q", told)
		}
		s.wantOpen(s.sealer)
		s.wantOpen(other) // meets a key it does not know, and looks

		began := time.Now()
		p, err := s.vault.PruneKeys(t.Context(), nil)
		s.must(err)
		if p.Keys != 1 || p.Primary != r.Primary || time.Since(began) < 35*time.Second {
			t.Errorf("pruned to %+v after %s", p, time.Since(began))
		}
		s.wantOpen(s.sealer)
		fresh, _ := s.node()
		for _, b := range before { // a copy of an old row
			if _, err := fresh.Open(b.sealed, b.what, b.whose); !errors.Is(err, fault.NeedsAdmin) || !strings.Contains(err.Error(), fmt.Sprint("key ", first.ID)) || fault.HintOf(err) == "" {
				t.Errorf("%s under the dropped key: %v", b.what, err)
			}
		}
		began = time.Now()
		if p, err := s.vault.PruneKeys(t.Context(), nil); err != nil || p.Keys != 1 || time.Since(began) > 0 {
			t.Errorf("pruning again took %s: %+v, %v", time.Since(began), p, err)
		}
	})
}

// A process that was in the middle of a refresh when the keys were rotated writes back
// what it had read: an access token of another resource, still under the older key.
func TestStragglersAreFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSafe(t)
		held := s.store.grants["scan"]
		_, err := s.vault.RotateKeys(t.Context(), nil)
		s.must(err)
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(25 * time.Second) // the longest a refresh takes; on the bubble's clock
			s.must(s.store.CommitGrant(t.Context(), held, ""))
		})
		r, err := s.vault.PruneKeys(t.Context(), nil)
		wg.Wait()
		if err != nil || r.Resealed != 3 || r.Keys != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		s.wantOpen(s.sealer)
	})
}

func TestAPruneThatIsCutOffDropsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSafe(t)
		_, err := s.vault.RotateKeys(t.Context(), nil)
		s.must(err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.vault.PruneKeys(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ended with %v", err)
		}
		if _, older := s.inventory(); len(older) != 1 {
			t.Errorf("older keys: %v", older)
		}
	})
}

// What does not open cannot be sealed anew, and its key is not dropped behind the
// operator's back.
func TestABrokenSealKeepsItsKey(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	a := s.store.accounts["scan"]
	a.Password = slices.Clone(a.Password)
	a.Password[len(a.Password)-1] ^= 1
	s.store.accounts["scan"] = a
	r, err := s.vault.RotateKeys(t.Context(), nil)
	if err != nil || r.Resealed != sealedTexts-1 || r.Left != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = s.vault.PruneKeys(t.Context(), nil)
	if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "do not open: 1 (") || !strings.Contains(err.Error(), "account password of scan") || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
	if _, older := s.inventory(); len(older) != 1 || older[0].Secrets != 1 {
		t.Errorf("older keys: %v", older)
	}
}

// Seals of nobody's key are counted and stop nothing.
func TestLostSecretsAreCounted(t *testing.T) {
	t.Parallel()
	s, stranger := newSafe(t), newSafe(t)
	a := s.store.accounts["scan"]
	a.Password = stranger.store.accounts["scan"].Password
	s.store.accounts["scan"] = a
	inv, err := s.vault.Keys(t.Context())
	if err != nil || inv.Lost != 1 || inv.Data[0].Secrets != sealedTexts-1 {
		t.Errorf("%+v, %v", inv, err)
	}
	if r, err := s.vault.RotateKeys(t.Context(), nil); err != nil || r.Left != 0 || r.Resealed != sealedTexts-1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Others go on refreshing, signing in and rotating while the keys are rotated: nothing
// they wrote is lost, and all of it opens.
func TestRotationsUnderTraffic(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	const rounds, nodes = 60, 3
	for i := range nodes {
		name := fmt.Sprint("busy", i)
		s.store.accounts[name] = vault.Account{Name: name, App: "m365"}
	}
	var traffic, rotations sync.WaitGroup
	stop := make(chan struct{})
	written := make([]int, nodes)
	for i := range nodes {
		sealer, _ := s.node()
		traffic.Go(func() {
			name := fmt.Sprint("busy", i)
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				b, err := sealer.Seal(secret.New(fmt.Sprint(name, " ", n)), "refresh token", name)
				if err == nil {
					err = s.store.CommitGrant(t.Context(), vault.Grant{Account: name, Refresh: b}, "")
				}
				if err != nil {
					t.Error(err)
					return
				}
				written[i] = n
			}
		})
	}
	for range 2 {
		_, v := s.node()
		rotations.Go(func() {
			for range rounds / 2 {
				if _, err := v.RotateKeys(t.Context(), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	rotations.Wait()
	close(stop)
	traffic.Wait()
	s.wantOpen(s.sealer)
	for i, n := range written {
		name := fmt.Sprint("busy", i)
		g, err := s.store.Grant(t.Context(), name)
		s.must(err)
		if clear, err := s.sealer.Open(g.Refresh, "refresh token", name); err != nil || clear.Reveal() != fmt.Sprint(name, " ", n) {
			t.Errorf("%s has %q, want the %dth: %v", name, clear.Reveal(), n, err)
		}
	}
	if inv, err := s.vault.Keys(t.Context()); err != nil || len(inv.Data) != 1+rounds || inv.Lost != 0 {
		t.Errorf("%d keys, %d lost, %v", len(inv.Data), inv.Lost, err)
	}
}

// The master key's rotation has three steps. Whatever was the last one done, the file
// opens the database, and a rotation from there ends as it should.
func TestACutRotationOfTheMasterKey(t *testing.T) {
	t.Parallel()
	for steps := range 4 {
		t.Run(fmt.Sprint(steps, " steps"), func(t *testing.T) {
			t.Parallel()
			s := newSafe(t)
			running, _ := s.node()
			old, err := os.ReadFile(s.path)
			s.must(err)
			s.must(s.vault.RotateMasterSteps(t.Context(), s.path, steps))
			s.must(os.WriteFile(s.path+".next", []byte("half a k"), 0o644)) // killed while writing, too
			cut, _ := s.node()
			s.wantOpen(cut)
			s.wantOpen(running)

			_, v := s.node()
			s.must(v.RotateMaster(t.Context(), s.path))
			_, err = v.RotateKeys(t.Context(), nil)
			s.must(err)
			after, _ := s.node()
			s.wantOpen(after)
			s.wantOpen(running) // whose master key in memory is two rotations old
			oldKey, err := vault.ParseKey(secret.New(string(old)))
			s.must(err)
			if _, err := vault.OpenSealer(t.Context(), s.store, oldKey); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), oldKey.String()) {
				t.Errorf("the old master key: %v", err)
			}
			s.wantAlone()
		})
	}
}

// wantAlone wants one key in the file, for its owner only, and nothing beside it.
func (s *safe) wantAlone() {
	s.Helper()
	b, err := os.ReadFile(s.path)
	s.must(err)
	if n := bytes.Count(b, []byte(`"keyId"`)); n != 1 {
		s.Errorf("%d keys are in the file", n)
	}
	info, err := os.Stat(s.path)
	s.must(err)
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		s.Errorf("the file has mode %o", info.Mode().Perm())
	}
	left, err := os.ReadDir(filepath.Dir(s.path))
	s.must(err)
	if len(left) != 1 {
		s.Errorf("left behind: %v", left)
	}
}

func TestRotationsOfTheMasterKeyTogether(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 4 {
		_, v := s.node()
		wg.Go(func() {
			for range 10 {
				err := v.RotateMaster(t.Context(), s.path)
				mu.Lock()
				if err == nil {
					done++
				} else if !errors.Is(err, fault.Conflict) || fault.HintOf(err) == "" {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if done == 0 {
		t.Error("nobody got through")
	}
	fresh, _ := s.node()
	s.wantOpen(fresh)
	s.wantAlone()
}

func TestAKeyFileThatCannotBeReplaced(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	s.must(os.Mkdir(s.path+".next", 0o700))
	s.must(os.WriteFile(filepath.Join(s.path+".next", "x"), nil, 0o600))
	if err := s.vault.RotateMaster(t.Context(), s.path); !errors.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
	fresh, _ := s.node()
	s.wantOpen(fresh)
	if err := s.vault.RotateMaster(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, fault.Invalid) {
		t.Errorf("no file: %v", err)
	}
}

func TestALinkedKeyFileStaysLinked(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(s.path, link); err != nil {
		t.Skip(err)
	}
	s.must(s.vault.RotateMaster(t.Context(), link))
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("%v, %v", info, err)
	}
	fresh, _ := s.node()
	s.wantOpen(fresh)
	s.wantAlone()
}

// service is a key in a key service that can be away.
type service struct {
	vault.Wrapper
	away error
}

func (s *service) Encrypt(_ context.Context, clear []byte) ([]byte, error) {
	if len(clear) > 190 { // what RSA with 2048 bits takes, as in Azure Key Vault
		return nil, errors.New("too long")
	}
	return flip(clear), s.away
}

func (s *service) Decrypt(_ context.Context, sealed []byte) ([]byte, error) {
	return flip(sealed), s.away
}

func flip(b []byte) []byte {
	out := slices.Clone(b)
	for i := range out {
		out[i] ^= 0x5a
	}
	return out
}

// TestMovedToAKeyService moves the keys, rotates them there, and takes the service away.
func TestMovedToAKeyService(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	running, _ := s.node()
	cloud := &service{}
	key, err := vault.RemoteKey("cloud://key", cloud)
	s.must(err)
	s.must(s.vault.MoveMaster(t.Context(), key))
	for range 4 {
		_, err = s.vault.RotateKeys(t.Context(), nil)
		s.must(err)
	}
	inv, err := s.vault.Keys(t.Context())
	if err != nil || inv.Master != "cloud://key" || len(inv.Data) != 5 {
		t.Errorf("%+v, %v", inv, err)
	}
	there, err := vault.OpenSealer(t.Context(), s.store, key)
	s.must(err)
	s.wantOpen(there)

	cloud.away = fault.New(fault.Temporary, "decrypt", "nobody there").WithHint("wait")
	if _, err := vault.OpenSealer(t.Context(), s.store, key); !errors.Is(err, fault.Temporary) || fault.HintOf(err) != "wait" {
		t.Errorf("with the service away: %v", err)
	}
	s.wantOpen(there) // it knows the keys

	onFile, _, err := vault.LoadOrCreateKey(s.path)
	s.must(err)
	if _, err := vault.OpenSealer(t.Context(), s.store, onFile); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "cloud://key") {
		t.Errorf("with the old master key: %v", err)
	}
	// A server that knows the old master key only: it is not the accounts' fault.
	p := s.seals()[0]
	if _, err := running.Open(p.sealed, p.what, p.whose); !errors.Is(err, fault.Temporary) || errors.Is(err, fault.NeedsAdmin) || !strings.Contains(err.Error(), "cloud://key") || fault.HintOf(err) == "" {
		t.Errorf("a server that was not restarted: %v", err)
	}
	b, err := running.Seal(secret.New("new"), "refresh token", "scan")
	s.must(err)
	if clear, err := there.Open(b, "refresh token", "scan"); err != nil || clear.Reveal() != "new" {
		t.Errorf("what it seals meanwhile: %v", err)
	}
}

// A key that encrypts but does not decrypt again must never get the only copy.
func TestAMoveIsTriedFirst(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	key, err := vault.RemoteKey("cloud://write-only", oneWay{})
	s.must(err)
	if err := s.vault.MoveMaster(t.Context(), key); !errors.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	if err := s.vault.MoveMaster(t.Context(), vault.Key{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("nowhere: %v", err)
	}
	fresh, _ := s.node()
	s.wantOpen(fresh)
}

type oneWay struct{}

func (oneWay) Encrypt(_ context.Context, b []byte) ([]byte, error) { return flip(b), nil }
func (oneWay) Decrypt(context.Context, []byte) ([]byte, error) {
	return nil, fault.New(fault.Invalid, "decrypt", "not allowed")
}

// What a rotation says in the log names keys by their ids, and nothing more of them.
func TestTheLogHoldsIdsOnly(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	var log bytes.Buffer
	key, _, err := vault.LoadOrCreateKey(s.path)
	s.must(err)
	sealer, err := vault.OpenSealer(t.Context(), s.store, key)
	s.must(err)
	logger := slog.New(slog.NewTextHandler(&log, nil))
	sealer.LogTo(logger)
	v := vault.Open(vault.Config{Store: s.store, Sealer: sealer, Entra: &entra.Client{}, Now: time.Now, Log: logger})
	r, err := v.RotateKeys(t.Context(), nil)
	s.must(err)
	s.must(v.RotateMaster(t.Context(), s.path))
	text := log.String()
	if !strings.Contains(text, fmt.Sprint("primary=", r.Primary)) || !strings.Contains(text, "master=\"key ") {
		t.Errorf("the log says\n%s", text)
	}
	file, err := os.ReadFile(s.path)
	s.must(err)
	for _, known := range append(strings.Split(string(file), `"`), clearOf("refresh token", "scan")) {
		if len(known) >= 24 && !strings.HasPrefix(known, "type.googleapis.com") && secret.Scrub(text, secret.New(known)) != text {
			t.Errorf("the log shows %.6q…", known)
		}
	}
}
