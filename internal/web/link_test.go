package web_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/vault"
	"postern/internal/web"
)

// says wants words on a page, and none of the unwanted ones behind "!".
func (a answer) says(t *testing.T, words ...string) {
	t.Helper()
	for _, w := range words {
		unwanted, no := strings.CutPrefix(w, "!")
		if strings.Contains(a.text, unwanted) == no {
			t.Errorf("the page (%d): %q is there: %v\n%s", a.StatusCode, unwanted, no, a.text)
		}
	}
}

func TestALinkSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.get("/signin/abc").says(t, "Sign in a mailbox", "scan@contoso.com", "send mail and read and sort mail (IMAP)", "59 minutes from now",
		"AADSTS50011", "AADSTS700016", "AADSTS90002", s.url+web.CallbackPath, "!administrator of contoso")
	s.vault.consent = true
	s.get("/signin/abc").says(t, "An administrator of contoso.onmicrosoft.com is asked to agree", "scan@contoso.com", "!Sign in as")
	if len(s.vault.taken)+len(s.vault.browsers) > 0 {
		t.Error("looking used the link up")
	}
	if a := s.post("/signin/abc"); a.Header.Get("Location") != provider+"&consent=scan" {
		t.Errorf("the administrator is sent to %q", a.Header.Get("Location"))
	}
	if want := []string{"browser:127.0.0.1 opens one"}; !slices.Equal(s.vault.links, want) {
		t.Errorf("written down: %q", s.vault.links)
	}
	a := s.get("/signin/abc")
	if a.says(t, "This link is over", "used already", "Ask for a new one", "!contoso"); a.StatusCode != http.StatusNotFound {
		t.Errorf("a used link: %d", a.StatusCode)
	}
	s.vault.lookErr = fault.New(fault.Temporary, "look at the link", "disk full at /var/lib").WithHint("try again")
	if a := s.get("/signin/def"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.text, "Postern cannot look this up now") || strings.Contains(a.text, "/var/lib") {
		t.Errorf("a sick database: %d %s", a.StatusCode, a.text)
	}
}

func TestLinksToPassOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for path, c := range map[string]struct{ address, words string }{
		"/accounts/scan/link":    {"/signin/link-for-scan", "whoever can sign in to scan@contoso.com"},
		"/accounts/bulk/consent": {"/signin/consent-for-bulk", "administrator of contoso.onmicrosoft.com"},
	} {
		if a := s.post(path); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a login: %d", path, a.StatusCode)
		}
		a := s.admin(s.request("POST", path, nil))
		a.says(t, s.url+c.address, c.words, "within an hour")
		if a := s.admin(s.request("POST", strings.NewReplacer("scan", "nobody", "bulk", "nobody").Replace(path), nil)); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s of no account: %d", path, a.StatusCode)
		}
	}
	slices.Sort(s.vault.links)
	if want := []string{"web:admin makes one for bulk", "web:admin makes one for scan"}; !slices.Equal(s.vault.links, want) {
		t.Errorf("written down: %q", s.vault.links)
	}
}

func TestConsentedPageNamesNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.vault.consent = true
	s.post("/signin/abc")
	s.vault.finish = func(url.Values, string) (vault.Result, error) {
		return vault.Result{Account: s.vault.accounts[2].Account, Consented: true}, nil
	}
	done := s.get(web.CallbackPath + "?admin_consent=True&tenant=x&state=s1").Header.Get("Location")
	for range 2 {
		s.get(done).says(t, "Agreed for the organisation", "bulk", "postern check bulk", "!Signed in as")
	}
	// The proof of a consent is none of a sign-in.
	s.get(strings.Replace(done, "consent=1&", "", 1)).says(t, "This sign-in is finished", "!bulk@")
}

// A sign-in that failed offers another link, if it is known to be this browser's.
func TestTryAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var result vault.Result
	s.vault.finish = func(url.Values, string) (vault.Result, error) {
		return result, fault.New(fault.Denied, "finish", "eve@contoso.com signed in").WithHint("sign in as scan@contoso.com")
	}
	at := web.CallbackPath + "?state=s1&code=c1"
	if a := s.get(at); strings.Contains(a.body, "link-for") {
		t.Errorf("a stranger gets a link: %s", a.body)
	}
	result.Account.Name = "scan"
	if a := s.get(at); !strings.Contains(a.body, `href="`+s.url+`/signin/link-for-scan"`) {
		t.Errorf("no link: %s", a.body)
	}
	result.Consented = true
	if a := s.get(at); !strings.Contains(a.body, `href="`+s.url+`/signin/consent-for-scan"`) {
		t.Errorf("no link: %s", a.body)
	}
}
