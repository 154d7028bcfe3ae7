package web_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
)

func TestDeviceList(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("GET", "/devices", nil))
	a.says(t, "printer", "copier@contoso.com", "192.0.2.7/32", "no login", "TLS 1.0")
	if !strings.Contains(a.body, `aria-current="page">Devices`) {
		t.Error("the navigation does not say where one is")
	}
	s.admin(s.request("GET", "/devices?q=SCANN", nil)).says(t, "192.0.2.7", "!copier@contoso.com")
	s.admin(s.request("GET", "/devices?q=none", nil)).says(t, "No device fits")

	s.devices.broken = errors.New("locked")
	s.admin(s.request("GET", "/devices", nil)).says(t, "could not be looked up", "!locked")
	s.devices.broken, s.devices.all = nil, map[string]door.Device{}
	s.admin(s.request("GET", "/devices", nil)).says(t, "no device yet")
}

func TestDeviceIsMade(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.admin(s.request("GET", "/new/device", nil)).says(t, "scan – scan@contoso.com")
	a := s.admin(s.request("POST", "/new/device", url.Values{
		"name": {"erp"}, "account": {"scan"}, "from": {"rewrite"}, "senders": {"a@contoso.com, b@contoso.com"},
		"networks": {"10.0.0.0/8\n192.0.2.1"}, "max_size": {"10MB"}, "per_minute": {"30"}, "doors": {"smtp", "imap"}, "mailboxes": {"sales@contoso.com"},
	}))
	if a.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", a.StatusCode, a.text)
	}
	a.says(t, "gate.contoso.com", "587", "STARTTLS", "made-pass-word", "Shown this once", "or a@contoso.com, b@contoso.com", "10MB", "993", "use its address: sales@contoso.com", "!None, or")
	got := s.devices.all["erp"]
	if got.Account != "scan" || !got.Policy.Rewrite || got.Policy.MaxSize != 10<<20 || got.Policy.PerMinute != 30 || len(got.Policy.Networks) != 2 || !got.Policy.Opens(door.DoorIMAP) || len(got.Policy.Mailboxes) != 1 ||
		len(got.Senders) != 2 || got.Senders[1] != (mail.Address{Local: "b", Domain: "contoso.com"}) {
		t.Errorf("kept %+v", got)
	}
	if s.appliers[0] != "web:admin" {
		t.Errorf("by %q", s.appliers[0])
	}
	s.admin(s.request("GET", "/devices/erp", nil)).says(t, "as it was shown", "!made-pass-word")
}

func TestDeviceFormKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typed url.Values
		field string
		says  string
	}{
		"no name":        {url.Values{"account": {"scan"}}, "name", "Fill this in."},
		"taken":          {url.Values{"name": {"printer"}, "account": {"scan"}}, "name", "There is a device of this name"},
		"bad name":       {url.Values{"name": {"a b"}, "account": {"scan"}}, "name", "Allowed are letters"},
		"bad sender":     {url.Values{"name": {"x"}, "account": {"scan"}, "senders": {"nobody"}}, "senders", "nobody"},
		"bad network":    {url.Values{"name": {"x"}, "account": {"scan"}, "networks": {"10.0.0.0/99"}}, "networks", "is no network"},
		"no network":     {url.Values{"name": {"x"}, "account": {"scan"}, "no_login": {"on"}}, "networks", "Name the addresses"},
		"bad size":       {url.Values{"name": {"x"}, "account": {"scan"}, "max_size": {"big"}}, "max_size", "is not a size"},
		"bad rate":       {url.Values{"name": {"x"}, "account": {"scan"}, "per_minute": {"-1"}}, "per_minute", "whole number"},
		"short password": {url.Values{"name": {"x"}, "account": {"scan"}, "password": {"s3cret"}}, "password", "At least 8 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			a := s.admin(s.request("POST", "/new/device", c.typed))
			if a.StatusCode != http.StatusUnprocessableEntity {
				t.Errorf("status %d", a.StatusCode)
			}
			a.says(t, c.says)
			if !strings.Contains(a.body, `id="f-`+c.field+`-wrong"`) || !strings.Contains(a.body, `aria-invalid="true"`) {
				t.Errorf("field %s is not marked: %s", c.field, a.body)
			}
			for _, v := range c.typed {
				if v[0] != "s3cret" && v[0] != "on" && !strings.Contains(a.body, v[0]) {
					t.Errorf("%q is lost", v[0])
				}
			}
			if strings.Contains(a.body, "s3cret") {
				t.Error("the password came back")
			}
		})
	}
}

func TestDeviceIsChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.admin(s.request("GET", "/devices/scanner", nil))
	a.says(t, "192.0.2.7/32 only", "25", "None, or STARTTLS")
	if !strings.Contains(a.body, `name="max_size" type="text" value="10MB"`) {
		t.Error("the form does not have the limit")
	}
	if a = s.admin(s.request("POST", "/devices/scanner", url.Values{"account": {"scan"}, "from": {"refuse"}, "doors": {"smtp"}})); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("status %d: %s", a.StatusCode, a.text)
	}
	s.admin(s.request("GET", "/devices/scanner", nil)).says(t, "Saved.", "!192.0.2.7/32", "!no login")
	if got := s.devices.all["scanner"]; got.Policy.NoLogin || got.Policy.PerMinute != 0 || got.Policy.Doors != nil || got.PasswordHash != "h" {
		t.Errorf("kept %+v", got)
	}
	s.admin(s.request("POST", "/devices/scanner", url.Values{"account": {"scan"}, "senders": {"<b>x"}})).says(t, "Settings", "<b>x")
	off := s.devices.all["scanner"] // by somebody else, while this form was open
	off.Disabled = true
	s.devices.all["scanner"] = off
	s.admin(s.request("POST", "/devices/scanner", url.Values{"account": {"scan"}, "from": {"refuse"}, "doors": {"smtp"}}))
	if !s.devices.all["scanner"].Disabled {
		t.Error("saving its settings has let a device in again that was switched off")
	}
	s.refuse = fault.New(fault.Temporary, "save", "the disk is full").WithHint("make room")
	s.admin(s.request("POST", "/devices/scanner", url.Values{"account": {"scan"}})).says(t, "Make room.")
	if a = s.admin(s.request("POST", "/devices/nobody", url.Values{"account": {"scan"}})); a.StatusCode != http.StatusNotFound {
		t.Errorf("status %d for a device that is not there", a.StatusCode)
	}
}

func TestDeviceActs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.admin(s.request("POST", "/devices/printer/password", nil)).says(t, "fresh-pass-word", "The old password is good no more")
	a := s.admin(s.request("POST", "/devices/printer/test", url.Values{"door": {"smtp_listen"}, "password": {"fresh-pass-word"}, "made": {"1"}}))
	a.says(t, "This device may send", "550 5.7.1 <b>no</b>", "Set acme_hosts.", "fresh-pass-word") // a test does not lose what is shown once
	s.admin(s.request("POST", "/devices/printer/test", url.Values{"door": {"smtp_listen"}, "password": {"typed-by-hand"}})).says(t, "This device may send", "!typed-by-hand")
	if want := "smtp_listen typed-by-hand"; s.devices.tested[1] != want {
		t.Errorf("tested %q, want %q", s.devices.tested[1], want)
	}
	s.admin(s.request("POST", "/devices/printer/switch", nil))
	s.admin(s.request("POST", "/devices/printer/delete", nil))
	if want := "web:admin switches off printer"; s.devices.did[3] != want || s.devices.did[4] != "web:admin deletes printer" {
		t.Errorf("did %q", s.devices.did)
	}
	for _, act := range []string{"password", "test", "switch", "delete"} {
		if a := s.admin(s.request("POST", "/devices/nobody/"+act, nil)); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s of a device that is not there: %d", act, a.StatusCode)
		}
	}
}
