package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"testing"
)

// A form that was opened before somebody else changed the thing says so once, instead of
// undoing that in silence.
func TestNobodyUndoesAnothersChangeUnknowingly(t *testing.T) {
	t.Parallel()
	mark := regexp.MustCompile(`name="seen" value="([0-9a-f]{16})"`)
	for name, c := range map[string]struct {
		page, to string
		typed    url.Values
	}{
		"device":  {"/devices/printer", "/devices/printer", url.Values{"account": {"scan"}, "from": {"refuse"}, "doors": {"smtp"}, "senders": {"typed@contoso.com"}}},
		"account": {"/accounts/scan/edit", "/accounts/scan/edit", url.Values{"app": {"contoso"}, "mailbox": {"typed@contoso.com"}, "sign_in": {"delegated"}, "purposes": {"send"}}},
		"app":     {"/apps/contoso", "/apps/contoso", url.Values{"cloud": {"global"}, "tenant": {"typed.example"}, "client_id": {"11111111-2222-3333-4444-555555555555"}}},
		"alert":   {"/alerts/admins", "/alerts/admins", url.Values{"by": {"mail"}, "account": {"scan"}, "to": {"typed@contoso.com"}}},
		"task":    {"/tasks/invoices/edit", "/tasks/invoices/edit", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.mail.task("invoices", nil)
			opened := s.adminGet(c.page)
			seen := mark.FindStringSubmatch(opened.body)
			if seen == nil {
				t.Fatal("the form does not know how the thing was")
			}
			if c.typed == nil {
				c.typed = fields(opened.body)
			}
			c.typed.Set("seen", "0123456789abcdef") // of another time
			a := s.adminPost(c.to, c.typed)
			a.says(t, "Somebody has changed this since")
			if a.StatusCode != http.StatusUnprocessableEntity || len(s.applied) > 0 {
				t.Errorf("%d, %d documents applied", a.StatusCode, len(s.applied))
			}
			if again := mark.FindStringSubmatch(a.body); again == nil || again[1] != seen[1] {
				t.Fatalf("the form came back with %v, it is %v", again, seen)
			}
			c.typed.Set("seen", seen[1])
			if a := s.adminPost(c.to, c.typed); a.StatusCode != http.StatusSeeOther || len(s.applied) != 1 {
				t.Errorf("sent again: %d, %d documents applied", a.StatusCode, len(s.applied))
			}
		})
	}
}
