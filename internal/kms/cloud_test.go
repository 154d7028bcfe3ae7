//go:build cloudkeys

package kms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	_ "gocloud.dev/secrets/localsecrets" // base64key://, a key that is its own address

	"postern/internal/fault"
	"postern/internal/kms"
)

const localKey = "base64key://c21HYmpBRVhhZFpFbmt5ZFhtQzRTYjdXeW5HYUpmZ1E="

func TestAServiceEncryptsAndDecrypts(t *testing.T) {
	t.Parallel()
	k := open(t, localKey)
	sealed, err := k.Encrypt(t.Context(), []byte("a data key"))
	if err != nil || bytes.Contains(sealed, []byte("a data key")) {
		t.Fatalf("%q, %v", sealed, err)
	}
	if clear, err := k.Decrypt(t.Context(), sealed); err != nil || string(clear) != "a data key" {
		t.Errorf("%q, %v", clear, err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := k.Decrypt(t.Context(), sealed); err == nil || fault.HintOf(err) == "" {
		t.Errorf("a changed text opened, or nothing is said: %v", err)
	}
}

func open(t *testing.T, address string) kms.Keeper {
	t.Helper()
	k, err := kms.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAddressesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "postern", "file:///etc/key", "http://vault.example", "awskms2:///x", "://%"} {
		_, err := kms.Open(t.Context(), address)
		if !errors.Is(err, fault.Invalid) || !strings.Contains(fault.HintOf(err), "awskms://") {
			t.Errorf("%q: %v, next %q", address, err, fault.HintOf(err))
		}
	}
	if _, err := kms.Open(t.Context(), "hashivault://postern?nonsense=1"); !errors.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
		t.Errorf("a parameter that there is not: %v", err)
	}
}

// transit plays the part of HashiCorp Vault's transit engine with one key. It knows
// what it encrypted by its number.
type transit struct {
	texts  []string // by number, base64
	status atomic.Int32
}

func (v *transit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s := v.status.Load(); s != 0 || r.Header.Get("X-Vault-Token") != vaultToken {
		w.WriteHeader(max(int(s), http.StatusForbidden))
		_, _ = w.Write([]byte(`{"errors":["permission denied"]}`))
		return
	}
	var in struct{ Plaintext, Ciphertext string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	data := map[string]string{}
	switch r.URL.Path {
	case "/v1/transit/encrypt/postern":
		v.texts = append(v.texts, in.Plaintext)
		data["ciphertext"] = "vault:v1:" + base64.StdEncoding.EncodeToString([]byte{byte(len(v.texts) - 1)})
	case "/v1/transit/decrypt/postern":
		number, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(in.Ciphertext, "vault:v1:"))
		if err != nil || len(number) != 1 || int(number[0]) >= len(v.texts) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"errors":["cipher: message authentication failed"]}`))
			return
		}
		data["plaintext"] = v.texts[number[0]]
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":["no handler for ` + path.Base(r.URL.Path) + `"]}`))
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
}

const vaultToken = "a-token-that-nothing-may-print"

func TestHashiCorpVault(t *testing.T) { // its client reads the environment, once a process
	engine := &transit{}
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", vaultToken)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	k := open(t, "hashivault://postern")
	sealed, err := k.Encrypt(t.Context(), []byte("a data key"))
	if err != nil {
		t.Fatal(err)
	}
	if clear, err := k.Decrypt(t.Context(), sealed); err != nil || string(clear) != "a data key" {
		t.Errorf("%q, %v", clear, err)
	}
	refused := func(name string, err error) {
		t.Helper()
		if err == nil || fault.HintOf(err) == "" || !strings.Contains(err.Error(), "hashivault://postern") || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), vaultToken) {
			t.Errorf("%s: %v, next %q", name, err, fault.HintOf(err))
		}
	}
	_, err = k.Decrypt(t.Context(), []byte("vault:v1:bm8="))
	refused("a foreign text", err)
	engine.status.Store(http.StatusForbidden)
	_, err = k.Encrypt(t.Context(), []byte("x"))
	refused("no permission", err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = k.Encrypt(ended, []byte("x")); err == nil {
		t.Error("it went on when nobody waited any more")
	}
	server.Close()
	_, err = k.Decrypt(t.Context(), sealed)
	refused("nobody there", err)
	if !errors.Is(err, fault.Temporary) {
		t.Errorf("a service that is away is %v", fault.KindOf(err))
	}
}
