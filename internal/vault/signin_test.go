package vault_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
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

func TestAStateWorksOnceInTimeInItsBrowser(t *testing.T) {
	t.Parallel()
	t.Run("replay", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		q := s.visit("scan", "scan@contoso.com")
		_, err := s.vault.FinishSignIn(t.Context(), q, cookie)
		s.must(err)
		_, err = s.vault.FinishSignIn(t.Context(), q, cookie)
		s.wantKind(err, fault.NotFound)
		s.wantState(vault.Active)
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		q := s.visit("scan", "scan@contoso.com")
		s.pass(10 * time.Minute)
		_, err := s.vault.FinishSignIn(t.Context(), q, cookie)
		s.wantKind(err, fault.NotFound)
		s.wantState(vault.New)
	})
	t.Run("another browser", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		q := s.visit("scan", "scan@contoso.com")
		_, err := s.vault.FinishSignIn(t.Context(), q, "another cookie")
		s.wantKind(err, fault.Denied)
		_, err = s.vault.FinishSignIn(t.Context(), q, cookie)
		s.wantKind(err, fault.NotFound)
		s.wantState(vault.New)
	})
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		_, err := s.vault.FinishSignIn(t.Context(), url.Values{"state": {"made up"}, "code": {"x"}}, cookie)
		s.wantKind(err, fault.NotFound)
		if _, err := s.vault.FinishSignIn(t.Context(), nil, ""); err == nil {
			t.Error("an empty callback did something")
		}
	})
	t.Run("no code", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		q := s.visit("scan", "scan@contoso.com")
		q.Del("code")
		_, err := s.vault.FinishSignIn(t.Context(), q, cookie)
		s.wantKind(err, fault.Invalid)
	})
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
