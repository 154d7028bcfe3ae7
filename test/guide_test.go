package test

import (
	"strings"
	"testing"
)

// TestGuides fills an account's values into its road.
func TestGuides(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	if out := g.postern("guide"); !strings.Contains(out, "delegated") || !strings.Contains(out, "app-password") {
		t.Errorf("the roads:\n%s", out)
	}
	g.consented()
	g.apply(g.identities())
	g.postern("check", "machine", "--for", "send") // whose token tells the object id
	for account, want := range map[string][]string{
		"scan":    {"A person signs in once", g.url() + "/register_microsoft_graph_api/", "postern signin 'scan'", "postern check scan --for send   (stage sender)"},
		"machine": {"New-ServicePrincipal -AppId '" + g.contoso.App.ClientID, "Add-MailboxPermission -Identity 'invoices@contoso.com'", "CallAnAPI/appId/" + g.contoso.App.ClientID},
		"bulk":    {"High Volume Email with the account's own password", "postern accounts password 'bulk'"},
		"old":     {"An app password, while", "weakens the whole tenant", "Know before: "},
	} {
		out := g.postern("guide", "--account", account)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("the guide of %s does not say %q:\n%s", account, w, out)
			}
		}
		if strings.ContainsAny(out, "{}") {
			t.Errorf("the guide of %s has something left to fill in:\n%s", account, out)
		}
	}
	if out := g.postern("guide", "application", "--account", "machine"); strings.Contains(out, "<object id") {
		t.Errorf("the object id is known, and not filled in:\n%s", out)
	}
	g.fails(4, "", []string{"guide", "nowhere"}, "postern guide lists them")
	g.fails(4, "", []string{"guide", "--account", "nobody"}, "nobody")
}
