package web

import (
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"postern/internal/vault"
)

// How long a sign-in that goes on elsewhere is waited for: as long as the vault takes
// its end.
const (
	signInLife = 10 * time.Minute
	linkLife   = time.Hour + signInLife
)

// waits remembers how sign-ins of this process failed, for the pages that wait for
// them. A good end is in the vault, for every node to see.
type waits struct {
	now func() time.Time

	mu     sync.Mutex
	failed map[string]failure // by account
}

type failure struct {
	at  time.Time
	err error
}

func newWaits(now func() time.Time) *waits {
	return &waits{now: now, failed: map[string]failure{}}
}

// begin forgets how the sign-in before this one failed, and those that nobody waits for.
func (w *waits) begin(account string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.failed, account)
	for name, f := range w.failed {
		if w.now().After(f.at.Add(signInLife)) {
			delete(w.failed, name)
		}
	}
}

// end takes down that a sign-in failed. One of nobody is nobody's to wait for.
func (w *waits) end(account string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if account != "" && err != nil {
		w.failed[account] = failure{w.now(), err}
	}
}

// since is how a sign-in failed after a time; nil when none did.
func (w *waits) since(account string, at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.failed[account]; !f.at.Before(at) {
		return f.err
	}
	return nil
}

// waitingFor is the page that waits for a sign-in that began at a time; one by a link
// that was passed on lasts longer.
func waitingFor(account string, at time.Time, link bool) string {
	q := url.Values{"since": {strconv.FormatInt(at.Unix(), 10)}}
	if link {
		q.Set("link", "1")
	}
	return pageOf(account) + "/signin?" + q.Encode()
}

// waitingPage waits for a sign-in that goes on in another window, or elsewhere.
type waitingPage struct {
	sheet
	Name  string
	Begun time.Time
	Ends  time.Time
	Done  bool
	Late  bool
	Why   *message // it failed
	vault.Description
}

// Check is where to go when it is done.
func (p waitingPage) Check() string { return checkOf(p.Name, p.Account.Purposes...) }

// Settled reports whether nothing more will change.
func (p waitingPage) Settled() bool { return p.Done || p.Late || p.Why != nil }

// wait shows how a sign-in stands. Its address says since when it is waited for, so
// that looking again works without a script, after a restart and on every node.
func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	unix, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
	if err != nil {
		http.Redirect(w, r, waitingFor(name, s.now(), false), http.StatusSeeOther)
		return
	}
	ctx, cancel := s.brief(r)
	defer cancel()
	p := waitingPage{Name: name, Begun: time.Unix(unix, 0)}
	p.Ends = p.Begun.Add(signInLife)
	if r.URL.Query().Has("link") {
		p.Ends = p.Begun.Add(linkLife)
	}
	if p.Description, err = s.Vault.Describe(ctx, name); err != nil {
		s.noAccount(w, r, err)
		return
	}
	p.sheet = s.sheet(w, r, "Sign in "+name, home)
	switch failed := s.waits.since(name, p.Begun); {
	case !p.SignedInAt.Before(p.Begun):
		p.Done = true
	case failed != nil:
		_, m := explain(failed)
		p.Why = &m
	case !s.now().Before(p.Ends):
		p.Late = true
	}
	if p.Settled() {
		w.Header().Set(settledHeader, "1")
	} else {
		p.Again = int(lookEvery.Seconds())
	}
	s.show(w, r, http.StatusOK, "waiting.html", p)
}

// stopWaiting goes back to the account's page.
func (s *Server) stopWaiting(w http.ResponseWriter, r *http.Request) {
	s.done(w, r, pageOf(r.PathValue("name")), "Nobody waits for the sign-in any more. What is open at Microsoft ends by itself.")
}
