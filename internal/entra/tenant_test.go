package entra_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
)

func TestValidateTenant(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		tenantID, strings.ToUpper("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"), "contoso.com", "contoso.onmicrosoft.com",
		"xn--bcher-kva.example", "organizations", "common", "consumers",
	} {
		if err := entra.ValidateTenant(good); err != nil {
			t.Errorf("%q refused: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", " ", "contoso", "evil.example/..", "evil.example/", "/", "..", ".", "a@b", "a@b.example", "x?y", "x?y.example",
		"%2e", "%2e%2e", "a%2fb.example", "evil.example:443", "evil.example#x", `evil.example\x`, "contoso.com ", " contoso.com",
		"contoso.com\n", "con toso.com", "contoso..com", ".contoso.com", "contoso.com.", "-contoso.com", "contoso-.com",
		"127.0.0.1", "[::1]", "contoso.com\x00", "cöntoso.com", "99999999-8888-7777-6666-55555555555",
		"{tenantid}", strings.Repeat("a.", 130) + "com",
	} {
		if err := entra.ValidateTenant(bad); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, want it refused as invalid", bad, err)
		}
	}
}

// FuzzValidateTenant holds accepted tenants to what they are accepted for: they
// must be one plain segment of the URL that the client secret is posted to.
func FuzzValidateTenant(f *testing.F) {
	for _, seed := range []string{tenantID, "contoso.com", "common", "evil.example/..", "a@b", "x?y", "%2e", "a:b.example", "\u2024\u2024/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tenant string) {
		if entra.ValidateTenant(tenant) != nil {
			return
		}
		const host = "https://login.example"
		u, err := url.Parse(host + "/" + tenant + "/oauth2/v2.0/token")
		if err != nil {
			t.Fatalf("%q makes no URL: %v", tenant, err)
		}
		if u.Host != "login.example" || u.Path != "/"+tenant+"/oauth2/v2.0/token" || u.RawPath != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			t.Fatalf("%q changes the URL: %s", tenant, u)
		}
		if clean := u.JoinPath(); clean.Path != u.Path {
			t.Fatalf("%q is not kept by a cleaned path: %s", tenant, clean.Path)
		}
	})
}

func TestABadTenantIsRefusedBeforeAnyRequest(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := entra.New(clock, outbound.Network{})
	for _, bad := range []string{"evil.example/..", "a@b", "x?y", "%2e", "a:b"} {
		r := p.registration()
		r.Tenant = bad
		_, err := c.ClientCredentials(t.Context(), r, r.Cloud.AppOnly)
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if len(p.asked) > 0 {
		t.Errorf("the provider was asked for %v", p.asked)
	}
}

func TestValidateSecret(t *testing.T) {
	t.Parallel()
	err := entra.ValidateSecret(secret.New(" " + tenantID + "\n"))
	if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "this is the Secret ID; paste the Value") {
		t.Errorf("a GUID: %v", err)
	}
	if strings.Contains(err.Error(), tenantID) {
		t.Errorf("the error shows what was pasted: %v", err)
	}
	for _, good := range []string{clientSecret, "", "short", "with~tildes~in~it"} {
		if err := entra.ValidateSecret(secret.New(good)); err != nil {
			t.Errorf("%q refused: %v", good, err)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	cloud, err := entra.CloudByName("global")
	if err != nil {
		t.Fatal(err)
	}
	got := entra.Scopes(cloud, []string{"send", "imap", "pop3", "graph", "send", "nonsense"})
	want := "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All " +
		"https://outlook.office.com/POP.AccessAsUser.All https://graph.microsoft.com/Mail.Send https://graph.microsoft.com/Mail.ReadWrite"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}
