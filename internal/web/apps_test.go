package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/vault"
)

func TestAppsPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.vault.apps[0].Secret, s.vault.apps[0].SecretExpires = vault.Sealed("x"), time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC)
	s.vault.apps = append(s.vault.apps, vault.App{Name: "hosts"})
	s.adminGet("/apps").says(t, "contoso.onmicrosoft.com", "a client secret", "1 May 2027", "within 3 days", "scan, invoices, bulk and 2 more", "only says where the servers are")
	a := s.adminGet("/apps/contoso")
	a.says(t, "1 May 2027", "Certificate", "0123456789ABCDEF", "Redirect URI", "Used by")
	if !strings.Contains(a.body, `value="`+s.vault.apps[0].ClientID+`"`) || !strings.Contains(a.body, `value="2027-05-01"`) {
		t.Error("the form is not filled in")
	}
	s.adminGet("/apps/hosts").says(t, "No account uses it", "!Certificate It")
	if a := s.adminGet("/apps/nobody"); a.StatusCode != http.StatusNotFound {
		t.Error(a.StatusCode)
	}
	s.vault.blind = fault.New(fault.Temporary, "look", "disk full")
	s.adminGet("/apps").says(t, "expires soon could not be looked up", "contoso")
	s.vault.broken = fault.New(fault.Temporary, "look", "disk full")
	s.adminGet("/apps").says(t, "database does not answer")
}

func TestChangeAnApp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.send("/apps/contoso", "cloud", "global", "client_id", clientID, "tenant", "contoso.com", "secret", "n3w-value", "secret_expires", "2027-05-01").leads(t, "/apps/contoso")
	d := s.applied[0].Apps[0]
	if d.Name != "contoso" || d.ClientID != clientID || d.Secret.Value.Reveal() != "n3w-value" {
		t.Errorf("applied %+v", d)
	}
	s.send("/apps/contoso", "cloud", "global", "client_id", clientID, "tenant", "contoso.com").leads(t, "/apps/contoso")
	if s.applied[1].Apps[0].Secret != nil {
		t.Error("an empty field takes the secret away")
	}
	a := s.send("/apps/contoso", "cloud", "global", "client_id", "kept-as-typed", "tenant", "contoso.com", "secret", "n3w-value", "secret_expires", "soon")
	if a.says(t, "Type a date"); strings.Contains(a.body, "n3w") || !strings.Contains(a.body, `value="kept-as-typed"`) {
		t.Errorf("what was typed:\n%s", a.body)
	}
	s.send("/new/app", "cloud", "global", "client_id", clientID, "tenant", "fabrikam.com").leads(t, "/apps/fabrikam")
	s.send("/new/app", "name", "contoso", "cloud", "global").says(t, "There is an app registration of this name already.")
	s.adminGet("/new/app").says(t, "New app registration", s.url+"/register_microsoft_graph_api/")
}

func TestCertificateOfAnApp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.send("/apps/contoso/certificate").leads(t, "/apps/contoso#certificate")
	a := s.adminGet("/apps/contoso/certificate")
	if !strings.HasPrefix(a.body, "-----BEGIN CERTIFICATE-----") || !strings.Contains(a.Header.Get("Content-Disposition"), `"postern-contoso.pem"`) {
		t.Errorf("%v %q", a.Header, a.body)
	}
	if a := s.adminGet("/apps/hosts/certificate"); a.StatusCode != http.StatusNotFound {
		t.Error(a.StatusCode)
	}
	s.send("/apps/contoso/certificate/use").leads(t, "/apps/contoso")
	s.send("/apps/contoso/delete").leads(t, "/apps")
	if got := strings.Join(s.identities.did, "; "); got != "web:admin makes a certificate for contoso; web:admin uses the certificate of contoso; web:admin deletes app contoso" {
		t.Error(got)
	}
	s.identities.refuse = (&fault.Error{Kind: fault.NeedsAdmin, Op: "use the certificate", Reply: &fault.Reply{Protocol: "oauth", Code: "invalid_client", Text: "<b>AADSTS700027</b>"}}).WithHint("upload it")
	a = s.send("/apps/contoso/certificate/use")
	if a.says(t, "Upload it.", "<b>AADSTS700027</b>"); a.StatusCode != http.StatusConflict || strings.Contains(a.body, "<b>AADSTS") {
		t.Errorf("%d:\n%s", a.StatusCode, a.body)
	}
	s.identities.refuse = fault.New(fault.Conflict, "delete", `app registration "contoso" is used by account "scan"`)
	s.send("/apps/contoso/delete").says(t, `used by account "scan"`, "Redirect URI")
}
