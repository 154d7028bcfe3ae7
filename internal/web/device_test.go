package web_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/vault"
)

// persons stand behind codes: each test says what they do.
type persons struct {
	answer chan error // of one code; closed means they signed in
	gone   chan string
}

func (p persons) await(ctx context.Context, d vault.DeviceSignIn) (vault.Result, error) {
	select {
	case <-ctx.Done():
		p.gone <- d.Account
		return vault.Result{}, ctx.Err()
	case err := <-p.answer:
		return vault.Result{SignedInAs: "scan@contoso.com"}, err
	}
}

// newDevices is a site whose codes wait for persons.
func newDevices(t *testing.T) (*site, persons) {
	t.Helper()
	s, p := newSite(t), persons{answer: make(chan error), gone: make(chan string, 100)}
	s.vault.await = p.await
	return s, p
}

func (s *site) device(method, account, rest string) answer {
	s.t.Helper()
	return s.admin(s.request(method, "/accounts/"+account+"/device"+rest, nil))
}

// ends looks at the page until the code no longer waits.
func (s *site) ends(account string) answer {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		a := s.device("GET", account, "")
		if a.Header.Get("Refresh") == "" {
			return a
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("still waiting: %s", a.text)
		}
	}
}

func TestSignInByCode(t *testing.T) {
	t.Parallel()
	s, p := newDevices(t)
	for method, path := range map[string]string{"GET": "", "POST": "/cancel"} {
		if a := s.do(s.request(method, "/accounts/scan/device"+path, nil)); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %s without a login: %d", method, path, a.StatusCode)
		}
	}
	if a := s.device("GET", "scan", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("before one began: %d", a.StatusCode)
	}
	if a := s.device("POST", "scan", ""); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/accounts/scan/device" {
		t.Fatalf("%d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	a := s.device("GET", "scan", "")
	a.says(t, "BCDF2345K", "https://login.example/device", "scan@contoso.com", "15 minutes", "looks again every 5 seconds")
	if a.Header.Get("Refresh") != "5" {
		t.Errorf("Refresh: %q", a.Header.Get("Refresh"))
	}
	still := s.device("GET", "scan", "?still")
	if still.says(t, "BCDF2345K", "Look again"); still.Header.Get("Refresh") != "" {
		t.Error("a page that stands still refreshes itself")
	}
	close(p.answer)
	for range 2 {
		s.ends("scan").says(t, "Signed in", "scan@contoso.com", "send, imap", "1 February 2027")
	}
	if !strings.Contains(s.log.String(), "account signed in") || strings.Contains(s.log.String(), "BCDF") {
		t.Errorf("the log:\n%s", s.log)
	}
}

func TestSignInByCodeFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		status int
		says   string
	}{
		"declined": {fault.New(fault.Denied, "poll", "the person declined").WithHint("begin again"), 403, "The person declined."},
		"late":     {fault.New(fault.NotFound, "poll", "the code has ended").WithHint("begin again"), 404, "The code has ended."},
		"outage":   {fault.New(fault.Temporary, "poll", "connection refused"), 503, "could not be reached"},
	} {
		s, p := newDevices(t)
		s.device("POST", "scan", "")
		p.answer <- c.err
		a := s.ends("scan")
		if a.says(t, c.says, "Nothing was changed.", "Back"); a.StatusCode != c.status {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
	s := newSite(t)
	s.vault.begin = fault.New(fault.NeedsAdmin, "ask for a device code", "public client flows are off").WithHint("switch them on")
	if a := s.device("POST", "scan", ""); a.StatusCode != http.StatusForbidden || !strings.Contains(a.text, "Switch them on.") {
		t.Errorf("no code to be had: %d %s", a.StatusCode, a.text)
	}
	if a := s.device("GET", "scan", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("without a code: %d", a.StatusCode)
	}
}

// Whatever is not needed any more stops polling: cancelled, replaced, left behind.
func TestSignInsByCodeEnd(t *testing.T) {
	t.Parallel()
	s, p := newDevices(t)
	h := s.handler(s.url)
	ask := func(method, path string) int {
		r := s.request(method, path, nil)
		return record(h, s.as("admin", r)).Code
	}
	left := func(what string) {
		t.Helper()
		select {
		case <-p.gone:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: still polling", what)
		}
	}
	ask("POST", "/accounts/scan/device")
	ask("POST", "/accounts/scan/device")
	left("replaced")
	if ask("POST", "/accounts/scan/device/cancel"); ask("GET", "/accounts/scan/device") != http.StatusNotFound {
		t.Error("a cancelled one is still shown")
	}
	left("cancelled")
	for i := range 20 {
		name := fmt.Sprintf("a%d", i)
		s.vault.accounts = append(s.vault.accounts, vault.Description{Account: vault.Account{Name: name, Mailbox: mail.Address{Local: name, Domain: "contoso.com"}}})
		if got := ask("POST", "/accounts/"+name+"/device"); got != http.StatusSeeOther {
			t.Errorf("number %d: %d", i, got)
		}
	}
	if got := ask("POST", "/accounts/scan/device"); got != http.StatusBadRequest {
		t.Errorf("one too many: %d", got)
	}
	if got := ask("POST", "/accounts/a3/device"); got != http.StatusSeeOther { // takes the place of its own
		t.Errorf("a replacement among many: %d", got)
	}
	left("replaced among many")
	h.Close()
	for range 20 {
		left("the server stopped")
	}
	if got := ask("POST", "/accounts/scan/device"); got != http.StatusBadRequest {
		t.Errorf("after the end: %d", got)
	}
}
