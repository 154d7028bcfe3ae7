//go:build cloudkeys

package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "gocloud.dev/secrets/localsecrets" // base64key://, a key that is its own address

	"postern/internal/fault"
)

const (
	cloudKey = "base64key://smGbjm71Nxd1Ig5FS0wj9SlbzAIrnolCz9bQQ6uAhl4="
	otherKey = "base64key://c21HYmpBRVhhZFpFbmt5ZFhtQzRTYjdXeW5HYUpmZ1E="
)

// TestTheMasterKeyInAService moves a database's keys to a key service, starts with it,
// rotates, and comes back to a file.
func TestTheMasterKeyInAService(t *testing.T) {
	t.Parallel()
	c := bare(t)
	a, _, err := opened(t, c)
	if err != nil {
		t.Fatal(err)
	}
	line, err := a.MoveMaster(t.Context(), "", cloudKey)
	if err != nil || line != `master_key_url = "`+cloudKey+`"` {
		t.Fatalf("%q, %v", line, err)
	}
	if err := os.Remove(filepath.Join(c.DataDir, "master.key")); err != nil {
		t.Fatal(err)
	}
	c.MasterKeyURL = cloudKey
	a, log, err := opened(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := a.Vault.RotateKeys(t.Context(), nil); err != nil || r.Keys != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := a.MasterFile(); !errors.Is(err, fault.Invalid) || !strings.Contains(fault.HintOf(err), "rotate it there") {
		t.Errorf("replacing it in a file: %v", err)
	}
	if strings.Contains(log.String(), "a master key was made") {
		t.Error("a key was made in a file beside the service's")
	}

	wrong := c
	wrong.MasterKeyURL = otherKey
	if _, _, err := opened(t, wrong); err == nil || fault.HintOf(err) == "" || !strings.Contains(fault.HintOf(err), "master_key_url") {
		t.Errorf("with another key: %v, next %q", err, fault.HintOf(err))
	}

	file := filepath.Join(c.DataDir, "again.key")
	if _, err := a.MoveMaster(t.Context(), file, ""); err != nil {
		t.Fatal(err)
	}
	c.MasterKeyURL, c.MasterKeyFile = "", file
	back, _, err := opened(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if inv, err := back.Vault.Keys(t.Context()); err != nil || len(inv.Data) != 2 {
		t.Errorf("%+v, %v", inv, err)
	}
}

// A database that begins in a service never has a key in a file.
func TestAFirstStartWithAService(t *testing.T) {
	t.Parallel()
	c := bare(t)
	c.MasterKeyURL = cloudKey
	for range 2 {
		if _, _, err := opened(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, "master.key")); err == nil {
		t.Error("there is a key file all the same")
	}
}
