package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/store"
	"postern/internal/vault"
)

// keyList is what `postern key show --json` prints.
type keyList struct {
	Master string `json:"master"`
	Source string `json:"master_source"`
	Keys   []struct {
		ID      uint32 `json:"id"`
		Status  string `json:"status"`
		Primary bool   `json:"primary"`
		Secrets int    `json:"secrets"`
	} `json:"keys"`
	Lost int `json:"lost"`
}

func (g *gate) keys() (l keyList) {
	g.t.Helper()
	if err := json.Unmarshal([]byte(g.postern("key", "show", "--json")), &l); err != nil {
		g.t.Fatal(err)
	}
	return l
}

// keyFileSecrets are the long words of a key file that are key.
func keyFileSecrets(t *testing.T, files ...[]byte) (secrets []string) {
	t.Helper()
	for _, f := range files {
		var set struct {
			Key []struct{ KeyData struct{ Value string } }
		}
		if err := json.Unmarshal(f, &set); err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Key {
			secrets = append(secrets, k.KeyData.Value)
		}
	}
	return secrets
}

// TestKeysRotateWhileServing rotates both keys under a server that sends mail, and
// drops the old ones. Nobody signs in again and nothing is restarted; what an old copy
// of the database holds stays shut.
func TestKeysRotateWhileServing(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	sendOne(t, g, "before the rotation")
	codes := g.sim.World.Count("code")
	oldRow := g.grant(t, "scan")
	path := filepath.Join(g.dataDir(), "master.key")
	oldMaster := readFile(t, path)

	stop := make(chan struct{})
	var traffic sync.WaitGroup
	traffic.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				if err := g.offer(fmt.Sprint("during the rotation ", n), 100); err != nil {
					t.Errorf("the door refused: %v", err)
					return
				}
			}
		}
	})
	printed := g.postern("key", "rotate", "--master", "--json")
	g.expire() // the server must open and seal anew while the keys are two
	printed += g.postern("key", "rotate")
	close(stop)
	traffic.Wait()
	sendOne(t, g, "after the rotation")
	g.expire()
	printed += g.postern("key", "prune")
	g.expire()
	sendOne(t, g, "after the prune")
	waitFor(t, "the queue to empty", func() bool {
		var waiting []struct{ ID string }
		if err := json.Unmarshal([]byte(g.postern("queue", "list", "--json", "--state", "queued")), &waiting); err != nil {
			t.Fatal(err)
		}
		return len(waiting) == 0
	})

	keys := g.keys()
	if len(keys.Keys) != 1 || !keys.Keys[0].Primary || keys.Keys[0].Status != "enabled" || keys.Keys[0].Secrets < 7 || keys.Lost != 0 || keys.Source != path {
		t.Errorf("keys: %+v", keys)
	}
	if g.sim.World.Count("code") != codes {
		t.Error("somebody signed in again")
	}
	for _, a := range []string{"scan", "invoices", "noauth"} {
		if state, reason := stateOf(t, g, a); state == "needs_sign_in" || reason != "" && a == "scan" {
			t.Errorf("%s is %s: %s", a, state, reason)
		}
	}
	g.stop()

	log := string(readFile(t, g.log.Name()))
	if !strings.Contains(log, "data keys read again") {
		t.Error("the server's log does not say that the keys changed")
	}
	printed += g.postern("key", "show") + g.postern("audit", "--json") + log
	for _, s := range keyFileSecrets(t, oldMaster, readFile(t, path)) {
		for _, f := range formsOf(s) {
			if strings.Contains(printed, string(f)) {
				t.Error("a key was printed")
			}
		}
	}
	g.silent("a rotation", printed)
	g.staysShut(t, path, oldRow)
	g.env = append(g.env, "POSTERN_MASTER_KEY="+string(oldMaster))
	g.refused(2, []string{"key", "show"}, "does not open this database", "is wanted")
}

// grant copies an account's grant out of the database, as a thief or a backup does.
func (g *gate) grant(t *testing.T, account string) vault.Grant {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), g.dataDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	row, err := db.Grant(t.Context(), account)
	if err != nil || len(row.Refresh) == 0 {
		t.Fatalf("no grant to copy: %v", err)
	}
	return row
}

// staysShut wants the current keys to open the current row and not the old one.
func (g *gate) staysShut(t *testing.T, path string, old vault.Grant) {
	t.Helper()
	now := g.grant(t, old.Account)
	db, err := store.OpenSQLite(t.Context(), g.dataDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	key, created, err := vault.LoadOrCreateKey(path)
	if err != nil || created {
		t.Fatalf("created %v, %v", created, err)
	}
	sealer, err := vault.OpenSealer(t.Context(), db, key)
	if err != nil {
		t.Fatal(err)
	}
	if clear, err := sealer.Open(now.Refresh, "refresh token", now.Account); err != nil || clear.Empty() {
		t.Errorf("the row of now: %v", err)
	}
	if _, err := sealer.Open(old.Refresh, "refresh token", old.Account); !errors.Is(err, fault.NeedsAdmin) || !strings.Contains(err.Error(), "no longer has") {
		t.Errorf("the row of then: %v", err)
	}
}

// TestAKilledRotation kills `key rotate --master` at many moments. Each time the
// database opens with the file there is, and all secrets with it.
func TestAKilledRotation(t *testing.T) {
	t.Parallel()
	g := bareGate(t)
	g.apply(bareDocument)
	began := time.Now()
	g.postern("key", "rotate", "--master")
	whole := time.Since(began)
	const cuts = 24
	killed := 0
	for i := range cuts {
		cmd := exec.Command(binary(t), "key", "rotate", "--master")
		cmd.Env, cmd.Dir = g.env, g.dir
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(whole*time.Duration(i+1)/cuts, func() { _ = cmd.Process.Kill() })
		if cmd.Wait() != nil {
			killed++
		}
		timer.Stop()
		if l := g.keys(); l.Lost != 0 {
			t.Fatalf("cut %d: %+v", i, l)
		}
	}
	if killed == 0 {
		t.Error("no rotation was cut off")
	}
	g.postern("key", "rotate", "--master")
	if out := g.apply(bareDocument); strings.Contains(out, "created") || strings.Contains(out, ": changed") {
		t.Errorf("not all is as it was:\n%s", out)
	}
	path := filepath.Join(g.dataDir(), "master.key")
	if n := len(keyFileSecrets(t, readFile(t, path))); n != 1 {
		t.Errorf("%d keys are in the file", n)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(path + ".next"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// TestKeysMove puts the keys under a master key in another file.
func TestKeysMove(t *testing.T) {
	t.Parallel()
	g := bareGate(t)
	g.apply(bareDocument)
	old, next := filepath.Join(g.dataDir(), "master.key"), filepath.Join(g.dir, "elsewhere.key")
	g.refused(2, []string{"key", "move"}, "--to-file", "--to-url")
	g.refused(2, []string{"key", "move", "--to-file", next, "--to-url", "awskms:///alias/x"}, "one of")
	g.refused(2, []string{"key", "move", "--to-url", "awskms:///alias/x"}, "awskms:///alias/x", "-tags cloudkeys")
	g.refused(2, []string{"key", "move", "--to-file", filepath.Join(g.dir, "none", "key")}, "no such file")
	g.keys() // none of these changed anything

	line := g.postern("key", "move", "--to-file", "elsewhere.key")
	if strings.TrimSpace(line) != fmt.Sprintf("master_key_file = %q", next) {
		t.Errorf("the line is %q", line)
	}
	g.refused(2, []string{"key", "show"}, "does not open this database", "master_key_file")
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	g.refused(2, []string{"key", "show"}, "master.key is missing", "sealed with it")
	writeFile(t, filepath.Join(g.dir, "postern.toml"), []byte(line))
	if l := g.keys(); l.Source != next || len(l.Keys) != 1 || l.Keys[0].Secrets != 1 {
		t.Errorf("keys: %+v", l)
	}
	if out := g.apply(bareDocument); strings.Contains(out, "created") || strings.Contains(out, ": changed") {
		t.Errorf("not all is as it was:\n%s", out)
	}
	g.postern("key", "rotate", "--master")

	if err := os.Remove(filepath.Join(g.dir, "postern.toml")); err != nil {
		t.Fatal(err)
	}
	bare := g.env
	g.env = append(bare[:len(bare):len(bare)], "POSTERN_MASTER_KEY="+string(readFile(t, next)))
	g.refused(2, []string{"key", "rotate", "--master"}, "POSTERN_MASTER_KEY", "key move --to-file")
	if l := g.keys(); len(l.Keys) != 2 {
		t.Errorf("what was refused made a key all the same: %+v", l)
	}
	g.env = append(bare[:len(bare):len(bare)], "POSTERN_MASTER_KEY_URL=hashivault://postern")
	g.refused(2, []string{"key", "show"}, "hashivault://postern", "-tags cloudkeys")
	if _, err := os.Stat(old); err == nil {
		t.Error("a key was made in a file that nobody named")
	}
}
