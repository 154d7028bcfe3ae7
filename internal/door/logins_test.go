package door_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/secret"
)

func TestPasswords(t *testing.T) {
	t.Parallel()
	one, two := door.NewPassword(), door.NewPassword()
	if one == two || len(one.Reveal()) != 23 || strings.ContainsAny(one.Reveal(), "ilou") {
		t.Errorf("bad passwords %q %q", one.Reveal(), two.Reveal())
	}
	hash, err := door.HashPassword(one)
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%q %v", hash, err)
	}
	if err := door.VerifyPassword(hash, one); err != nil {
		t.Error(err)
	}
	if err := door.VerifyPassword(hash, two); !errors.Is(err, fault.Denied) {
		t.Errorf("another password: %v", err)
	}
	if _, err := door.HashPassword(secret.Text{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("empty: %v", err)
	}
}

// The vector is from the argon2 reference program: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1.
func TestVerifyForeignHash(t *testing.T) {
	t.Parallel()
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if err := door.VerifyPassword(phc, secret.New("password")); err != nil {
		t.Error(err)
	}
}

func TestBadHashes(t *testing.T) {
	t.Parallel()
	for _, phc := range []string{
		"", "plain", "$argon2id$", "$argon2i$v=19$m=16,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=64,t=1,p=1$!$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$",
	} {
		if err := door.VerifyPassword(phc, secret.New("x")); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", phc, err)
		}
	}
}

func FuzzVerifyPassword(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=64,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, phc string) {
		if strings.Count(phc, "$") == 5 && !strings.Contains(phc, "$m=64,t=1,p=1$") {
			t.Skip() // dear costs only make it slow
		}
		if err := door.VerifyPassword(phc, secret.New("guess")); err == nil {
			t.Fatalf("%q opens for a guess", phc)
		}
	})
}

func newLogins(t *testing.T, d *devices) *door.Logins {
	t.Helper()
	l := door.NewLogins(d, 100*time.Millisecond, 0)
	return l
}

func scanner(t *testing.T) (*devices, secret.Text) {
	t.Helper()
	password := door.NewPassword()
	hash, err := door.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	return &devices{byID: map[string]door.Device{"scanner": {Name: "scanner", PasswordHash: hash}}}, password
}

func TestFailuresAreAnsweredLaterAndLater(t *testing.T) {
	t.Parallel()
	d, password := scanner(t)
	synctest.Test(t, func(t *testing.T) {
		l := newLogins(t, d)
		took := func(name string, p secret.Text, remote string, want error) time.Duration {
			t.Helper()
			begin := time.Now()
			if _, err := l.Check(t.Context(), name, p, remote); !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
			return time.Since(begin)
		}
		for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 8000, 8000} {
			name := []string{"scanner", "nobody"}[i%2]
			if got := took(name, secret.New("wrong"), "192.0.2.1", fault.Denied); got != want*time.Millisecond {
				t.Errorf("failure %d took %v, want %v ms", i+1, got, int64(want))
			}
		}
		if got := took("scanner", secret.New("wrong"), "192.0.2.2", fault.Denied); got != 100*time.Millisecond {
			t.Errorf("another host waits %v", got)
		}
		if got := took("scanner", password, "192.0.2.1", nil); got != 0 {
			t.Errorf("the right password waits %v", got)
		}
		if got := took("scanner", secret.New("wrong"), "192.0.2.1", fault.Denied); got != 100*time.Millisecond {
			t.Errorf("after a success a failure waits %v", got)
		}
		time.Sleep(11 * time.Minute)
		if got := took("scanner", secret.New("wrong"), "192.0.2.2", fault.Denied); got != 100*time.Millisecond {
			t.Errorf("an old failure still counts: %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Check(ctx, "nobody", password, "192.0.2.9"); err == nil {
			t.Error("no error after cancellation")
		}
	})
}

func TestChangedPasswordIsNotRemembered(t *testing.T) {
	t.Parallel()
	d, password := scanner(t)
	l := newLogins(t, d)
	for range 2 { // the second time from memory
		if _, err := l.Check(t.Context(), "scanner", password, "h"); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := d.Device(t.Context(), "scanner")
	other, _ := scanner(t)
	changed := other.byID["scanner"]
	if err := d.PutDevice(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Check(t.Context(), "scanner", password, "h"); !errors.Is(err, fault.Denied) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := l.Still(t.Context(), before); !errors.Is(err, fault.Denied) {
		t.Errorf("the old session: %v", err)
	}
	changed.Disabled = true
	if err := d.PutDevice(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Still(t.Context(), changed); !errors.Is(err, fault.Denied) {
		t.Errorf("a disabled device: %v", err)
	}
}

// Not parallel: it counts what the process allocates, and one argon2 takes 19 MB.
func TestRepeatedLoginsAreCheap(t *testing.T) { //nolint:paralleltest
	d, password := scanner(t)
	l := newLogins(t, d)
	login := func() {
		if _, err := l.Check(t.Context(), "scanner", password, "h"); err != nil {
			t.Fatal(err)
		}
	}
	login()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		login()
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("20 logins allocated %d octets: argon2 runs again", got)
	}
}
