package door

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Logins checks device passwords for all doors. A password that was right once
// is remembered (as a keyed hash, in memory), so that a device that signs in for
// every message costs nothing; guessing becomes slower with every failure.
// It is safe for concurrent use.
type Logins struct {
	devices Devices
	recent  *recent[Device]   // by name, for Still
	all     *recent[[]Device] // under "", for Listed
	delay   time.Duration
	decoy   string        // a hash to spend time on for unknown names
	hashing chan struct{} // bounds the memory that argon2 takes at once
	key     [32]byte

	mu     sync.Mutex
	known  map[[32]byte]struct{}
	fails  map[string]failures // by remote host, and by device name behind a blank
	proven map[[2]string]bool  // device and host of logins that were right
}

type failures struct {
	count int
	last  time.Time
}

// Bounds of what Logins remembers and does.
const (
	maxKnown     = 10_000
	maxFails     = 10_000
	failsForget  = 10 * time.Minute
	maxDelay     = 8 * time.Second
	defaultDelay = 250 * time.Millisecond
	hashesAtOnce = 2

	lockHost   = 20 // failures of a host after which it is not heard for failsForget
	lockDevice = 50 // and of a device, from hosts that never knew its password
)

// NewLogins checks against devices. delay is how long the first failure of a
// host is answered late; it doubles with each further one. 0 is 250 ms. A device that is
// in is looked at again when keep is over: so long it may go on after its login was
// withdrawn. A login itself always asks.
func NewLogins(devices Devices, delay, keep time.Duration) *Logins {
	if delay <= 0 {
		delay = defaultDelay
	}
	l := &Logins{
		devices: devices, recent: newRecent[Device](keep), all: newRecent[[]Device](keep), delay: delay, decoy: decoyHash(),
		hashing: make(chan struct{}, hashesAtOnce),
		known:   make(map[[32]byte]struct{}),
		fails:   make(map[string]failures),
		proven:  make(map[[2]string]bool),
	}
	_, _ = rand.Read(l.key[:])
	return l
}

// Check returns the device that name and password belong to. A wrong name, a
// wrong password and a disabled device are all the same fault.Denied, given
// after the delay that the remote host has earned. A host or a device with too many
// failures is fault.Throttled at once, whatever the password; from a host that has logged
// in as that device before, the password that was right then is heard all the same, and
// no other. Other errors are the store's.
func (l *Logins) Check(ctx context.Context, name string, password secret.Text, remote string) (Device, error) {
	locked, known := l.locked(name, remote)
	if locked && !known {
		return Device{}, errTooMany()
	}
	d, err := l.devices.Device(ctx, name)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return Device{}, err
	}
	phc := d.PasswordHash
	if err != nil || d.Disabled || phc == "" {
		phc = l.decoy
	}
	ok, verr := l.verify(ctx, name, phc, password, remote, locked)
	if verr != nil {
		return Device{}, verr
	}
	if ok && phc != l.decoy {
		return d, nil
	}
	if locked {
		return Device{}, errTooMany()
	}
	if err := wait(ctx, l.blame(name, remote)); err != nil {
		return Device{}, fault.Wrap(fault.Temporary, "check login", err)
	}
	return Device{}, fault.New(fault.Denied, "check login", "the name or the password is wrong, or the device is disabled")
}

// Still returns the present state of a device that signed in before; fault.Denied
// when it was removed, disabled or given another password since.
func (l *Logins) Still(ctx context.Context, d Device) (Device, error) {
	read := func() (Device, error) { return l.devices.Device(ctx, d.Name) }
	withdrawn := func(now Device) bool { return now.Disabled || now.PasswordHash != d.PasswordHash }
	now, err := l.recent.get(d.Name, read)
	if err == nil && withdrawn(now) { // what is kept may be older than the login
		now, err = l.recent.renew(d.Name, read)
	}
	if err != nil && !errors.Is(err, fault.NotFound) {
		return Device{}, err
	}
	if err != nil || withdrawn(now) {
		return Device{}, fault.New(fault.Denied, "check login", "the device was removed, disabled or given another password")
	}
	return now, nil
}

func errTooMany() error {
	return fault.New(fault.Throttled, "check login", "too many wrong passwords")
}

// verify asks memory first, and while somebody is locked out nothing else. The stored hash
// is part of what is remembered, so a changed password is forgotten by itself.
func (l *Logins) verify(ctx context.Context, name, phc string, password secret.Text, remote string, locked bool) (bool, error) {
	mac := hmac.New(sha256.New, l.key[:])
	for _, s := range []string{name, phc, password.Reveal()} {
		mac.Write([]byte(s + "\x00"))
	}
	sum := [32]byte(mac.Sum(nil))
	l.mu.Lock()
	_, known := l.known[sum]
	l.mu.Unlock()
	if known {
		l.prove(name, remote)
	}
	if known || locked {
		return known, nil
	}
	select {
	case l.hashing <- struct{}{}:
		defer func() { <-l.hashing }()
	case <-ctx.Done():
		return false, fault.Wrap(fault.Temporary, "check login", ctx.Err())
	}
	err := VerifyPassword(phc, password)
	runtime.GC() // or what the hash took would double what the process may grow to
	if errors.Is(err, fault.Denied) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if phc != l.decoy {
		l.forgive(sum, remote)
		l.prove(name, remote)
	}
	return true, nil
}

// Listed returns the device that may submit from an address without a login.
func (l *Logins) Listed(ctx context.Context, addr netip.Addr) (Device, bool) {
	all, err := l.all.get("", func() ([]Device, error) { return l.devices.Devices(ctx) })
	if err != nil {
		return Device{}, false
	}
	for _, d := range all {
		if d.Policy.NoLogin && d.Policy.Opens(DoorSMTP) && !d.Disabled && d.Policy.Check() == nil && d.Policy.From(addr) {
			return d, true
		}
	}
	return Device{}, false
}

// deviceKey is a device among the failures; no host has a blank in its name.
func deviceKey(name string) string { return " " + name }

// locked reports whether there were too many failures, and whether the host is known to
// be the device's.
func (l *Logins) locked(name, remote string) (locked, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	over := func(key string, most int) bool {
		f := l.fails[key]
		return f.count >= most && now.Sub(f.last) <= failsForget
	}
	known = l.proven[[2]string{name, remote}]
	return over(remote, lockHost) || !known && over(deviceKey(name), lockDevice), known
}

// knows reports whether a host has logged in as a device before.
func (l *Logins) knows(name, remote string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proven[[2]string{name, remote}]
}

// blame counts a failure and says how long to hold its answer back.
func (l *Logins) blame(name, remote string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if len(l.fails) >= maxFails {
		maps.DeleteFunc(l.fails, func(_ string, f failures) bool { return now.Sub(f.last) > failsForget })
		if len(l.fails) >= maxFails {
			clear(l.fails)
		}
	}
	l.count(deviceKey(name), now)
	n := l.count(remote, now)
	return min(l.delay<<min(n-1, 16), maxDelay)
}

func (l *Logins) count(key string, now time.Time) int {
	f := l.fails[key]
	if now.Sub(f.last) > failsForget {
		f.count = 0
	}
	f.count++
	f.last = now
	l.fails[key] = f
	return f.count
}

// forgive remembers a password that was right and forgets what its host guessed before.
// Only the first time: a device logs in all day, and would wipe somebody else's guesses
// from behind the same address away.
func (l *Logins) forgive(sum [32]byte, remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) >= maxKnown {
		clear(l.known)
	}
	l.known[sum] = struct{}{}
	delete(l.fails, remote)
}

// prove remembers a host as the device's.
func (l *Logins) prove(name, remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.proven) >= maxKnown {
		clear(l.proven)
	}
	l.proven[[2]string{name, remote}] = true
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
