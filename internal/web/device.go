package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/vault"
)

// The bounds of sign-ins by code.
const (
	mostDevices   = 20              // under way at once
	lookEvery     = 5 * time.Second // a page that waits looks again
	rememberEnded = time.Hour       // how long the end of one can be looked at
	pollGrace     = time.Minute     // beyond the code's life, for the last answer
)

// devices are the sign-ins by code of this process, at most one per account. They
// live as long as the server does and no longer: a restart forgets them, and the
// person is shown a new code.
type devices struct {
	now     func() time.Time
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	by     map[string]*attempt // by account
}

// attempt is one of them. err is there once done is closed; nil is a good end.
type attempt struct {
	code   vault.DeviceSignIn
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (a *attempt) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

func newDevices(now func() time.Time) *devices { return &devices{now: now, by: map[string]*attempt{}} }

// start waits for a code's person in the background: await runs until it is done, or
// the code has ended, or somebody cancels. A sign-in of the same account is replaced.
func (d *devices) start(ctx context.Context, code vault.DeviceSignIn, await func(context.Context, vault.DeviceSignIn) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget()
	if old := d.by[code.Account]; old != nil {
		old.cancel()
		delete(d.by, code.Account)
	}
	switch {
	case d.closed:
		return fault.New(fault.Invalid, "sign in by code", "the server is stopping").WithHint("try again when it is back")
	case d.waiting() >= mostDevices:
		return fault.New(fault.Invalid, "sign in by code", "%d sign-ins by code are under way", mostDevices).
			WithHint("wait until one of them has ended, or cancel one")
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), code.Expires.Add(pollGrace)) // outlives the request
	a := &attempt{code: code, cancel: cancel, done: make(chan struct{})}
	d.by[code.Account] = a
	d.running.Go(func() {
		defer cancel()
		defer close(a.done)
		a.err = await(ctx, code)
	})
	return nil
}

// waiting counts those under way; forget drops the ends that nobody will look at.
func (d *devices) waiting() (n int) {
	for _, a := range d.by {
		if !a.ended() {
			n++
		}
	}
	return n
}

func (d *devices) forget() {
	for account, a := range d.by {
		if a.ended() && d.now().After(a.code.Expires.Add(rememberEnded)) {
			delete(d.by, account)
		}
	}
}

func (d *devices) of(account string) *attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.by[account]
}

func (d *devices) cancel(account string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.by[account]; a != nil {
		a.cancel()
		delete(d.by, account)
	}
}

func (d *devices) close() {
	d.mu.Lock()
	d.closed = true
	for _, a := range d.by {
		a.cancel()
	}
	d.mu.Unlock()
	d.running.Wait()
}

// beginDevice asks for a code and goes on to the page that shows it.
func (s *Server) beginDevice(w http.ResponseWriter, r *http.Request) {
	code, err := s.Vault.BeginDevice(r.Context(), r.PathValue("name"))
	if err == nil {
		err = s.devices.start(r.Context(), code, s.awaitDevice)
	}
	if err != nil {
		s.fail(w, r, err, pageOf(r.PathValue("name")))
		return
	}
	http.Redirect(w, r, "/accounts/"+url.PathEscape(code.Account)+"/device", http.StatusSeeOther)
}

// awaitDevice is the whole of a sign-in by code, once its person knows the code.
func (s *Server) awaitDevice(ctx context.Context, code vault.DeviceSignIn) error {
	result, err := s.Vault.AwaitDevice(ctx, code)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return err // by us: nobody waits for it any more
	case err != nil && ctx.Err() != nil:
		err = fault.New(fault.NotFound, "sign in by code", "nobody typed the code in time").WithHint("begin again for a new code")
	}
	if err != nil {
		s.Log.WarnContext(ctx, "a sign-in by code failed", "account", code.Account, "kind", fault.KindOf(err).String(), "error", err)
		return err
	}
	s.Log.InfoContext(ctx, "account signed in", "account", code.Account, "signed_in_as", result.SignedInAs)
	return nil
}

// devicePage is a code that waits to be typed.
type devicePage struct {
	vault.DeviceSignIn
	Mailbox string
	Shared  bool
	Still   bool // does not look again by itself
	Every   int  // seconds
}

// showDevice shows the code until its person is done, and then what it came to.
func (s *Server) showDevice(w http.ResponseWriter, r *http.Request) {
	account := r.PathValue("name")
	a := s.devices.of(account)
	if a == nil {
		_, m := explain(fault.New(fault.NotFound, "sign in by code", "no sign-in by code is under way for account %q", account).
			WithHint("begin one from the account's page"))
		m.Home = pageOf(account)
		s.show(w, r, http.StatusNotFound, "message.html", m)
		return
	}
	d, err := s.Vault.Describe(r.Context(), account)
	switch {
	case err != nil:
		s.failLookup(w, r, err)
	case !a.ended():
		p := devicePage{DeviceSignIn: a.code, Mailbox: d.Account.Mailbox.String(), Shared: d.Account.Shared, Every: int(lookEvery.Seconds())}
		if p.Still = r.URL.Query().Has("still"); !p.Still { // WCAG 2.2 success criterion 2.2.2: it can be stopped
			w.Header().Set("Refresh", strconv.Itoa(p.Every))
		}
		s.show(w, r, http.StatusOK, "device.html", p)
	case a.err != nil:
		status, m := explain(a.err)
		m.Home = pageOf(account)
		s.show(w, r, status, "message.html", m)
	default:
		m := signedIn(d)
		m.Home, m.Check = pageOf(account), checkOf(account, d.Account.Purposes...)
		s.show(w, r, http.StatusOK, "message.html", m)
	}
}

// cancelDevice gives a sign-in by code up.
func (s *Server) cancelDevice(w http.ResponseWriter, r *http.Request) {
	s.devices.cancel(r.PathValue("name"))
	s.done(w, r, pageOf(r.PathValue("name")), "The sign-in by code is given up.")
}
