package vault_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/vault"
)

// Every refusal, with the catalogue at hand: what it is taken for, and what is said.
func TestRefusalsAndWhatTheyAreTakenFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method vault.Method
		value  string
		number int
		kind   fault.Kind
		state  vault.State
		says   string // part of the reason
		do     string // part of the hint
	}{
		"the grant is gone":            {vault.Delegated, "invalid_grant", 50173, fault.NeedsSignIn, vault.NeedsSignIn, "was revoked", "postern signin scan"},
		"no number":                    {vault.Delegated, "invalid_grant", 0, fault.NeedsSignIn, vault.NeedsSignIn, "no longer accepts", "postern signin scan"},
		"an unknown number":            {vault.Delegated, "invalid_grant", 99999901, fault.NeedsSignIn, vault.NeedsSignIn, "AADSTS99999901", "postern signin scan"},
		"a second factor":              {vault.Delegated, "interaction_required", 50076, fault.NeedsSignIn, vault.NeedsSignIn, "AADSTS50076", "postern signin scan"},
		"no consent":                   {vault.Delegated, "consent_required", 65001, fault.NeedsSignIn, vault.NeedsSignIn, "AADSTS65001", "postern signin scan"},
		"log in again":                 {vault.Delegated, "login_required", 0, fault.NeedsSignIn, vault.NeedsSignIn, "login_required", "postern signin scan"},
		"denied":                       {vault.Delegated, "access_denied", 0, fault.NeedsSignIn, vault.NeedsSignIn, "access_denied", "postern signin scan"},
		"an administrator's policy":    {vault.Delegated, "invalid_grant", 53003, fault.NeedsAdmin, vault.NeedsAdmin, "Conditional Access", "."},
		"an administrator must agree":  {vault.Delegated, "access_denied", 90094, fault.NeedsAdmin, vault.NeedsAdmin, "AADSTS90094", "."},
		"the secret has ended":         {vault.Delegated, "invalid_client", 7000222, fault.NeedsAdmin, vault.NeedsAdmin, "AADSTS7000222", "secret"},
		"a scope is wrong":             {vault.Delegated, "invalid_scope", 70011, fault.NeedsAdmin, vault.NeedsAdmin, "AADSTS70011", "."},
		"a number of another class":    {vault.Delegated, "invalid_request", 90014, fault.NeedsAdmin, vault.NeedsAdmin, "AADSTS90014", "."},
		"the app's grant is gone":      {vault.Application, "invalid_grant", 70000, fault.NeedsAdmin, vault.NeedsAdmin, "AADSTS70000", "."},
		"a loop":                       {vault.Delegated, "invalid_grant", 50196, fault.Throttled, vault.Active, "", "."},
		"transient, whatever the word": {vault.Delegated, "invalid_grant", 90033, fault.Temporary, vault.Active, "", ""},
		"not now":                      {vault.Delegated, "temporarily_unavailable", 50173, fault.Temporary, vault.Active, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t).explained()
			if c.method == vault.Application {
				s.must(s.put(c.method, "", vault.Send, vault.IMAP))
				s.token(vault.Send, false)
			} else {
				s.signIn()
			}
			s.pass(2 * time.Hour)
			before := s.asked.Load()
			s.refuse(c.value, c.number)
			_, err := s.credential(vault.Send, vault.Cached)
			s.wantKind(err, c.kind)
			if !strings.Contains(fault.HintOf(err), c.do) {
				t.Errorf("hint %q", fault.HintOf(err))
			}
			a := s.wantState(c.state)
			if c.state == vault.Active {
				s.wantAlerts()
				return
			}
			if a.By != vault.Provider || !strings.Contains(a.Reason, c.says) || !strings.Contains(a.Reason, "Microsoft says: "+c.value) {
				t.Errorf("by %s: %s", a.By, a.Reason)
			}
			s.pass(time.Minute)
			for _, w := range []vault.Want{vault.Cached, vault.Fresh} { // answered here from now on, with all that was said
				_, again := s.vault.Credential(t.Context(), "scan", vault.IMAP, w)
				s.wantKind(again, c.kind)
				if !strings.Contains(again.Error(), a.Reason) || fault.HintOf(again) == "" {
					t.Errorf("repeated as %v (%s)", again, fault.HintOf(again))
				}
			}
			s.vault.Pass(t.Context())
			s.wantAsked(before + 1)
			s.wantAlerts("account_paused")
		})
	}
}

// Without the catalogue no number says anything.
func TestNumbersSayNothingWithoutTheCatalogue(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.pass(2 * time.Hour)
	s.refuse("invalid_grant", 53003)
	_, err := s.credential(vault.Send, vault.Cached)
	s.wantKind(err, fault.NeedsSignIn)
	s.wantState(vault.NeedsSignIn)
}

func TestALoopIsGivenMinutes(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	s.signIn()
	s.pass(2 * time.Hour)
	s.refuse("invalid_grant", 50196)
	for range 5 {
		_, err := s.credential(vault.Send, vault.Fresh)
		s.wantKind(err, fault.Throttled)
		s.vault.Pass(t.Context())
		s.pass(59 * time.Second)
	}
	s.wantAsked(1)
	s.answer(nil)
	s.pass(time.Minute)
	s.token(vault.Send, false)
	s.wantState(vault.Active)
}

// A pause and its end are each told once, however many nodes and callers meet them.
func TestAPauseAndItsEndAreAlertedOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	s.signIn()
	s.wantAlerts() // nothing was wrong
	nodes := []*vault.Vault{s.vault, s.node("node-b"), s.node("node-c")}
	s.pass(2 * time.Hour)
	s.world.RevokeSessions("scan@contoso.com")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			if _, err := nodes[i%3].Credential(t.Context(), "scan", vault.Send, vault.Cached); fault.KindOf(err) != fault.NeedsSignIn {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.wantAsked(1)
	s.wantAlerts("account_paused")
	if a := s.alerts[0]; a.Subject != "scan" || !strings.Contains(a.Text, "AADSTS50173") || !strings.Contains(a.Next, "postern signin scan") || !a.At.Equal(s.clock()) {
		t.Errorf("alert %+v", a)
	}
	s.pass(time.Minute)
	s.signIn()
	s.token(vault.Send, false)
	s.wantAlerts("account_paused", "account_works")
	s.wantNoSecret("an alert", s.alerts[0].Text+s.alerts[0].Next)
	s.wantNoSecret("the log", s.log.String())
}

// An administrator's pause is probed every quarter of an hour, by one caller.
func TestOneCallerProbes(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	s.signIn()
	nodes := []*vault.Vault{s.vault, s.node("node-b")}
	s.pass(2 * time.Hour)
	s.refuse("invalid_client", 7000222)
	all := func(w vault.Want) (given int) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range 40 {
			wg.Go(func() {
				_, err := nodes[i%2].Credential(t.Context(), "scan", vault.Send, w)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					given++
				} else if fault.KindOf(err) != fault.NeedsAdmin {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		return given
	}
	for n := int64(1); n <= 3; n++ {
		all(vault.Fresh)
		all(vault.Cached)
		s.wantAsked(n)
		s.pass(15*time.Minute - time.Second)
		all(vault.Cached)
		s.wantAsked(n)
		s.pass(time.Second)
	}
	s.wantAlerts("account_paused")
	s.answer(nil)
	all(vault.Cached) // some may find the pause just before the probe is back
	s.wantState(vault.Active)
	s.wantAsked(4)
	if given := all(vault.Cached); given != 40 {
		t.Errorf("%d of 40 have a token", given)
	}
	s.wantAlerts("account_paused", "account_works")
}

// An outage at the probe leaves the pause as it was, until the next probe.
func TestAnOutageAtTheProbe(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	s.signIn()
	s.pass(2 * time.Hour)
	s.refuse("invalid_client", 7000222)
	_, err := s.credential(vault.Send, vault.Cached)
	s.wantKind(err, fault.NeedsAdmin)
	was := s.wantState(vault.NeedsAdmin)
	s.pass(15 * time.Minute)
	s.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	_, err = s.credential(vault.Send, vault.Cached)
	s.wantKind(err, fault.Temporary)
	if a := s.wantState(vault.NeedsAdmin); a.Reason != was.Reason || !a.Since.Equal(was.Since) {
		t.Errorf("the pause became %+v", a)
	}
	_, err = s.credential(vault.Send, vault.Cached)
	s.wantKind(err, fault.NeedsAdmin)
	s.wantAsked(2)
}

// A person's own try is not kept waiting by a pause, and lifts it.
func TestAPersonIsLetThrough(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	s.signIn()
	s.pass(2 * time.Hour)
	s.refuse("invalid_client", 7000222)
	_, err := s.credential(vault.Send, vault.Cached)
	s.wantKind(err, fault.NeedsAdmin)
	for n := int64(2); n < 4; n++ {
		_, err = s.credential(vault.Send, vault.Asked)
		s.wantKind(err, fault.NeedsAdmin)
		s.wantAsked(n)
	}
	s.wantAlerts("account_paused")
	s.answer(nil)
	_, err = s.credential(vault.Send, vault.Asked)
	s.must(err)
	s.wantState(vault.Active)
	s.wantAlerts("account_paused", "account_works")

	s.answer(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "600"); w.WriteHeader(429) })
	for n := int64(5); n < 7; n++ { // nor by the provider's wish for patience
		_, err = s.credential(vault.Send, vault.Asked)
		s.wantKind(err, fault.Throttled)
		s.wantAsked(n)
	}
}

// What a mail server refused is no refusal of Entra's: tokens go on, and do not lift it.
func TestAServersPause(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.must(s.vault.Refused(t.Context(), "scan", fault.NeedsAdmin, "smtp AUTH: 535 5.7.139 switched off"))
	s.must(s.vault.Refused(t.Context(), "scan", fault.NeedsAdmin, "smtp AUTH: 535 5.7.139 switched off"))
	if a := s.wantState(vault.NeedsAdmin); a.By != vault.Server || !a.ProbeAt.Equal(s.clock().Add(15*time.Minute)) {
		t.Errorf("paused as %+v", a)
	}
	s.wantAlerts("account_paused")
	s.pass(2 * time.Hour)
	s.token(vault.IMAP, false)
	s.wantState(vault.NeedsAdmin)
	s.must(s.vault.Worked(t.Context(), "scan"))
	s.wantState(vault.Active)
	s.wantAlerts("account_paused", "account_works")

	s.world.RevokeSessions("scan@contoso.com")
	s.pass(time.Minute)
	_, err := s.credential(vault.Send, vault.Fresh)
	s.wantKind(err, fault.NeedsSignIn)
	s.must(s.vault.Worked(t.Context(), "scan")) // a login with the token from before
	s.must(s.vault.Refused(t.Context(), "scan", fault.NeedsSignIn, "paused: as the vault said"))
	if a := s.wantState(vault.NeedsSignIn); a.By != vault.Provider || strings.Contains(a.Reason, "as the vault said") {
		t.Errorf("the provider's pause became %+v", a)
	}
}

func TestAnAppIsNeverToldToSignIn(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.put(vault.Application, "", vault.Send))
	s.token(vault.Send, false)
	s.must(s.vault.Refused(t.Context(), "scan", fault.NeedsSignIn, "smtp AUTH: 535 5.7.3 Authentication unsuccessful"))
	s.wantState(vault.NeedsAdmin)
}

// Nobody has signed in: the relay hears so, and the account stays new.
func TestAServerCannotPauseWhatIsNew(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.vault.Refused(t.Context(), "scan", fault.NeedsSignIn, "nobody has signed in"))
	s.wantState(vault.New)
	s.wantAlerts()
}

// The pause of a grant that died while somebody signed in is neither kept nor told;
// and should Postern stop between the two, the newer sign-in counts.
func TestAPauseOlderThanTheSignInIsNone(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.pass(2 * time.Hour)
	s.refuse("invalid_grant", 50173)
	var once sync.Once
	s.store.beforeState = func(state vault.State) {
		if state == vault.NeedsSignIn {
			once.Do(func() { s.pass(time.Second); s.signIn() })
		}
	}
	s.token(vault.Send, false)
	s.wantState(vault.Active)
	s.wantAlerts()

	began := s.clock().Add(-time.Second)
	_, err := s.store.SetState(t.Context(), "scan", vault.Transition{To: vault.NeedsSignIn, By: vault.Provider, Reason: "of the grant before", At: began})
	s.must(err)
	s.answer(nil)
	s.vault.Pass(t.Context())
	s.wantState(vault.Active)
}

// Those who queued up behind an attempt that fails share its failure.
func TestCallersShareAFailure(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.pass(2 * time.Hour)
	waiting, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(waiting); <-goOn })
		w.WriteHeader(503)
	})
	var wg, queued sync.WaitGroup
	ask := func(ctx context.Context) {
		_, err := s.vault.Credential(ctx, "scan", vault.Send, vault.Cached)
		if fault.KindOf(err) != fault.Temporary {
			t.Error(err)
		}
	}
	wg.Go(func() { ask(t.Context()) })
	<-waiting
	for range 20 {
		queued.Add(1)
		wg.Go(func() { ask(&queuer{Context: t.Context(), waits: sync.OnceFunc(queued.Done)}) })
	}
	queued.Wait()
	close(goOn)
	wg.Wait()
	s.wantAsked(1)
	s.answer(nil)
	s.token(vault.Send, false)
}

// queuer is a context that tells when somebody begins to wait with it.
type queuer struct {
	context.Context
	waits func()
}

func (q *queuer) Done() <-chan struct{} { q.waits(); return q.Context.Done() }
