package check_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"postern/internal/check"
	"postern/internal/secret"
)

func graphClaims(scope string) map[string]any {
	m := goodClaims(scope)
	m["aud"] = "https://graph.microsoft.com"
	return m
}

// TestGraph is checked as far as its token allows, and never sends.
func TestGraph(t *testing.T) {
	t.Parallel()
	app := map[string]any{"scp": nil, "upn": nil, "idtyp": "app"}
	with := func(m, more map[string]any) map[string]any {
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	for _, c := range []struct {
		name   string
		claims map[string]any
		method check.Method
		shared bool
		answer int    // of the look-up
		asked  string // for what it was asked; "" for nothing
		failed string // the stage
		says   string
	}{
		{"sending only", graphClaims("Mail.Send"), check.Delegated, false, 0, "", "", "may not look at scan@contoso.com"},
		{"own mailbox", graphClaims("Mail.Send User.Read"), check.Delegated, false, 200, "/v1.0/me?$select=id", "", "Graph knows scan@contoso.com"},
		{"shared mailbox", graphClaims("Mail.Send.Shared User.Read"), check.Delegated, true, 0, "", "", "may not look at"},
		{"shared mailbox, more rights", graphClaims("Mail.Send User.ReadBasic.All"), check.Delegated, true, 200, "/v1.0/users/scan@contoso.com?$select=id", "", "Graph knows"},
		{"application", with(graphClaims(""), with(map[string]any{"roles": []string{"Mail.Send", "User.Read.All"}}, app)), check.Application, false, 200, "/v1.0/users/scan@contoso.com?$select=id", "", "Graph knows"},
		{"refused", graphClaims("Mail.Send User.Read"), check.Delegated, false, 403, "/v1.0/me?$select=id", check.StageMailbox, ""},
		{"token of Exchange", goodClaims("Mail.Send"), check.Delegated, false, 0, "", check.StageContent, "which Graph refuses"},
		{"no permission", graphClaims("User.Read"), check.Delegated, false, 0, "", check.StageContent, "lacks the permission Mail.Send"},
		{"no role", with(graphClaims(""), app), check.Application, false, 0, "", check.StageContent, "lacks the application permission Mail.Send"},
		{"the app's own", with(graphClaims(""), app), check.Delegated, false, 0, "", check.StageContent, "the app's own"},
		{"a person's", graphClaims("Mail.Send"), check.Application, false, 0, "", check.StageContent, "a person's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var asked []string
			site := microsoft()
			site.graph = func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1.0/$metadata" && r.Header.Get("Authorization") == "" {
					return
				}
				mu.Lock()
				asked = append(asked, r.Method+" "+r.RequestURI)
				mu.Unlock()
				if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
					t.Errorf("%s came without a token", r.RequestURI)
				}
				w.WriteHeader(c.answer)
				_, _ = fmt.Fprint(w, `{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges to complete the operation."}}`)
			}
			f := arrangeWith(t, check.Graph, smtpServer(), site)
			f.token, f.target.Method, f.target.Shared = jwt(t, c.claims), c.method, c.shared
			r := f.run(t)
			want := []string(nil)
			if c.asked != "" {
				want = []string{"GET " + c.asked}
			}
			if !slices.Equal(asked, want) {
				t.Errorf("Graph was asked for %q, want %q", asked, want)
			}
			if c.failed != "" {
				if st := failedStage(t, r); st.Name != c.failed || !strings.Contains(st.Summary, c.says) {
					t.Error(st.Text())
				}
				return
			}
			st := stage(t, r, check.StageMailbox)
			headline := check.Unsent
			if c.asked != "" {
				headline = check.Successful
			}
			if !r.OK || r.Headline != headline || !strings.Contains(st.Summary, c.says) {
				t.Errorf("%s\n%s", r.Headline, st.Text())
			}
			if n := names(r); n != "settings, dns, tcp, tls, https, clock, token, token content, mailbox, test mail" {
				t.Error(n)
			}
		})
	}
}

func TestGraphsOpaqueTokenProvesNothing(t *testing.T) {
	t.Parallel()
	f := arrange(t, check.Graph, smtpServer())
	f.token = secret.New("EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA")
	if r := f.run(t); !r.OK || r.Headline != check.Unsent {
		t.Error(r.Text())
	}
	f.target.Cloud.Graph = ""
	if failed := failedStage(t, f.run(t)); failed.Name != check.StageSettings {
		t.Error(failed.Text())
	}
	f.deps.Web = check.Deps{}.Web
	f.deps.Web.Proxy = secret.New("gopher://user:hidden-Pa55word@proxy.example")
	f.target.Cloud.Graph = "https://graph.microsoft.com"
	r := f.run(t)
	if failed := failedStage(t, r); failed.Name != check.StageProxy || strings.Contains(r.Text(), "hidden-Pa55word") || !strings.Contains(failed.Next, "socks5") {
		t.Error(r.Text())
	}
}
