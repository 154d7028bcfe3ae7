package vault_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// newConsent is a stand whose tenant has an administrator.
func newConsent(t *testing.T) *stand {
	t.Helper()
	s := newStand(t).explained()
	s.world.AddUser(world.User{UPN: "admin@contoso.com", Password: password, Admin: true})
	return s
}

// consent goes through the provider's pages and returns what the callback got.
func (s *stand) consent(upn, button string) url.Values {
	s.Helper()
	address, err := s.vault.BeginConsent(s.Context(), "scan", cookie)
	s.must(err)
	v := visitor.New(s.cloud.CA)
	p, err := v.Get(s.Context(), address)
	s.must(err)
	for _, fill := range []map[string]string{{"loginfmt": upn}, {"passwd": password}} {
		p, err = v.Submit(s.Context(), p, p.Forms[0], fill, "")
		s.must(err)
	}
	if len(p.Forms) > 0 {
		p, err = v.Submit(s.Context(), p, p.Forms[0], nil, button)
		s.must(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callback == nil {
		s.Fatalf("never called back; the page says %q", p.Text)
	}
	return s.callback
}

func (s *stand) consented() bool {
	a, _ := s.world.App(s.app.ClientID)
	return a.AdminConsent[s.app.HomeTenant]
}

// waits pauses an account for an administrator.
func (s *stand) waits(name string) {
	s.Helper()
	_, err := s.store.SetState(s.Context(), name, vault.Transition{
		To: vault.NeedsAdmin, By: vault.Provider, Reason: "AADSTS65001", At: s.clock(), ProbeAt: s.clock().Add(15 * time.Minute),
	})
	s.must(err)
}

func TestConsentLetsTheAccountsOfTheAppBeTried(t *testing.T) {
	t.Parallel()
	s := newConsent(t)
	s.must(s.put(vault.Application, "", vault.Send, vault.IMAP))
	second := s.scan()
	second.Name, second.Mailbox.Local = "second", "second"
	s.must(s.vault.PutAccount(t.Context(), second, nil))
	app, err := s.vault.App(t.Context(), "m365")
	s.must(err)
	app.Name = "other"
	s.must(s.vault.PutApp(t.Context(), app, vault.Proof{}))
	foreign := s.scan()
	foreign.Name, foreign.App = "foreign", "other"
	s.must(s.vault.PutAccount(t.Context(), foreign, nil))
	for _, name := range []string{"scan", "second", "foreign"} {
		s.waits(name)
	}

	back := s.consent("admin@contoso.com", "Accept")
	back.Set("tenant", "evil.example/..") // whatever it says, it is not read
	r, err := s.vault.FinishSignIn(t.Context(), back, cookie)
	s.must(err)
	if !r.Consented || r.Account.Name != "scan" || r.SignedInAs != "" || !s.consented() {
		t.Errorf("result %+v", r)
	}
	for name, due := range map[string]bool{"scan": true, "second": true, "foreign": false} {
		a, err := s.vault.Account(t.Context(), name)
		s.must(err)
		if a.State != vault.NeedsAdmin || a.ProbeAt.After(s.clock()) == due {
			t.Errorf("%s is %s and is tried again at %s", name, a.State, a.ProbeAt)
		}
	}
	if g, _ := s.store.Grant(t.Context(), "scan"); len(g.Refresh)+len(g.Access) > 0 {
		t.Error("nobody signed in, and there is a grant")
	}
	s.vault.Pass(t.Context())
	s.wantState(vault.Active)
	if _, err := s.vault.FinishSignIn(t.Context(), back, cookie); fault.KindOf(err) != fault.NotFound {
		t.Errorf("its state worked twice: %v", err)
	}
}

// A consent's request is for one resource, and for all that is registered.
func TestConsentURL(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method   vault.Method
		purposes []vault.Purpose
		scope    string
	}{
		"a person's mail":       {vault.Delegated, []vault.Purpose{vault.Send, vault.IMAP}, "https://outlook.office.com/.default"},
		"a person's mail first": {vault.Delegated, []vault.Purpose{vault.IMAP, vault.Graph}, "https://outlook.office.com/.default"},
		"a person's Graph":      {vault.Delegated, []vault.Purpose{vault.Graph}, "https://graph.microsoft.com/.default"},
		"the app's mail":        {vault.Application, []vault.Purpose{vault.IMAP}, "https://outlook.office365.com/.default"},
		"the app's Graph":       {vault.Application, []vault.Purpose{vault.Graph, vault.IMAP}, "https://graph.microsoft.com/.default"},
		"by password":           {vault.Password, []vault.Purpose{vault.HVE}, "https://outlook.office.com/.default"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newConsent(t)
			s.must(s.put(c.method, "", c.purposes...))
			address, err := s.vault.BeginConsent(t.Context(), "scan", cookie)
			s.must(err)
			u, err := url.Parse(address)
			s.must(err)
			q := u.Query()
			if !strings.HasPrefix(address, s.cloud.Authority+"/contoso.com/v2.0/adminconsent?") || q.Get("scope") != c.scope ||
				q.Get("redirect_uri") != s.vault.RedirectURI() || q.Get("client_id") != s.app.ClientID || len(q.Get("state")) < 40 {
				t.Errorf("the address is %s", address)
			}
			s.wantNoSecret("the address", address)
			if strings.Contains(s.store.dump(), q.Get("state")) {
				t.Error("the state is stored in the clear")
			}
		})
	}
}

func TestConsentThatFailsStoresNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		upn, button string
		arrange     func(*stand, url.Values)
		browser     string
		kind        fault.Kind
		says        string
	}{
		"declined":          {upn: "admin@contoso.com", button: "Cancel", kind: fault.Denied, says: "AADSTS65004"},
		"not an admin":      {upn: "scan@contoso.com", kind: fault.Denied, says: "AADSTS90094"},
		"another browser":   {upn: "admin@contoso.com", browser: "another cookie", kind: fault.Denied, says: "another browser"},
		"expired":           {upn: "admin@contoso.com", arrange: func(s *stand, _ url.Values) { s.pass(10 * time.Minute) }, kind: fault.NotFound, says: "longer than 10 minutes"},
		"foreign state":     {upn: "admin@contoso.com", arrange: func(_ *stand, q url.Values) { q.Set("state", "made up") }, kind: fault.NotFound, says: "not known"},
		"says no":           {upn: "admin@contoso.com", arrange: func(_ *stand, q url.Values) { q.Set("admin_consent", "False") }, kind: fault.Invalid, says: "consent"},
		"says nothing":      {upn: "admin@contoso.com", arrange: func(_ *stand, q url.Values) { q.Del("admin_consent") }, kind: fault.Invalid, says: "consent"},
		"a code instead":    {upn: "admin@contoso.com", arrange: func(_ *stand, q url.Values) { q.Del("admin_consent"); q.Set("code", "x") }, kind: fault.Invalid, says: "consent"},
		"an error beside":   {upn: "admin@contoso.com", arrange: func(_ *stand, q url.Values) { q.Set("error", "server_error") }, kind: fault.Temporary, says: "server_error"},
		"the account left":  {upn: "admin@contoso.com", arrange: func(s *stand, _ url.Values) { s.must(s.vault.DeleteAccount(s.Context(), "scan")) }, kind: fault.NotFound, says: "scan"},
		"now a password":    {upn: "admin@contoso.com", arrange: func(s *stand, _ url.Values) { s.must(s.put(vault.AppPassword, "abcdabcdabcdabcd", vault.Send)) }, kind: fault.Invalid, says: "app_password"},
		"wrong client (id)": {upn: "admin@contoso.com", arrange: func(_ *stand, q url.Values) { q.Set("error", "unauthorized_client") }, kind: fault.NeedsAdmin, says: "unauthorized_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newConsent(t)
			back := s.consent(c.upn, c.button)
			if c.arrange != nil {
				c.arrange(s, back)
			}
			if name != "the account left" {
				s.waits("scan")
			}
			before, browser := s.store.facts(), c.browser
			if browser == "" {
				browser = cookie
			}
			r, err := s.vault.FinishSignIn(t.Context(), back, browser)
			s.wantKind(err, c.kind)
			if !strings.Contains(err.Error(), c.says) || (fault.HintOf(err) == "" && name != "the account left") {
				t.Errorf("it says %v, next %q", err, fault.HintOf(err))
			}
			if s.store.facts() != before {
				t.Error("something was stored")
			}
			known := c.browser == "" && name != "foreign state"
			if (r.Account.Name == "scan") != known || r.Consented != known {
				t.Errorf("the browser hears %+v", r)
			}
		})
	}
}

func TestConsentThatCannotBe(t *testing.T) {
	t.Parallel()
	s := newConsent(t)
	begin := func(account, browser string) error {
		_, err := s.vault.BeginConsent(t.Context(), account, browser)
		return err
	}
	s.wantKind(begin("nobody", cookie), fault.NotFound)
	s.wantKind(begin("scan", ""), fault.Invalid)
	clear := secret.New(s.app.Secret)
	for _, tenant := range []string{"common", "consumers"} {
		s.must(s.vault.PutApp(t.Context(), vault.App{Name: "m365", Tenant: tenant, ClientID: s.app.ClientID, Cloud: s.cloud}, vault.Proof{Secret: &clear}))
		s.wantKind(begin("scan", cookie), fault.Invalid)
	}
	s.must(s.put(vault.AppPassword, "abcdabcdabcdabcd", vault.Send))
	s.wantKind(begin("scan", cookie), fault.Invalid)
	_, err := s.vault.NewConsentLink(t.Context(), "scan")
	s.wantKind(err, fault.Invalid)
	_, err = s.vault.NewConsentLink(t.Context(), "nobody")
	s.wantKind(err, fault.NotFound)
	if s.store.pending() != 0 {
		t.Error("something is under way")
	}
}

func TestConsentLink(t *testing.T) {
	t.Parallel()
	s := newConsent(t)
	a := s.scan()
	a.Name, a.Method, a.Mailbox = "machine", vault.Application, mail.Address{Local: "machine", Domain: "contoso.com"}
	s.must(s.vault.PutAccount(t.Context(), a, nil))
	address, err := s.vault.NewConsentLink(t.Context(), "machine")
	s.must(err)
	token, ok := strings.CutPrefix(address, s.back.URL+"/signin/")
	if !ok || strings.Contains(s.store.dump(), token) {
		t.Fatalf("link %q", address)
	}
	looked, whose, err := s.vault.LookAtLink(t.Context(), token)
	s.must(err)
	if !looked.Consent || whose.Name != "machine" {
		t.Errorf("link %+v of %+v", looked, whose)
	}
	link, err := s.vault.OpenLink(t.Context(), token)
	s.must(err)
	if !link.Consent || link.Account != "machine" {
		t.Errorf("link %+v", link)
	}
	_, err = s.vault.OpenLink(t.Context(), token)
	s.wantKind(err, fault.NotFound)
	late, err := s.vault.NewConsentLink(t.Context(), "machine")
	s.must(err)
	s.pass(time.Hour)
	_, err = s.vault.OpenLink(t.Context(), strings.TrimPrefix(late, s.back.URL+"/signin/"))
	s.wantKind(err, fault.NotFound)
	if h := fault.HintOf(err); !strings.Contains(h, "postern consent machine") {
		t.Errorf("next %q", h)
	}
}
