package web_test

import (
	"strings"
	"testing"

	"postern/internal/vault"
	"postern/internal/web"
)

func TestOffersMicrosoft(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"smtp.office365.com": true, "outlook.office365.com": true, "smtp-hve.office365.com": true, "SMTP.Office365.com": true,
		"smtp-mail.outlook.com": true, "outlook.office365.us": true, "outlook-dod.office365.us": true,
		"smtp.partner.outlook.cn": true, "partner.outlook.cn": true,
		"": false, "smtp.gmail.com": false, "mail.contoso.com": false, "office.example": false, "imap.look-out.example": false,
	} {
		if got := web.OffersMicrosoft(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

// An account has the button when its app's servers are Microsoft's, or when its app
// says itself where to sign in.
func TestWhoGetsTheButton(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*vault.App)
		want   bool
	}{
		"microsoft": {func(*vault.App) {}, true},
		"china":     {func(a *vault.App) { a.Cloud.Name, a.Cloud.IMAP.Host = "china", "partner.outlook.cn" }, true},
		"own cloud": {func(a *vault.App) {
			a.Cloud.Name, a.Cloud.IMAP.Host, a.Cloud.Authority = "custom", "localhost", "https://id.example"
		}, true},
		"other servers":  {func(a *vault.App) { a.Cloud.IMAP.Host = "imap.example" }, false},
		"hosts alone":    {func(a *vault.App) { a.ClientID = "" }, false},
		"app is missing": {func(a *vault.App) { a.Name = "other" }, false},
	} {
		s := newSite(t)
		c.change(&s.vault.apps[0])
		a := s.admin(s.request("GET", "/accounts/scan", nil))
		for _, action := range []string{"signin", "device", "link", "consent"} {
			if strings.Contains(a.body, `action="/accounts/scan/`+action+`"`) != c.want {
				t.Errorf("%s: a button for %s: want %v", name, action, c.want)
			}
		}
		fax := s.admin(s.request("GET", "/accounts/fax", nil)).body
		if strings.Contains(fax, `action="/accounts/fax/signin`) || strings.Contains(fax, `action="/accounts/fax/consent`) {
			t.Errorf("%s: an app password has buttons of a sign-in", name)
		}
	}
}
