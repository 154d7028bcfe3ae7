package people_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/secret"
	"postern/internal/store"
)

const good = "correct horse battery staple"

// room is the people's room on a real database, with cheap passwords and a clock that
// stands until the test moves it.
type room struct {
	*people.Registry
	t     *testing.T
	mu    sync.Mutex
	time  time.Time
	kept  map[string]secret.Text
	deeds []people.Deed
	proof func() // done once while a password is checked; nil: nothing
}

func newRoom(t *testing.T, provider *people.Provider) *room {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{})
	ok(t, err)
	t.Cleanup(func() { _ = s.Close() })
	r := &room{t: t, time: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), kept: map[string]secret.Text{}}
	r.Registry = people.Open(people.Config{
		Store: s, Secrets: r, Idle: 12 * time.Hour, Life: 7 * 24 * time.Hour, Provider: provider, Now: r.now, Log: slog.New(slog.DiscardHandler),
		Audit: func(_ context.Context, d people.Deed) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.deeds = append(r.deeds, d)
			return nil
		},
		Passwords: people.Passwords{
			New:  func() secret.Text { return secret.New("made-up-password") },
			Hash: func(p secret.Text) (string, error) { return "hashed " + p.Reveal(), nil },
			Verify: func(hash string, p secret.Text) bool {
				if now := r.proof; now != nil {
					r.proof = nil
					now()
				}
				return hash == "hashed "+p.Reveal()
			},
		},
	})
	return r
}

func (r *room) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.time
}

func (r *room) KeepSecret(_ context.Context, name string, clear secret.Text) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[name] = clear
	return nil
}

func (r *room) KeptSecret(_ context.Context, name string) (secret.Text, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept[name], nil
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (hint %q)", err, fault.HintOf(err))
	}
}

func TestRoleOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		has, least people.Role
		may        bool
	}{
		{people.Viewer, people.Viewer, true}, {people.Viewer, people.Operator, false}, {people.Operator, people.Viewer, true},
		{people.Operator, people.Admin, false}, {people.Admin, people.Admin, true}, {"", people.Viewer, false}, {"emperor", people.Viewer, false},
		{people.Admin, "", false}, {people.Admin, "emperor", false},
	} {
		if c.has.May(c.least) != c.may {
			t.Errorf("%q may what needs %q: want %t", c.has, c.least, c.may)
		}
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	type inner struct {
		Host         string `json:"host"`
		ClientSecret string `json:"client_secret"`
	}
	type record struct {
		Name     string  `json:"name"`
		Same     int     `json:"same"`
		Password string  `json:"password"`
		Servers  []inner `json:"servers,omitempty"`
		APIKey   string  `json:"api_key"`
	}
	old := &record{"a", 1, "old", []inner{{"h", "clear-one"}}, ""}
	fresh := &record{"b", 1, "new", []inner{{"i", "clear-two"}}, "clear-three"}
	noon := time.Date(2026, 11, 21, 13, 0, 0, 123456789, time.FixedZone("", 3600))
	for name, c := range map[string]struct {
		before, after any
		was, is       string
	}{
		"changed": {old, fresh, `{"api_key":"","name":"a","password":"[redacted]","servers":[{"client_secret":"[redacted]","host":"h"}]}`,
			`{"api_key":"[redacted]","name":"b","password":"[redacted]","servers":[{"client_secret":"[redacted]","host":"i"}]}`},
		"added":   {nil, map[string]any{"name": "b"}, "", `{"name":"b"}`},
		"removed": {map[string]any{"name": "b"}, nil, `{"name":"b"}`, ""},
		"same":    {old, old, "", ""},
		"none":    {nil, nil, "", ""},
		"times": {map[string]any{"due": noon}, map[string]any{"due": noon.Add(time.Hour), "never": time.Time{}},
			`{"due":"2026-11-21T12:00:00Z"}`, `{"due":"2026-11-21T13:00:00Z","never":"0001-01-01T00:00:00Z"}`},
		"at once": {map[string]any{"due": noon}, map[string]any{"due": noon.Add(time.Millisecond)}, "", ""},
		"a user":  {people.User{Name: "jane", Hash: "clear-hash", Recovery: []string{"clear"}}, people.User{Name: "jane", Hash: "clear-other", Role: people.Admin}, `{"role":""}`, `{"role":"admin"}`},
	} {
		l, err := people.Deed{Before: c.before, After: c.after}.Line(time.Time{})
		if err != nil || string(l.Before) != c.was || string(l.After) != c.is {
			t.Errorf("%s: %s → %s, %v", name, l.Before, l.After, err)
		}
	}
}

func TestEverythingIsWrittenDown(t *testing.T) {
	t.Parallel()
	r, ctx := newRoom(t, nil), t.Context()
	code, err := r.SetupCode(ctx, false)
	ok(t, err)
	_, err = r.SetUp(ctx, people.NewUser{Name: "jane"}, code, secret.New(good), secret.New(good), people.From{})
	ok(t, err)
	_, token, err := r.Add(ctx, "web:jane", people.NewUser{Name: "bob", Role: people.Viewer, Way: people.ByLink})
	ok(t, err)
	_, err = r.Join(ctx, token, secret.New(good), secret.New(good), people.From{})
	ok(t, err)
	ok(t, r.SetRole(ctx, "web:jane", "bob", people.Admin))
	ok(t, r.Disable(ctx, "cli:root", "bob", true))
	ok(t, r.Reset(ctx, "cli:root", "admin", secret.New(good)))
	want := []string{"web:jane set Postern up jane", "web:jane add a user bob", "web:bob take an invitation bob", "web:jane change a role bob", "cli:root disable a user bob", "cli:root reset the administrator admin"}
	for i, d := range r.deeds {
		if have := d.Who + " " + d.What + " " + d.Subject; i >= len(want) || have != want[i] {
			t.Errorf("%d: %s", i, have)
		}
		l, err := d.Line(r.now())
		ok(t, err)
		if text := string(l.Before) + string(l.After); strings.Contains(text, "hashed") || strings.Contains(text, good) {
			t.Errorf("%s: %s", d.What, text)
		}
	}
	if len(r.deeds) != len(want) {
		t.Errorf("%d deeds, want %d", len(r.deeds), len(want))
	}
}

func TestAnInvitationIsTakenOnce(t *testing.T) {
	t.Parallel()
	r, ctx := newRoom(t, nil), t.Context()
	_, token, err := r.Add(ctx, "cli:root", people.NewUser{Name: "bob", Role: people.Viewer, Way: people.ByLink})
	ok(t, err)
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() {
			_, errs[i] = r.Join(ctx, token, secret.New(good), secret.New(good), people.From{})
		})
	}
	all.Wait()
	in := 0
	for _, err := range errs {
		if err == nil {
			in++
		} else if !errors.Is(err, fault.NotFound) {
			t.Error(err)
		}
	}
	if in != 1 {
		t.Errorf("%d took one invitation", in)
	}
}

func TestParseRules(t *testing.T) {
	t.Parallel()
	rules, err := people.ParseRules(" role:Postern.Admin=admin , group:a=b=operator,domain:contoso.com=viewer, user:jane@contoso.com=admin,")
	ok(t, err)
	if len(rules) != 4 || rules[1] != (people.Rule{Kind: "group", Value: "a=b", Role: people.Operator}) {
		t.Errorf("read as %+v", rules)
	}
	for _, bad := range []string{"admin", "role:x", "role:=admin", "role:x=emperor", "everybody:x=admin", "domain=admin"} {
		if _, err := people.ParseRules(bad); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzParseRules lets nobody in by a rule that does not say so.
func FuzzParseRules(f *testing.F) {
	for _, seed := range []string{"role:a=admin", "domain:=viewer", "a:b:c=admin,", "=,:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := people.ParseRules(text)
		for _, r := range rules {
			if err != nil || r.Value == "" || !r.Role.Known() {
				t.Errorf("%q gives %+v, %v", text, r, err)
			}
		}
	})
}

// fakeOpenID is a provider that says what the test wants, to whoever proves to be the
// browser that it was asked for.
type fakeOpenID struct {
	person entra.Identity
	asked  entra.AuthRequest
	err    error
}

func (f *fakeOpenID) AuthorizeURL(_ context.Context, _ entra.Registration, a entra.AuthRequest) (string, error) {
	f.asked = a
	return "https://login.example/authorize", nil
}

func (f *fakeOpenID) Redeem(_ context.Context, _ entra.Registration, d entra.Redemption) (entra.Tokens, error) {
	if d.Nonce != f.asked.Nonce || d.Verifier != f.asked.Verifier || d.Code != "good" {
		return entra.Tokens{}, fault.New(fault.Denied, "redeem", "it is another's")
	}
	return entra.Tokens{Identity: f.person}, f.err
}

func member(name string, more ...string) entra.Identity {
	id := entra.Identity{Username: name + "@contoso.com", TenantID: "t", ObjectID: "object of " + name, Issuer: "https://login.example", Subject: "s"}
	id.Roles = more
	return id
}

func TestSignInElsewhere(t *testing.T) {
	t.Parallel()
	rules, err := people.ParseRules("role:Boss=admin,group:g1=operator,domain:contoso.com=viewer,user:Eve@Fabrikam.com=operator")
	ok(t, err)
	guest := member("x", "Boss")
	guest.Username, guest.Guest = "jane@contoso.com", true
	stranger := entra.Identity{Username: "mallory@elsewhere.example", TenantID: "t", ObjectID: "m"}
	byMail := entra.Identity{Email: "Eve@fabrikam.com", EmailVerified: true, Issuer: "https://other.example", Subject: "7"}
	unproven := byMail
	unproven.EmailVerified = false
	grouped := member("g")
	grouped.Groups = []string{"g0", "g1"}
	for name, c := range map[string]struct {
		id   entra.Identity
		role people.Role
		user string
	}{
		"by domain": {member("jane"), people.Viewer, "jane@contoso.com"}, "the highest": {member("jane", "Boss"), people.Admin, "jane@contoso.com"},
		"by group": {grouped, people.Operator, "g@contoso.com"}, "a guest by role, not by a name others gave": {guest, people.Admin, "jane@contoso.com#guest"},
		"nobody": {stranger, "", ""}, "by a proven address": {byMail, people.Operator, "eve@fabrikam.com"}, "by an address nobody proved": {unproven, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeOpenID{person: c.id}
			r := newRoom(t, &people.Provider{OpenID: f, Redirect: "https://gate.example/login/callback", Rules: rules})
			ok(t, r.Reset(t.Context(), "cli:root", "admin", secret.New(good)))
			e, err := r.comesBack()
			if c.role == "" {
				if !errors.Is(err, fault.Denied) || !strings.Contains(fault.HintOf(err), "administrator of Postern: admin") {
					t.Errorf("let in or not told whom to ask: %v (%s)", err, fault.HintOf(err))
				}
				return
			}
			ok(t, err)
			if e.User.Role != c.role || e.User.Name != c.user || e.Half {
				t.Errorf("is %+v", e.User)
			}
			again, err := r.comesBack()
			if ok(t, err); again.User.ID != e.User.ID {
				t.Error("the second time it is somebody else")
			}
		})
	}
}

// comesBack is a browser that goes to the provider and comes back.
func (r *room) comesBack() (people.Entry, error) {
	r.t.Helper()
	binding, _, err := r.BeginExternal(r.t.Context())
	ok(r.t, err)
	f, _ := r.Provider.OpenID.(*fakeOpenID)
	return r.FinishExternal(r.t.Context(), binding, url.Values{"code": {"good"}, "state": {f.asked.State}}, people.From{Address: "192.0.2.1"})
}

func TestSignInElsewhereIsBoundToItsBrowser(t *testing.T) {
	t.Parallel()
	f := &fakeOpenID{person: member("jane")}
	r, ctx := newRoom(t, &people.Provider{OpenID: f, Rules: []people.Rule{{Kind: "domain", Value: "contoso.com", Role: people.Viewer}}}), t.Context()
	other, _, err := r.BeginExternal(ctx)
	ok(t, err)
	mine, _, err := r.BeginExternal(ctx)
	ok(t, err)
	if f.asked.State == f.asked.Nonce || f.asked.Verifier == f.asked.Nonce || len(f.asked.Verifier) < 43 || !f.asked.PersonOnly {
		t.Errorf("asked %+v", f.asked)
	}
	answer := url.Values{"code": {"good"}, "state": {f.asked.State}}
	for name, binding := range map[string]secret.Text{"another browser": other, "no browser": {}} {
		if _, err := r.FinishExternal(ctx, binding, answer, people.From{}); !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.FinishExternal(ctx, mine, url.Values{"error": {"access_denied"}, "state": {f.asked.State}}, people.From{}); !errors.Is(err, fault.Denied) {
		t.Errorf("somebody who declined: %v", err)
	}
	_, err = r.FinishExternal(ctx, mine, answer, people.From{})
	ok(t, err)
}

// What an administrator enters lets somebody in too; who has a password is not taken over.
func TestSignInElsewhereOfKnownPeople(t *testing.T) {
	t.Parallel()
	f := &fakeOpenID{person: member("jane")}
	r, ctx := newRoom(t, &people.Provider{OpenID: f}), t.Context()
	_, _, err := r.Add(ctx, "cli:root", people.NewUser{Mail: "Jane@contoso.com", Role: people.Operator, Way: people.Elsewhere})
	ok(t, err)
	e, err := r.comesBack()
	ok(t, err)
	if e.User.Name != "jane@contoso.com" || e.User.Role != people.Operator || e.User.ByRule {
		t.Errorf("is %+v", e.User)
	}
	ok(t, r.SetRole(ctx, "cli:root", "jane@contoso.com", people.Viewer))
	f.person.Username = "jane.new-name@contoso.com" // the same person, of another name
	if e, err = r.comesBack(); err != nil || e.User.Role != people.Viewer {
		t.Errorf("after a change of name: %+v, %v", e.User, err)
	}
	f.person = member("impostor")
	f.person.Username = "jane@contoso.com"
	if _, err := r.comesBack(); !errors.Is(err, fault.Denied) {
		t.Errorf("another person of that address: %v", err)
	}
	ok(t, r.Disable(ctx, "cli:root", "jane@contoso.com", true))
	f.person = member("jane")
	if _, err := r.comesBack(); !errors.Is(err, fault.Denied) {
		t.Errorf("a disabled user: %v", err)
	}

	_, token, err := r.Add(ctx, "cli:root", people.NewUser{Name: "bob", Mail: "bob@contoso.com", Role: people.Admin, Way: people.ByLink})
	ok(t, err)
	_, err = r.Join(ctx, token, secret.New(good), secret.New(good), people.From{})
	ok(t, err)
	f.person = member("bob")
	if _, err := r.comesBack(); !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "somebody else is known here as bob@contoso.com") {
		t.Errorf("a user with a password was taken over: %v", err)
	}
}

// Who came by a rule has what the rules say now, and nothing when they say nothing.
func TestRulesAreAskedEveryTime(t *testing.T) {
	t.Parallel()
	f := &fakeOpenID{person: member("jane", "Boss")}
	r, ctx := newRoom(t, &people.Provider{OpenID: f, Rules: []people.Rule{{"role", "Boss", people.Admin}, {"role", "Clerk", people.Viewer}}}), t.Context()
	e, err := r.comesBack()
	ok(t, err)
	if err := r.SetRole(ctx, "cli:root", e.User.Name, people.Viewer); !errors.Is(err, fault.Conflict) {
		t.Errorf("a role that a rule gives was changed by hand: %v", err)
	}
	f.person.Roles = []string{"Clerk"}
	if e, err = r.comesBack(); err != nil || e.User.Role != people.Viewer {
		t.Fatalf("%+v, %v", e.User, err)
	}
	f.person.Roles = nil
	if _, err := r.comesBack(); !errors.Is(err, fault.Denied) {
		t.Errorf("nobody any more: %v", err)
	}
	if _, _, err := r.Who(ctx, e.Key); !errors.Is(err, fault.Denied) {
		t.Errorf("the session lives on: %v", err)
	}
}

// Somebody with a login of their own does not wipe their guesses at another's away with
// it, not even at an address that both come from.
func TestOnesOwnPasswordForgivesNoGuessesAtAnothers(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	office := people.From{Address: "192.0.2.1"}
	for _, name := range []string{"boss", "eve"} {
		_, text, err := r.Add(t.Context(), "cli:root", people.NewUser{Name: name, Role: people.Admin, Way: people.ByLink})
		ok(t, err)
		_, err = r.Join(t.Context(), text, secret.New(good), secret.New(good), office)
		ok(t, err)
		_, err = r.Login(t.Context(), name, secret.New(good), office)
		ok(t, err)
	}
	guesses := 0
	for ; guesses < 100; guesses++ {
		if _, err := r.Login(t.Context(), "boss", secret.New("wrong"), office); errors.Is(err, fault.Throttled) {
			break
		}
		_, _ = r.Login(t.Context(), "eve", secret.New(good), office)
	}
	if guesses > 20 {
		t.Errorf("%d guesses at another's password were heard", guesses)
	}
}

// Wrong tries count within ten minutes, as the documents say: an office that mistypes now
// and then is not shut out by the sum of a day.
func TestWrongTriesAreForgottenAfterTenMinutes(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	office := people.From{Address: "192.0.2.1"}
	_, text, err := r.Add(t.Context(), "cli:root", people.NewUser{Name: "boss", Role: people.Admin, Way: people.ByPassword})
	ok(t, err)
	for i := range 40 {
		_, err := r.Login(t.Context(), fmt.Sprint("somebody-", i), secret.New("wrong"), office)
		if !errors.Is(err, fault.Denied) {
			t.Fatalf("after %d wrong tries, one every eight minutes: %v", i, err)
		}
		r.later(8 * time.Minute)
	}
	_, err = r.Login(t.Context(), "boss", text, office)
	ok(t, err)
}

func (r *room) later(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.time = r.time.Add(d)
}

// Somebody who logs in with the old password just when it changes is not in afterwards,
// nor half in: a change of password ends all logins.
func TestTheOldPasswordIsOverAtOnce(t *testing.T) {
	t.Parallel()
	for name, totp := range map[string]bool{"password only": false, "with one-time codes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, nil)
			from := people.From{Address: "192.0.2.1"}
			u, old, err := r.Add(t.Context(), "cli:root", people.NewUser{Name: "jane", Role: people.Admin, Way: people.ByPassword})
			ok(t, err)
			if totp {
				_, _, err = r.Store.ChangeUser(t.Context(), u.ID, func(u *people.User, _ []people.User) error { u.TOTP = true; return nil })
				ok(t, err)
			}
			_, invitation, err := r.Invite(t.Context(), "cli:root", "jane")
			ok(t, err)
			r.proof = func() {
				_, err := r.Join(t.Context(), invitation, secret.New(good), secret.New(good), from)
				ok(t, err)
			}
			if e, err := r.Login(t.Context(), "jane", old, from); !errors.Is(err, fault.Denied) {
				t.Errorf("the old password lets in, half %t: %v", e.Half, err)
			}
			if all, err := r.Store.Logins(t.Context(), u.ID); err != nil || len(all) != 1 {
				t.Errorf("%d logins, want the new one: %v", len(all), err)
			}
		})
	}
}
