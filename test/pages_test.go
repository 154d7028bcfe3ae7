package test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestSetUpByPages makes a device, an alert route and the notifications through the
// pages of the real binary, tests each of them there, and looks at the overview.
func TestSetUpByPages(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	g.setUp("")
	jane := g.logIn("admin", g.adminPassword())
	says := func(body string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(body, w) {
				t.Errorf("the page does not say %q:\n%s", w, body)
			}
		}
	}

	status, _, card := g.form(jane, "/new/device", "name", "copier", "account", "scan", "doors", "smtp")
	if status != http.StatusOK {
		t.Fatalf("the device is not made: %d\n%s", status, card)
	}
	says(card, "Setup card for copier", "<code>localhost</code>", port(g.smtp))
	found := regexp.MustCompile(`id="card-password">([^<]+)<`).FindStringSubmatch(card)
	if found == nil {
		t.Fatal("the card has no password")
	}
	password := found[1]
	if _, body := g.page(jane, "/devices/copier"); strings.Contains(body, password) {
		t.Error("the password is shown twice")
	}
	_, _, tested := g.form(jane, "/devices/copier/test", "door", "smtp_listen", "password", password)
	says(tested, "This device may send", "It may send as scan@contoso.com.")
	if err := legacyMail(g, "copier", password); err != nil {
		t.Errorf("the copier cannot send: %v", err)
	}
	waitFor(t, "the copier's mail to go", func() bool { return sentWith(g, "from the copier") == 1 })

	_, _, tried := g.form(jane, "/new/alert", "by", "mail", "act", "test", "account", "scan", "to", "invoices@contoso.com", "subject", "trial of a route")
	says(tried, "The test was sent")
	if n := sentWith(g, "trial of a route"); n != 1 {
		t.Errorf("%d trials arrived", n)
	}
	if status, to, body := g.form(jane, "/settings", "through", "scan", "to", "invoices@contoso.com", "from", "Gate"); status != http.StatusSeeOther || to != "/settings" {
		t.Fatalf("the notifications are not saved: %d to %q\n%s", status, to, body)
	}
	_, settings := g.page(jane, "/settings")
	says(settings, "POSTERN_SMTP_LISTEN", "invoices@contoso.com")
	if strings.Contains(settings, g.contoso.App.Secret) {
		t.Error("the settings show a secret")
	}

	waitFor(t, "the overview to tell of it", func() bool {
		_, body := g.page(jane, "/")
		return strings.Contains(body, "messages handed to Microsoft") && !strings.Contains(body, "The first steps")
	})
	if status, to, _ := g.form(jane, "/devices/copier/delete"); status != http.StatusSeeOther || to != "/devices" {
		t.Errorf("the device is not deleted: %d to %q", status, to)
	}
	_, audit := g.page(jane, "/audit")
	says(audit, "create device", "delete device", "create alert")
	g.stop()
}

// legacyMail sends one message as an old program would.
func legacyMail(g *gate, device string, password string) error {
	c, err := g.loginWith(device, password, g.doorTLS())
	if err != nil {
		return err
	}
	defer c.Close()
	return submit(c, "scan@contoso.com", "invoices@contoso.com", simpleMail("scan@contoso.com", "invoices@contoso.com", "from the copier", "<copier@test.example>"))
}
