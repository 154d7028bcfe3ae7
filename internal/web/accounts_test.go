package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/vault"
)

// send sends a form as the administrator.
func (s *site) send(path string, fields ...string) answer {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return s.admin(s.request("POST", path, form))
}

// leads wants an act to lead on to a page.
func (a answer) leads(t *testing.T, to string) {
	t.Helper()
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != to {
		t.Errorf("%d to %q, want %q: %s", a.StatusCode, a.Header.Get("Location"), to, a.text)
	}
}

func TestAccountsPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.adminGet("/accounts")
	a.says(t, "scan@contoso.com", "invoices@contoso.com", "needs an administrator", "within 14 days", "failed 3 Nov 2026", "none yet", "5 of 5", "!far away", "!Next page")
	if strings.Contains(strings.ReplaceAll(a.body, s.url, ""), "http://") {
		t.Error("the page names something elsewhere")
	}
	s.adminGet("/accounts?q=VOICE").says(t, "invoices@contoso.com", "!scan@contoso.com", "1 of 5")
	s.adminGet("/accounts?state=needs_admin").says(t, "bulk@contoso.com", "!scan@contoso.com")
	s.adminGet("/accounts?q=nobody").says(t, "No account is like that")
	s.vault.blind = fault.New(fault.Temporary, "look", "disk full")
	s.adminGet("/accounts").says(t, "expires soon could not be looked up", "scan@contoso.com")
	s.vault.broken = fault.New(fault.Temporary, "list", "disk full")
	s.adminGet("/accounts").says(t, "database does not answer")
}

// A thousand accounts come fifty at a time, and looking for some of them stays with
// whoever turns the page.
func TestManyAccounts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one := s.vault.accounts[0]
	s.vault.accounts = nil
	for i := range 1000 {
		one.Account.Name = fmt.Sprintf("scan%04d", i)
		s.vault.accounts = append(s.vault.accounts, one)
	}
	first := s.adminGet("/accounts?q=scan")
	first.says(t, "scan0000", "scan0049", "!scan0050", "Next page", "!First page")
	if !strings.Contains(first.body, `href="/accounts?after=scan0049&amp;q=scan"`) || len(first.body) > 150<<10 {
		t.Errorf("%d octets:\n%.2000s", len(first.body), first.body)
	}
	s.adminGet("/accounts?after=scan0949&q=scan").says(t, "scan0950", "scan0999", "!scan0949 ", "First page", "!Next page")
	s.adminGet("/accounts?after=scan0949x").says(t, "scan0950")
	s.adminGet("/accounts?after=zzz").says(t, "No account is like that")
}

func TestAccountPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.vault.accounts[0].Scopes = []string{"https://outlook.office.com/SMTP.Send"}
	s.vault.accounts[0].Access = []vault.AccessFact{{Resource: "https://outlook.office.com"}}
	s.adminGet("/accounts/scan").says(t, "active Works. Check the connection", "A person signs in at Microsoft, once", "scan@contoso.com", s.url+"/register_microsoft_graph_api/",
		"Set-CASMailbox scan@contoso.com -SmtpClientAuthenticationDisabled $false -ImapEnabled $true", "SMTP.Send", "within 30 days", "Check the connection for imap", "failed send, 3 Nov 2026, 09:30:00 UTC : login failed: <b>no</b>")
	s.adminGet("/accounts/invoices").says(t, "needs sign-in", "Paused: sign in again", "by Microsoft's sign-in", "<b>The refresh token has expired</b>")
	s.adminGet("/accounts/bulk").says(t, "needs an administrator", "by the mail server", "AADSTS7000222", "By app permission, without a person",
		"New-ServicePrincipal", "OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION", "Enterprise application's", "!Get refresh token", "!Disconnect bulk")
	s.adminGet("/accounts/fax").says(t, "Nobody has entered its password yet", "Source: Exchange Team Blog, January 2026", "App password", "!Get refresh token")
	if body := s.adminGet("/accounts/invoices").body; strings.Contains(body, "<b>The refresh") {
		t.Error("Microsoft's markup is not shown as text")
	}
	if a := s.adminGet("/accounts/nobody"); a.StatusCode != http.StatusNotFound {
		t.Errorf("nobody's page: %d", a.StatusCode)
	}
	s.vault.blind = fault.New(fault.Temporary, "look", "disk full")
	s.adminGet("/accounts/scan").says(t, "expires soon could not be looked up", "scan@contoso.com")
}

func TestChangeAnAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.adminGet("/accounts/scan/edit").says(t, "Change scan", "Mailbox")
	a := s.send("/accounts/scan/edit", "mailbox", "not an address", "app", "contoso", "internal_domains", "fabrikam.com not_a_domain!", "limited", "on", "per_minute", "-3")
	a.says(t, "This is not a mail address", "Tick at least one.", "is not a domain", "Type a whole number")
	if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, `value="not an address"`) || !strings.Contains(a.body, `aria-describedby="f-mailbox-hint f-mailbox-wrong"`) || len(s.applied) > 0 {
		t.Errorf("%d, applied %v:\n%s", a.StatusCode, s.applied, a.body)
	}
	s.send("/accounts/scan/edit", "mailbox", "scan@contoso.com", "app", "contoso", "sign_in", "delegated", "purposes", "send", "purposes", "graph",
		"transport", "graph", "shared", "on", "limited", "on", "per_minute", "10").leads(t, "/accounts/scan")
	d := s.applied[0].Accounts[0]
	if d.Name != "scan" || d.Transport != "graph" || !d.Shared || d.Simulate || d.Limits == nil || d.Limits.PerMinute != 10 || len(d.Purposes) != 2 || s.appliers[0] != "web:admin" {
		t.Errorf("applied %+v by %q", d, s.appliers)
	}
	s.adminGet("/accounts/scan").says(t, "sign it in again")
	s.refuse = fault.New(fault.Invalid, "put account", "account %q sends either as a mailbox or through High Volume Email", "scan").WithHint("choose one")
	a = s.send("/accounts/scan/edit", "mailbox", "scan@contoso.com", "app", "contoso", "sign_in", "delegated", "purposes", "send")
	a.says(t, "sends either as a mailbox or through High Volume Email. Choose one.")
}

func TestPasswordOfAnAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.send("/accounts/fax/password", "password", "abcdefghijklmnop").leads(t, "/accounts/fax")
	if p := s.applied[0].Accounts[0].Password; p == nil || p.Value.Reveal() != "abcdefghijklmnop" {
		t.Error("the password was not kept")
	}
	s.refuse = errors.New("disk full at /var/lib")
	a := s.send("/accounts/fax/password", "password", "abcdefghijklmnop")
	if a.says(t, "could not be saved now"); strings.Contains(a.body, "abcdefgh") || strings.Contains(a.body, "/var/lib") || strings.Contains(s.log.String(), "abcdefgh") {
		t.Errorf("the page or the log tells too much:\n%s", a.body)
	}
	s.send("/accounts/fax/password", "password", " ").says(t, "Fill this in.")
}

func TestLeaveAnAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.send("/accounts/scan/disconnect").leads(t, "/accounts/scan")
	s.send("/accounts/scan/delete").leads(t, "/accounts")
	if got := strings.Join(s.identities.did, "; "); got != "web:admin disconnects scan; web:admin deletes account scan" {
		t.Error(got)
	}
	s.identities.refuse = fault.New(fault.Conflict, "delete account", "mail of account %q still waits in the queue", "scan").WithHint("let it be sent")
	a := s.send("/accounts/scan/delete")
	if a.says(t, `Mail of account "scan" still waits in the queue. Let it be sent.`, "scan@contoso.com"); a.StatusCode != http.StatusConflict {
		t.Error(a.StatusCode)
	}
	s.identities.refuse = fault.New(fault.NotFound, "delete account", "there is none")
	if a := s.send("/accounts/nobody/delete"); a.StatusCode != http.StatusNotFound {
		t.Error(a.StatusCode)
	}
}

// TestAccountIsPausedAndRenamed on its page; what is wrong with a name stands beside it.
func TestAccountIsPausedAndRenamed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.adminGet("/accounts/scan").says(t, "Pause this account", "Rename this account", "!Resume")
	s.send("/accounts/scan/pause").leads(t, "/accounts/scan")
	s.send("/accounts/scan/rename").says(t, "Fill this in.")
	s.send("/accounts/scan/rename", "to", "copier").leads(t, "/accounts/copier")
	if want := []string{"web:admin pauses scan", "web:admin renames scan copier"}; !slices.Equal(s.identities.did, want) {
		t.Errorf("done: %q", s.identities.did)
	}
	s.vault.accounts[0].Account.Held = true
	s.adminGet("/accounts/scan").says(t, "Somebody paused it", "Resume scan", "!Works.")
	s.identities.refuse = fault.New(fault.Conflict, "rename account", "there is an account of that name already")
	s.send("/accounts/scan/rename", "to", "invoices").says(t, "There is an account of that name already")
}
