package web_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/people"
)

func TestAlertList(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.admin(s.request("GET", "/alerts", nil)).says(t, "admins", "mail, through scan", "admin@contoso.com", "An account waits for a sign-in", "https://ops.contoso.com/…", "!https://ops.contoso.com/postern", "everything", "Nothing was told")
	s.alerts.history = []alert.Alert{{Route: "admins", State: alert.Failed, Outcome: "550 <b>no</b>", News: alert.News{What: "the disk is full", At: time.Now()}}}
	s.admin(s.request("GET", "/alerts?state=failed", nil)).says(t, "The disk is full.", "550 <b>no</b>", "failed")
	s.alerts.broken = errors.New("locked")
	s.admin(s.request("GET", "/alerts", nil)).says(t, "The routes could not be looked up", "What was told could not be looked up", "!locked")
}

// The address of a webhook is its key more often than not: those who may not change it
// see whose it is.
func TestWebhookAddressIsForAdmins(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.people.user("vera", people.Viewer)
	s.alerts.routes[1].Webhook = "https://hooks.example.com/services/T0/B0/key"
	if a := s.admin(s.request("GET", "/alerts/ops", nil)); !strings.Contains(a.body, s.alerts.routes[1].Webhook) {
		t.Error("who may change it does not see it")
	}
	for _, path := range []string{"/alerts", "/alerts/ops"} {
		a := s.do(s.as("vera", s.request("GET", path, nil)))
		if !strings.Contains(a.body, "https://hooks.example.com/…") || strings.Contains(a.body, "T0/B0") {
			t.Errorf("%s shows a viewer %s", path, a.text)
		}
	}
}

func TestAlertRouteIsSaved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("GET", "/new/alert?by=mail", nil))
	a.says(t, "scan – scan@contoso.com", "!invoices – invoices@contoso.com", ".NextStep", "Postern: account scan (scan@contoso.com) is paused until somebody signs in")
	a = s.admin(s.request("POST", "/new/alert", url.Values{
		"by": {"mail"}, "name": {"desk"}, "account": {"scan"}, "to": {"a@contoso.com\r\nb@contoso.com"}, "from_name": {"Gate"}, "events": {"disk_low", "disk_free"},
		"subject": {"{{.What}}"}, "text": {"{{.What}}\r\n{{.Why}}\r\n"}, "per_hour": {"6"},
	}))
	if a.StatusCode != http.StatusSeeOther {
		t.Fatalf("status %d: %s", a.StatusCode, a.text)
	}
	got := s.alerts.routes[2]
	if got.Name != "desk" || len(got.To) != 2 || got.FromName != "Gate" || len(got.Events) != 2 || got.Text != "{{.What}}\n{{.Why}}" || got.PerHour != 6 {
		t.Errorf("kept %+v", got)
	}
	s.admin(s.request("GET", "/alerts", nil)).says(t, "Route desk is saved.")

	a = s.admin(s.request("GET", "/alerts/admins", nil))
	a.says(t, "Gate: account scan")
	if !strings.Contains(a.body, `value="account_needs_sign_in" checked`) || strings.Contains(a.body, `value="disk_low" checked`) {
		t.Error("the form does not tick what the route hears of")
	}
	s.admin(s.request("POST", "/alerts/admins", url.Values{"by": {"mail"}, "account": {"scan"}, "to": {"x@contoso.com"}, "disabled": {"on"}}))
	if got := s.alerts.routes[0]; !got.Disabled || got.To[0].Local != "x" || len(got.Events) != 0 || got.Subject != "" {
		t.Errorf("kept %+v", got)
	}
	s.admin(s.request("POST", "/alerts/ops/delete", nil))
	if s.alerts.deleted[0] != "web:admin ops" {
		t.Errorf("deleted %q", s.alerts.deleted)
	}
	for _, req := range []*http.Request{s.request("GET", "/alerts/none", nil), s.request("POST", "/alerts/none", nil)} {
		if a := s.admin(req); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s of a route that is not there: %d", req.Method, a.StatusCode)
		}
	}
}

func TestWebhookSecretIsShownOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hook := url.Values{"by": {"webhook"}, "name": {"pager"}, "webhook": {"https://pager.contoso.com/x"}}
	s.admin(s.request("POST", "/new/alert", hook)).says(t, "The secret that signs", s.alerts.secrets[alert.SecretName("pager")].Reveal())
	kept := s.alerts.secrets[alert.SecretName("pager")].Reveal()
	if len(kept) < 16 {
		t.Fatalf("made %q", kept)
	}
	s.admin(s.request("GET", "/alerts/pager", nil)).says(t, "Send a test", "!"+kept)
	hook.Set("secret", "too short")
	a := s.admin(s.request("POST", "/alerts/pager", hook))
	a.says(t, "at least 16 are needed", "!too short")
	if a.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("status %d", a.StatusCode)
	}
}

func TestAlertFormMarksWhatIsWrong(t *testing.T) {
	t.Parallel()
	mail := func(more url.Values) url.Values {
		v := url.Values{"by": {"mail"}, "name": {"x"}, "account": {"scan"}, "to": {"a@contoso.com"}}
		for k, one := range more {
			v[k] = one
		}
		return v
	}
	for name, c := range map[string]struct {
		typed url.Values
		field string
		says  string
	}{
		"no name":      {mail(url.Values{"name": {""}}), "name", "Fill this in."},
		"taken":        {mail(url.Values{"name": {"admins"}}), "name", "There is a route of this name"},
		"nobody":       {mail(url.Values{"to": {" "}}), "to", "Fill this in."},
		"bad address":  {mail(url.Values{"to": {"a@contoso.com\nnobody"}}), "to", "nobody"},
		"bad reply":    {mail(url.Values{"reply_to": {"help desk"}}), "reply_to", "help desk"},
		"bad variable": {mail(url.Values{"subject": {"{{.Secret}}"}}), "subject", ".Secret is not known"},
		"bad template": {mail(url.Values{"text": {"{{if}}"}}), "text", "missing value"},
		"bad rate":     {mail(url.Values{"per_hour": {"many"}}), "per_hour", "whole number"},
		"bad webhook":  {url.Values{"by": {"webhook"}, "name": {"x"}, "webhook": {"http://pager.contoso.com"}}, "webhook", "// is needed"},
	} {
		for _, act := range []string{"", "test"} {
			if act == "test" && c.field == "name" {
				continue // a test needs none
			}
			t.Run(name+act, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				typed := url.Values{"act": {act}}
				for k, v := range c.typed {
					typed[k] = v
				}
				a := s.admin(s.request("POST", "/new/alert", typed))
				a.says(t, c.says)
				if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, `id="f-`+c.field+`-wrong"`) {
					t.Errorf("status %d, field %s: %s", a.StatusCode, c.field, a.body)
				}
				if len(s.alerts.tested) > 0 || len(s.alerts.routes) != 2 {
					t.Error("it was done all the same")
				}
			})
		}
	}
}

func TestAlertIsTestedUnsaved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("POST", "/new/alert", url.Values{"by": {"mail"}, "act": {"test"}, "account": {"scan"}, "to": {"a@contoso.com"}, "subject": {"mine {{.What}}"}}))
	a.says(t, "The test was sent", "250 2.0.0 OK <b>queued</b>", "mine account scan")
	if got := s.alerts.tested[0]; got.Account != "scan" || got.Subject != "mine {{.What}}" || len(s.applied) != 0 {
		t.Errorf("tested %+v", got)
	}
	a = s.admin(s.request("POST", "/alerts/ops", url.Values{"by": {"webhook"}, "act": {"test"}, "webhook": {"https://ops.contoso.com/postern"}, "secret": {"a-secret-that-is-long"}}))
	if a.says(t, "The test was sent"); s.alerts.signed.Reveal() != "a-secret-that-is-long" || strings.Contains(a.body, "a-secret") {
		t.Error("the typed secret did not sign, or came back")
	}
}

func TestAlertPreview(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("POST", "/preview/alert", url.Values{"subject": {"To {{.Account}}"}, "text": {"<b>{{.Why}}</b>"}, "html": {"<p>{{.What}}</p>"}}))
	if !strings.Contains(a.body, "To scan") || !strings.Contains(a.body, "&lt;b&gt;AADSTS700082") || strings.Contains(a.body, "<html") {
		t.Errorf("preview %q", a.body)
	}
	if a := s.admin(s.request("POST", "/preview/alert", url.Values{"text": {"{{.Nothing}}"}})); !strings.Contains(a.body, ".Nothing is not known") {
		t.Errorf("preview of a bad template %q", a.body)
	}
}

// Every event has words.
func TestEventsAreSaidInPlainWords(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("GET", "/new/alert", nil))
	for _, e := range alert.Events() {
		_, rest, _ := strings.Cut(a.body, `value="`+string(e)+`"`)
		_, label, _ := strings.Cut(rest, "<span>")
		if label, _, _ = strings.Cut(label, "</span>"); strings.TrimSpace(label) == "" {
			t.Errorf("%s has no words", e)
		}
	}
}
