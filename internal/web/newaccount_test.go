package web_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/vault"
)

const clientID = "6f0dd0d2-0000-4000-8000-000000000002"

func TestNewAccountGoesOnToMicrosoft(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.vault.apps = nil
	s.adminGet("/new/account").says(t, "How Postern gets in", "GCC High", "21Vianet", s.url+"/register_microsoft_graph_api/", "!A new one")
	a := s.send("/new/account", "road", "delegated", "cloud", "usgov", "client_id", clientID, "tenant", "fabrikam.onmicrosoft.us",
		"proof", "secret", "secret", "s3cret-value", "secret_expires", "2027-05-01", "mailbox", "fax.line@fabrikam.us", "purposes", "send", "purposes", "imap")
	if a.Header.Get("Location") != provider {
		t.Fatalf("%d to %q: %s", a.StatusCode, a.Header.Get("Location"), a.text)
	}
	app, acct := s.applied[0].Apps[0], s.applied[0].Accounts[0]
	if app.Name != "fabrikam" || app.ClientID != clientID || app.Cloud != "usgov" || app.Secret.Value.Reveal() != "s3cret-value" || app.SecretExpires != "2027-05-01" {
		t.Errorf("app %+v", app)
	}
	if acct.Name != "fax.line" || acct.App != "fabrikam" || acct.SignIn != "delegated" || len(acct.Purposes) != 2 {
		t.Errorf("account %+v", acct)
	}
}

func TestNewAccountByOtherRoads(t *testing.T) {
	t.Parallel()
	own := vault.App{Name: "elsewhere"}
	own.Cloud.Name, own.Cloud.Authority, own.Cloud.SMTP.Host, own.Cloud.SMTP.Port, own.Cloud.SMTP.TLS = "custom", "https://id.example", "smtp.example", 587, "starttls"
	for name, c := range map[string]struct {
		fields []string
		to     string
		says   func(declare.Document) bool
	}{
		"an app that is there": {[]string{"road", "application", "app", "contoso", "mailbox", "scan@contoso.com", "purposes", "send"}, "/check?account=scan-2&purpose=send",
			func(d declare.Document) bool {
				return len(d.Apps) == 0 && d.Accounts[0].App == "contoso" && d.Accounts[0].SignIn == "application"
			}},
		"a certificate": {[]string{"road", "delegated", "app", "", "cloud", "global", "client_id", clientID, "tenant", "contoso.com", "proof", "certificate", "mailbox", "a@contoso.com", "purposes", "send"},
			"/apps/contoso-2#certificate", func(d declare.Document) bool { return d.Apps[0].Secret == nil }},
		"High Volume Email": {[]string{"road", "hve", "app", "contoso", "mailbox", "hve@contoso.com", "password", "pw"}, "/check?account=hve&purpose=hve",
			func(d declare.Document) bool {
				return d.Accounts[0].SignIn == "password" && d.Accounts[0].Purposes[0] == "hve" && d.Accounts[0].Password.Value.Reveal() == "pw"
			}},
		"an app password": {[]string{"road", "app_password", "app", "contoso", "cloud", "china", "mailbox", "old@contoso.cn", "password", "pw", "purposes", "send"}, "/check?account=old&purpose=send",
			func(d declare.Document) bool {
				return d.Accounts[0].App == "servers-china" && d.Apps[0].Cloud == "china" && d.Apps[0].ClientID == ""
			}},
		"the servers of another app": {[]string{"road", "app_password", "cloud", "as:elsewhere", "mailbox", "old@example.com", "password", "pw", "purposes", "send"}, "/check?account=old&purpose=send",
			func(d declare.Document) bool { return d.Accounts[0].App == "elsewhere" && len(d.Apps) == 0 }},
		"its app's servers": {[]string{"road", "application", "app", "", "cloud", "as:elsewhere", "client_id", clientID, "tenant", "contoso.com", "proof", "secret", "secret", "x", "mailbox", "a@example.com", "purposes", "send"}, "/check?account=a&purpose=send",
			func(d declare.Document) bool {
				return d.Apps[0].Custom.Authority == "https://id.example" && d.Apps[0].Custom.SMTP.Address() == "smtp.example:587"
			}},
		"servers of one's own": {[]string{"road", "application", "app", "", "cloud", "custom", "authority", "https://id.example", "smtp", "mx.example:465", "smtp_tls", "implicit", "client_id", clientID, "tenant", "contoso.com", "proof", "none", "mailbox", "b@example.com", "purposes", "send"}, "/check?account=b&purpose=send",
			func(d declare.Document) bool {
				return d.Apps[0].Custom.SMTP.Port == 465 && d.Apps[0].Custom.IMAP == nil
			}},
		"a packed name": {[]string{"road", "application", "app", "", "cloud", "global", "packed", "fax@contoso.com~" + clientID + "~abc8Q~x.y~contoso.com", "purposes", "send"}, "/check?account=fax-2&purpose=send",
			func(d declare.Document) bool {
				return d.Accounts[0].Mailbox == "fax@contoso.com" && d.Apps[0].Packed != nil
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.vault.apps = append(s.vault.apps, own)
			s.send("/new/account", c.fields...).leads(t, c.to)
			if len(s.applied) != 1 || !c.says(s.applied[0]) {
				t.Errorf("applied %+v", s.applied)
			}
		})
	}
}

func TestNewAccountSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.send("/new/account").says(t, "Choose one.", "Tick at least one.", "Fill this in.")
	a := s.send("/new/account", "road", "delegated", "app", "", "cloud", "custom", "authority", "http://id.example", "smtp", "smtp.example", "client_id", "x",
		"tenant", "contoso.com", "proof", "secret", "secret", "s3cret-value", "mailbox", "scan", "purposes", "send", "name", "scan", "app_name", "contoso")
	a.says(t, "begins with https://", "Type host and port", "This is not a mail address", "There is an account of this name already", "There is an app registration of this name already")
	if strings.Contains(a.body, "s3cret") || !strings.Contains(a.body, `value="smtp.example"`) || len(s.applied) > 0 {
		t.Errorf("applied %v:\n%s", s.applied, a.body)
	}
	good := []string{"road", "delegated", "app", "", "cloud", "global", "client_id", "x", "tenant", "contoso.com", "proof", "secret", "secret", "y", "mailbox", "a@contoso.com", "purposes", "send"}
	s.refuse = fault.New(fault.Invalid, "client secret", "this is the Secret ID; paste the Value").WithHint("make a new one")
	if a := s.send("/new/account", good...); !strings.Contains(a.body, `aria-describedby="f-secret-hint f-secret-wrong"`) {
		t.Errorf("not at the field: %s", a.text)
	}
	s.refuse = nil
	s.vault.begin = fault.New(fault.Temporary, "read metadata", "no route to host")
	if a := s.send("/new/account", good...); !strings.Contains(a.text, "Microsoft could not be reached") || !strings.Contains(a.body, `href="/accounts/a"`) {
		t.Errorf("%d %s", a.StatusCode, a.text)
	}
	s.vault.broken = errors.New("disk full")
	s.adminGet("/new/account").says(t, "could not be looked up", "Mailbox")
}

// A sign-in that began on a page of ours ends at the check; one by a link does not, nor
// one in a window of its own.
func TestSignInComesBack(t *testing.T) {
	t.Parallel()
	back := func(s *site) answer { return s.get("/register_microsoft_graph_api/?state=s1&code=c1") }
	s := newSite(t)
	s.send("/accounts/scan/signin")
	back(s).leads(t, "/check?account=scan&purpose=send")
	if to := back(s).Header.Get("Location"); !strings.Contains(to, "done=scan") {
		t.Errorf("the second one goes to %q", to)
	}
	s.send("/accounts/scan/signin", "window", "own")
	if to := back(s).Header.Get("Location"); !strings.Contains(to, "done=scan") {
		t.Errorf("the window goes to %q", to)
	} else if a := s.get(to); !strings.Contains(a.body, "data-close") {
		t.Errorf("the window stays: %s", a.body)
	}
	s.send("/accounts/scan/signin")
	s.vault.finish = func(url.Values, string) (vault.Result, error) {
		return vault.Result{Account: vault.Account{Name: "scan"}}, fault.New(fault.Denied, "finish", "%w: eve@contoso.com", vault.ErrWrongMailbox)
	}
	if a := back(s); !strings.Contains(a.body, `href="/accounts/scan"`) || strings.Contains(a.body, "link-for-scan") {
		t.Errorf("a failure does not lead back: %s", a.body)
	}
}

func TestWaitForASignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if to := s.adminGet("/accounts/new/signin").Header.Get("Location"); !strings.HasPrefix(to, "/accounts/new/signin?since=") {
		t.Errorf("waits at %q", to)
	}
	past, future := "?since=1700000000", "?since=4102444800"
	a := s.adminGet("/accounts/new/signin" + future)
	if a.says(t, "Waiting for the sign-in", "Cancel"); a.Header.Get("Postern-Settled") != "" || !strings.Contains(a.body, `<noscript><meta http-equiv="refresh" content="5"></noscript>`) {
		t.Errorf("it does not look again:\n%s", a.body)
	}
	late := s.adminGet("/accounts/new/signin" + past)
	if late.says(t, "Nobody finished the sign-in in time", "Begin again"); late.Header.Get("Postern-Settled") != "1" || strings.Contains(late.body, "http-equiv") {
		t.Errorf("it looks again for ever:\n%s", late.body)
	}
	done := s.adminGet("/accounts/scan/signin" + past)
	if done.says(t, "Signed in as scan@contoso.com", "Check the connection"); done.Header.Get("Postern-Settled") != "1" {
		t.Error("not settled")
	}
	s.vault.finish = func(url.Values, string) (vault.Result, error) {
		return vault.Result{Account: vault.Account{Name: "new"}}, fault.New(fault.Denied, "finish", "%w: <i>eve</i>", vault.ErrWrongMailbox)
	}
	s.get("/register_microsoft_graph_api/?state=s1&code=c1")
	failed := s.adminGet("/accounts/new/signin" + past)
	if failed.says(t, "Another account signed in", "<i>eve</i>", "Try again"); strings.Contains(failed.body, "<i>") {
		t.Error("words are shown as markup")
	}
	s.send("/accounts/new/signin")
	s.adminGet("/accounts/new/signin"+past).says(t, "!Another account signed in")
	s.send("/accounts/new/signin/cancel").leads(t, "/accounts/new")
	if a := s.adminGet("/accounts/nobody/signin" + past); a.StatusCode != http.StatusNotFound {
		t.Error(a.StatusCode)
	}
}
