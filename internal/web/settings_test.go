package web_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/vault"
	"postern/internal/web"
)

// fakeSettings tests what the test says.
type fakeSettings struct {
	tested []declare.Document
	to     mail.Address
	broken error
}

func (f *fakeSettings) Settings() []web.Setting {
	return []web.Setting{
		{Name: "smtp_listen", Value: ":587", From: "default", Help: "host:port of the SMTP door"},
		{Name: "master_key", Value: "set, not shown", From: "POSTERN_MASTER_KEY", Help: "master key itself"},
		{Name: "ca_file", From: "default", Help: "certificate authorities in PEM"},
	}
}

func (f *fakeSettings) TestMail(_ context.Context, doc declare.Document, _ string, to mail.Address) (check.Report, error) {
	f.tested, f.to = append(f.tested, doc), to
	return check.Report{OK: true, Headline: "Connection successful", Stages: []check.Stage{{Name: "message", Status: check.OK, Summary: "Taken.", Reply: "250 OK"}}}, f.broken
}

func TestSettingsShowTheConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("GET", "/settings", nil))
	a.says(t, "smtp_listen", "POSTERN_MASTER_KEY", "set, not shown", "host:port of the SMTP door", "Get Refresh Token", s.url+web.CallbackPath)
	if !strings.Contains(a.body, `value="smtp.office365.com:587"`) || !strings.Contains(a.body, `value="contoso" selected`) {
		t.Error("the form has no defaults")
	}
	s.vault.broken = errors.New("locked")
	s.admin(s.request("GET", "/settings", nil)).says(t, "could not be looked up", "smtp_listen", "!locked")
}

// own is a form with a mailbox on a server of the operator's.
func own(more ...string) url.Values {
	v := url.Values{"server": {"smtp.contoso.com:465"}, "tls": {"implicit"}, "user": {"gate@contoso.com"}, "password": {"hunter2hunter2"}, "from": {"Gate"}, "to": {"admin@contoso.com"}}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

func TestSettingsMakeAppAccountAndRoute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typed url.Values
		check func(d declare.Document) bool
	}{
		"own server": {own(), func(d declare.Document) bool {
			at, a := d.Apps[0].Custom.SMTP, d.Accounts[0]
			return *at == mail.Server{Host: "smtp.contoso.com", Port: 465, TLS: mail.Implicit} && a.SignIn == string(vault.AppPassword) &&
				a.Mailbox == "gate@contoso.com" && a.Password.Value.Reveal() == "hunter2hunter2" && a.App == "notifications"
		}},
		"without a port": {own("server", "smtp.contoso.com", "tls", "starttls"), func(d declare.Document) bool { return d.Apps[0].Custom.SMTP.Port == 587 }},
		"app password":   {own("server", "smtp.office365.us:587", "method", "password"), func(d declare.Document) bool { return d.Apps[0].Cloud == "usgov" && d.Apps[0].Custom == nil }},
		"with Microsoft": {own("server", "smtp.office365.com:587", "method", "microsoft", "app", "contoso"), func(d declare.Document) bool {
			return len(d.Apps) == 0 && d.Accounts[0].App == "contoso" && d.Accounts[0].SignIn == string(vault.Delegated) && d.Accounts[0].Password == nil
		}},
		"a new app": {own("server", "partner.outlook.cn:587", "method", "microsoft", "client_id", "6f0dd0d2-0000-4000-8000-000000000001", "tenant", "contoso.cn", "secret", "s3cret~value"), func(d declare.Document) bool {
			return d.Apps[0].Cloud == "china" && d.Apps[0].Secret.Value.Reveal() == "s3cret~value" && d.Accounts[0].App == "notifications"
		}},
		"an account that is there": {own("through", "scan"), func(d declare.Document) bool {
			return len(d.Apps)+len(d.Accounts) == 0 && d.Alerts[0].Account == "scan"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			a := s.admin(s.request("POST", "/settings", c.typed))
			if a.StatusCode != http.StatusSeeOther {
				t.Fatalf("status %d: %s", a.StatusCode, a.text)
			}
			d := s.applied[0]
			if !c.check(d) || d.Alerts[0].Name != "notifications" || d.Alerts[0].To[0] != "admin@contoso.com" || d.Alerts[0].FromName != "Gate" {
				t.Errorf("applied %+v", d)
			}
		})
	}
}

func TestSettingsKeepWhatTheFormDoesNotShow(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.alerts.routes = append(s.alerts.routes, alert.Route{Name: "notifications", Account: "scan", To: []mail.Address{{Local: "old", Domain: "contoso.com"}}, Subject: "Mine: {{.What}}", PerHour: 3})
	s.admin(s.request("GET", "/settings", nil)).says(t, "old@contoso.com")
	s.admin(s.request("POST", "/settings", own("through", "scan")))
	if got := s.applied[0].Alerts[0]; got.Subject != "Mine: {{.What}}" || got.PerHour != 3 || got.To[0] != "admin@contoso.com" {
		t.Errorf("applied %+v", got)
	}
}

func TestSettingsMarkWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typed url.Values
		field string
	}{
		"nobody":       {own("to", ""), "to"},
		"bad address":  {own("to", "nobody"), "to"},
		"no user":      {own("user", ""), "user"},
		"bad user":     {own("user", "gate"), "user"},
		"bad port":     {own("server", "smtp.contoso.com:many"), "server"},
		"no client id": {own("server", "smtp.office365.com:587", "method", "microsoft", "app", ""), "client_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			a := s.admin(s.request("POST", "/settings", c.typed))
			if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, `id="f-`+c.field+`-wrong"`) {
				t.Errorf("status %d, field %s: %s", a.StatusCode, c.field, a.text)
			}
			if strings.Contains(a.body, "hunter2") || len(s.alerts.routes) != 2 {
				t.Error("the password came back, or it was saved")
			}
		})
	}
}

func TestSettingsAreTestedUnsaved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("POST", "/settings", own("act", "test")))
	a.says(t, "Connection successful", "250 OK")
	if len(s.applied) != 0 || s.settings.to.String() != "admin@contoso.com" || s.settings.tested[0].Accounts[0].Password.Value.Reveal() != "hunter2hunter2" || strings.Contains(a.body, "hunter2") {
		t.Errorf("tested %+v", s.settings.tested)
	}
	if !strings.Contains(a.body, `value="smtp.contoso.com:465"`) || strings.Contains(a.body, "Get Refresh Token") {
		t.Error("what was typed is lost, or the button is offered for a server that is not Microsoft's")
	}
	s.settings.broken = fault.New(fault.Invalid, "check", "no").WithHint("do that")
	s.admin(s.request("POST", "/settings", own("act", "test"))).says(t, "The test could not be made. No. Do that.")
	s.admin(s.request("POST", "/settings", own("act", "test", "through", "scan"))).says(t, "The test was sent")
	if got := s.alerts.tested[0]; got.Account != "scan" || got.FromName != "Gate" {
		t.Errorf("tested %+v", got)
	}
}

func TestGetRefreshTokenFromTheSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("POST", "/settings", own("act", "signin", "server", "smtp.office365.com:587", "method", "microsoft", "app", "contoso")))
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), provider) || len(s.applied) != 1 {
		t.Errorf("status %d to %q after %d changes", a.StatusCode, a.Header.Get("Location"), len(s.applied))
	}
}
