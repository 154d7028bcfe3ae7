package entra_test

import (
	"errors"
	"strings"
	"testing"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
)

// Whatever is wrong with a registration is found before its secret can leave.
func TestNothingIsSentForABadRegistration(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for name, change := range map[string]func(*entra.Registration){
		"no client id":  func(r *entra.Registration) { r.ClientID = "" },
		"the Secret ID": func(r *entra.Registration) { r.Secret = secret.New(tenantID) },
		"no tenant":     func(r *entra.Registration) { r.Tenant = "" },
		"http":          func(r *entra.Registration) { r.Cloud.Authority = "http" + strings.TrimPrefix(p.srv.URL, "https") },
		"a user in the URL": func(r *entra.Registration) {
			r.Cloud.Authority = "https://x@" + strings.TrimPrefix(p.srv.URL, "https://")
		},
		"no authority": func(r *entra.Registration) { r.Cloud.Authority = "" },
	} {
		r := p.registration()
		change(&r)
		if _, err := entra.New(clock, outbound.Network{}).Refresh(t.Context(), r, secret.New(refreshToken), nil); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(p.asked) > 0 {
		t.Errorf("the provider was asked for %v", p.asked)
	}
}

func TestResource(t *testing.T) {
	t.Parallel()
	cloud := entra.Cloud{Outlook: "https://outlook.example/", Graph: "https://graph.example"}
	for purpose, want := range map[string]string{
		"send": "https://outlook.example", "imap": "https://outlook.example", "pop3": "https://outlook.example", "graph": "https://graph.example",
	} {
		if got := entra.Resource(cloud, purpose); got != want {
			t.Errorf("%s is for %s, want %s", purpose, got, want)
		}
	}
}
