package vault_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

func TestSignInLeavesAGrantThatWorks(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	r := s.signIn()
	if r.SignedInAs != "scan@contoso.com" || r.Account.State != vault.Active || !r.Until.Equal(s.clock().Add(90*24*time.Hour)) {
		t.Errorf("result %+v", r)
	}
	s.wantState(vault.Active)
	tok, err := s.world.CheckToken(s.token(vault.Send, false))
	if err != nil || tok.UPN != "scan@contoso.com" || len(tok.Scopes) != 2 {
		t.Errorf("token %+v, %v", tok, err)
	}
	d, err := s.vault.Describe(t.Context(), "scan")
	s.must(err)
	if d.SignedInAs != "scan@contoso.com" || d.ObjectID == "" || d.TenantID == "" || len(d.Access) != 1 || d.Until.IsZero() {
		t.Errorf("description %+v", d)
	}
}

func TestWrongPersonIsRefusedAndNothingStored(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	_, err := s.vault.FinishSignIn(t.Context(), s.visit("scan", "eve@contoso.com"), cookie)
	s.wantKind(err, fault.Denied)
	if h := fault.HintOf(err); !strings.Contains(h, "eve@contoso.com") || !strings.Contains(h, "scan@contoso.com") {
		t.Errorf("hint %q names not both", h)
	}
	if _, err := s.store.Grant(t.Context(), "scan"); !errors.Is(err, fault.NotFound) {
		t.Error("a grant was stored")
	}
	s.wantState(vault.New)

	shared := s.scan()
	shared.Shared = true
	s.must(s.vault.PutAccount(t.Context(), shared, nil))
	r, err := s.vault.FinishSignIn(t.Context(), s.visit("scan", "eve@contoso.com"), cookie)
	s.must(err)
	if r.SignedInAs != "eve@contoso.com" {
		t.Errorf("signed in as %q", r.SignedInAs)
	}
}

// facts is everything kept but sign-ins under way, to compare before and after.
func (m *memory) facts() string {
	defer m.lock()()
	return fmt.Sprint(m.apps, m.accounts, m.grants, m.claims, m.links, m.settings)
}

// pending is how many sign-ins are under way.
func (m *memory) pending() int { defer m.lock()(); return len(m.signIns) }

// again brings back every state that was used up since.
func (m *memory) again() (putBack func()) {
	defer m.lock()()
	had := maps.Clone(m.signIns)
	return func() { defer m.lock()(); maps.Copy(m.signIns, had) }
}

// Whatever is wrong with a callback, nothing is stored and its state is used up; and
// each has a reason of its own, for a page of its own.
func TestACallbackThatFailsStoresNothing(t *testing.T) {
	t.Parallel()
	type callback struct {
		q       url.Values
		browser string
	}
	for name, c := range map[string]struct {
		arrange func(*stand, *callback)
		kind    fault.Kind
		is      error
		says    string
		named   bool // the browser may know whose sign-in it was
	}{
		"missing state":    {func(_ *stand, c *callback) { c.q.Del("state") }, fault.NotFound, vault.ErrUnknownState, "finished already", false},
		"foreign state":    {func(_ *stand, c *callback) { c.q.Set("state", "made up") }, fault.NotFound, vault.ErrUnknownState, "not known", false},
		"empty callback":   {func(_ *stand, c *callback) { c.q = nil }, fault.NotFound, vault.ErrUnknownState, "not known", false},
		"another browser":  {func(_ *stand, c *callback) { c.browser = "another cookie" }, fault.Denied, vault.ErrOtherBrowser, "another browser", false},
		"no cookie at all": {func(_ *stand, c *callback) { c.browser = "" }, fault.Denied, vault.ErrOtherBrowser, "another browser", false},
		"expired state":    {func(s *stand, _ *callback) { s.pass(10 * time.Minute) }, fault.NotFound, vault.ErrExpiredState, "10 minutes", true},
		"expired, elsewhere": {func(s *stand, c *callback) {
			s.pass(time.Hour)
			c.browser = "another cookie"
		}, fault.Denied, vault.ErrOtherBrowser, "another browser", false},
		"reused state": {func(s *stand, c *callback) {
			_, err := s.vault.FinishSignIn(s.Context(), c.q, cookie)
			s.must(err)
		}, fault.NotFound, vault.ErrUnknownState, "finished already", false},
		"code redeemed twice": {func(s *stand, c *callback) {
			putBack := s.store.again()
			_, err := s.vault.FinishSignIn(s.Context(), c.q, cookie)
			s.must(err)
			putBack()
		}, fault.NeedsSignIn, nil, "code was used already", true},
		"made-up code":  {func(_ *stand, c *callback) { c.q.Set("code", "made-up") }, fault.NeedsSignIn, nil, "AADSTS", true},
		"no code":       {func(_ *stand, c *callback) { c.q.Del("code") }, fault.Invalid, nil, "no code", true},
		"access denied": {func(_ *stand, c *callback) { c.q.Set("error", "access_denied") }, fault.Denied, nil, "access_denied", true},
		"denied, then told again": {func(s *stand, c *callback) {
			c.q.Set("error", "access_denied")
			_, err := s.vault.FinishSignIn(s.Context(), c.q, cookie)
			s.wantKind(err, fault.Denied)
			c.q.Del("error")
		}, fault.NotFound, vault.ErrUnknownState, "finished already", false},
		"wrong account": {func(s *stand, c *callback) { c.q = s.visit("scan", "eve@contoso.com") }, fault.Denied, vault.ErrWrongMailbox, "eve@contoso.com", true},
		"Microsoft is down": {func(s *stand, _ *callback) {
			s.world.Arm(world.Fault{Where: "token", Kind: world.FaultStatus, Code: "503"})
		}, fault.Temporary, nil, "503", true},
		"the secret has ended": {func(s *stand, _ *callback) {
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.SecretExpired = true })
		}, fault.NeedsAdmin, nil, "has expired", true},
		"somebody else's consent": {func(_ *stand, c *callback) {
			c.q.Del("code")
			c.q.Set("admin_consent", "True")
		}, fault.Invalid, nil, "no code", true},
		"the account is gone":        {func(s *stand, _ *callback) { s.must(s.vault.DeleteAccount(s.Context(), "scan")) }, fault.NotFound, nil, "scan", true},
		"the account acts alone now": {func(s *stand, _ *callback) { s.must(s.put(vault.Application, "", vault.Send)) }, fault.Invalid, nil, "application", true},
		"the disk is full":           {func(s *stand, _ *callback) { s.store.failCommits = 1 }, fault.Unknown, errDisk, "disk", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t).explained()
			back := callback{s.visit("scan", "scan@contoso.com"), cookie}
			state := back.q.Get("state")
			c.arrange(s, &back)
			before := s.store.facts()
			r, err := s.vault.FinishSignIn(t.Context(), back.q, back.browser)
			s.wantKind(err, c.kind)
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v", err)
			}
			if h := fault.HintOf(err); h == "" && c.kind != fault.Unknown && c.kind != fault.Temporary && name != "the account is gone" {
				t.Errorf("%v has no next step", err)
			}
			if after := s.store.facts(); after != before {
				t.Errorf("something was stored:\n%s\n%s", before, after)
			}
			if named := r.Account.Name == "scan"; named != c.named || r.SignedInAs != "" {
				t.Errorf("the browser hears %+v", r)
			}
			s.wantNoSecret("the error", err.Error()+fault.HintOf(err))
			if back.q.Get("state") == state && s.store.pending() != 0 {
				t.Error("the state was not used up")
			}
		})
	}
}

func TestWhoMaySignIn(t *testing.T) {
	t.Parallel()
	const personal, work = "9188040d-6c67-4c5b-b112-36a304b66dad", "11111111-2222-3333-4444-555555555555"
	scan := vault.Account{Name: "scan", Mailbox: mail.Address{Local: "Scan", Domain: "contoso.com"}}
	shared := scan
	shared.Shared = true
	for name, c := range map[string]struct {
		account vault.Account
		tenant  string
		id      entra.Identity
		says    string // "" for nothing against it
	}{
		"the mailbox":              {scan, "contoso.com", entra.Identity{Username: "scan@CONTOSO.com", TenantID: work}, ""},
		"by its address":           {scan, "contoso.com", entra.Identity{Username: "s@contoso.com", Email: "scan@contoso.com", TenantID: work}, ""},
		"somebody else":            {scan, "contoso.com", entra.Identity{Username: "eve@contoso.com", TenantID: work}, "eve@contoso.com"},
		"nobody with a name":       {scan, "contoso.com", entra.Identity{}, "somebody without a name"},
		"only an object id":        {scan, "contoso.com", entra.Identity{ObjectID: "42"}, "42"},
		"for a shared mailbox":     {shared, "contoso.com", entra.Identity{Username: "eve@contoso.com", TenantID: work}, ""},
		"personal, one tenant":     {scan, "contoso.com", entra.Identity{Username: "scan@contoso.com", TenantID: personal}, "personal Microsoft account"},
		"personal, organizations":  {scan, "organizations", entra.Identity{Username: "scan@contoso.com", TenantID: strings.ToUpper(personal)}, "personal Microsoft account"},
		"personal, shared mailbox": {shared, work, entra.Identity{Username: "eve@outlook.com", TenantID: personal}, "personal Microsoft account"},
		"personal, common":         {scan, "Common", entra.Identity{Username: "scan@contoso.com", TenantID: personal}, ""},
		"personal, consumers":      {scan, "consumers", entra.Identity{Username: "scan@contoso.com", TenantID: personal}, ""},
		"personal, their tenant":   {scan, personal, entra.Identity{Username: "scan@contoso.com", TenantID: personal}, ""},
		"another personal one":     {scan, "common", entra.Identity{Username: "eve@outlook.com", TenantID: personal}, "eve@outlook.com"},
		"not Entra":                {scan, "", entra.Identity{Username: "scan@contoso.com"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := vault.RightPerson(c.account, vault.App{Name: "m365", Tenant: c.tenant}, c.id)
			if (err == nil) != (c.says == "") {
				t.Fatalf("got %v", err)
			}
			if err != nil && (errors.Is(err, vault.ErrPersonal) == errors.Is(err, vault.ErrWrongMailbox) || !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "") {
				t.Errorf("got %v, next %q", err, fault.HintOf(err))
			}
		})
	}
}

// Two people may be at the same account at once: whoever finishes last is who it is.
func TestTheLastSignInWins(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	a := s.scan()
	a.Shared = true
	s.must(s.vault.PutAccount(t.Context(), a, nil))
	first, second := s.visit("scan", "scan@contoso.com"), s.visit("scan", "eve@contoso.com")
	for _, back := range []url.Values{second, first} {
		_, err := s.vault.FinishSignIn(t.Context(), back, cookie)
		s.must(err)
	}
	d, err := s.vault.Describe(t.Context(), "scan")
	s.must(err)
	if d.SignedInAs != "scan@contoso.com" || len(d.Access) != 1 {
		t.Errorf("%+v", d)
	}

	backs := []url.Values{s.visit("scan", "scan@contoso.com"), s.visit("scan", "eve@contoso.com"), s.visit("scan", "scan@contoso.com")}
	var wg sync.WaitGroup
	for _, back := range backs {
		wg.Go(func() {
			if _, err := s.vault.FinishSignIn(t.Context(), back, cookie); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.wantState(vault.Active)
	d, err = s.vault.Describe(t.Context(), "scan")
	s.must(err)
	if tok, err := s.world.CheckToken(s.token(vault.Send, false)); err != nil || tok.UPN != d.SignedInAs {
		t.Errorf("signed in as %s, and the token is %s's: %v", d.SignedInAs, tok.UPN, err)
	}
}

func TestRefusedConsentConsumesTheState(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	address, err := s.vault.BeginSignIn(t.Context(), "scan", cookie)
	s.must(err)
	u, err := url.Parse(address)
	s.must(err)
	q := url.Values{
		"state": u.Query()["state"], "error": {"access_denied"}, "code": {"smuggled"},
		"error_description": {"AADSTS65004: User declined to consent to access the app.\r\nTrace ID: 1"},
	}
	_, err = s.vault.FinishSignIn(t.Context(), q, cookie)
	s.wantKind(err, fault.Denied)
	if r := fault.ReplyOf(err); r == nil || r.Enhanced != "65004" || strings.ContainsAny(r.Text, "\r\n") {
		t.Errorf("reply %+v", r)
	}
	q.Del("error")
	_, err = s.vault.FinishSignIn(t.Context(), q, cookie)
	s.wantKind(err, fault.NotFound)
	s.wantState(vault.New)
}

// Whoever makes somebody open an address of ours must not make us say their words.
func TestWordsWithoutAKnownStateAreNotRepeated(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	_, err := s.vault.FinishSignIn(t.Context(), url.Values{
		"state": {"made up"}, "error": {"access_denied"}, "error_description": {"Call 555-0100 and read them your password."},
	}, cookie)
	s.wantKind(err, fault.Denied)
	if r := fault.ReplyOf(err); r == nil || r.Code != "access_denied" || r.Text != "" || strings.Contains(err.Error(), "555") {
		t.Errorf("%v", err)
	}
}

func TestAuthorizeURL(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	address, err := s.vault.BeginSignIn(t.Context(), "scan", cookie)
	s.must(err)
	u, err := url.Parse(address)
	s.must(err)
	q := u.Query()
	for k, want := range map[string]string{
		"login_hint": "scan@contoso.com", "prompt": "", "response_mode": "query", "response_type": "code",
		"redirect_uri": s.vault.RedirectURI(), "code_challenge_method": "S256",
		"scope": "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All openid profile email offline_access",
	} {
		if q.Get(k) != want {
			t.Errorf("%s is %q, want %q", k, q.Get(k), want)
		}
	}
	if !strings.HasSuffix(s.vault.RedirectURI(), "/register_microsoft_graph_api/") {
		t.Errorf("redirect %q", s.vault.RedirectURI())
	}
	if _, err := s.vault.BeginSignIn(t.Context(), "scan", ""); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a browser without a cookie: %v", err)
	}
	s.must(s.put(vault.Delegated, "", vault.IMAP, vault.Graph, vault.Send)) // one consent for all
	address, err = s.vault.BeginSignIn(t.Context(), "scan", cookie)
	s.must(err)
	u, err = url.Parse(address)
	s.must(err)
	got := strings.Fields(u.Query().Get("scope"))
	for _, want := range []string{"https://outlook.office.com/SMTP.Send", "https://outlook.office.com/IMAP.AccessAsUser.All", "https://graph.microsoft.com/Mail.Send", "openid", "offline_access"} {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s != want })); n != 1 {
			t.Errorf("%s is %d times among the scopes %q", want, n, got)
		}
	}
	pending := s.store.pending()
	s.must(s.put(vault.Application, "", vault.Send))
	if _, err := s.vault.BeginSignIn(t.Context(), "scan", cookie); fault.KindOf(err) != fault.Invalid || s.store.pending() != pending {
		t.Errorf("an account that needs nobody: %v", err)
	}
}

func TestASignInDuringAFailingRefreshWins(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.pass(2 * time.Hour)
	q := s.visit("scan", "scan@contoso.com")
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := s.vault.FinishSignIn(t.Context(), q, cookie); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	})
	s.token(vault.Send, false)
	s.wantAsked(1)
	s.wantState(vault.Active)
}

func TestLinksWorkOnceForAnHour(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	token := func() string {
		address, err := s.vault.NewLink(t.Context(), "scan")
		s.must(err)
		rest, ok := strings.CutPrefix(address, s.back.URL+"/signin/")
		if !ok {
			t.Fatalf("link %q", address)
		}
		return rest
	}
	once := token()
	if strings.Contains(s.store.dump(), once) {
		t.Error("the link's token is stored in the clear")
	}
	link, err := s.vault.OpenLink(t.Context(), once)
	s.must(err)
	if link.Account != "scan" {
		t.Errorf("link %+v", link)
	}
	_, err = s.vault.OpenLink(t.Context(), once)
	s.wantKind(err, fault.NotFound)
	late := token()
	s.pass(time.Hour)
	_, err = s.vault.OpenLink(t.Context(), late)
	s.wantKind(err, fault.NotFound)
	_, err = s.vault.NewLink(t.Context(), "nobody")
	s.wantKind(err, fault.NotFound)
}

func TestAnAccountThatBecomesAnotherLosesItsGrant(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	same := s.scan()
	same.Purposes = []vault.Purpose{vault.Send}
	s.must(s.vault.PutAccount(t.Context(), same, nil))
	s.wantState(vault.Active)
	s.token(vault.Send, false)
	other := s.scan()
	other.Mailbox = mail.Address{Local: "eve", Domain: "contoso.com"}
	s.must(s.vault.PutAccount(t.Context(), other, nil))
	s.wantState(vault.New)
	_, err := s.vault.Token(t.Context(), "scan", vault.Send, false)
	s.wantKind(err, fault.NeedsSignIn)
}

func TestNothingSecretIsStoredOrLogged(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.pass(2 * time.Hour)
	s.token(vault.Send, false)
	s.world.RevokeSessions("scan@contoso.com")
	s.pass(2 * time.Hour)
	_, err := s.vault.Token(t.Context(), "scan", vault.Send, false)
	s.wantKind(err, fault.NeedsSignIn)
	if !strings.Contains(s.log.String(), "account paused") {
		t.Errorf("the pause was not logged: %s", s.log.String())
	}
	s.wantNoSecret("the log", s.log.String())
	s.wantNoSecret("the error", err.Error()+fault.HintOf(err))
	s.wantNoSecret("the store", s.store.dump())
	if len(s.world.Secrets()) == 0 || len(s.store.dump()) == 0 {
		t.Fatal("nothing to look for, or nothing to look in")
	}
}
