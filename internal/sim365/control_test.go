package sim365_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365"
	"postern/internal/sim365/world"
)

// controller calls the control API as a program on this machine would.
type controller struct {
	*testing.T
	sim *sim365.Sim
}

func (c controller) call(method, path, body string, header ...string) (int, map[string]any) {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, c.sim.Control()+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	got := map[string]any{}
	var doc any
	switch err := json.NewDecoder(resp.Body).Decode(&doc); doc := doc.(type) {
	case map[string]any:
		got = doc
	case []any:
		got["list"] = doc
	default:
		if resp.StatusCode != http.StatusNoContent {
			c.Errorf("%s %s answered no JSON: %v", method, path, err)
		}
	}
	return resp.StatusCode, got
}

func (c controller) want(status int, method, path, body string, header ...string) map[string]any {
	c.Helper()
	got, doc := c.call(method, path, body, header...)
	if got != status {
		c.Errorf("%s %s: %d %v, want %d", method, path, got, doc, status)
	}
	return doc
}

func TestControlChangesTheWorld(t *testing.T) {
	t.Parallel()
	c := controller{t, start(t)}
	f := c.sim.Contoso("https://gateway.example/back")
	w := c.sim.World

	c.want(204, "PATCH", "/tenants/contoso.com", `{"conditional_access":true}`)
	c.want(204, "PATCH", "/tenants/contoso.com", `{"basic_auth_retired":true}`)
	if got, _ := w.Tenant("contoso.com"); !got.Policy.ConditionalAccess || !got.Policy.BasicAuthRetired || got.Policy.SecurityDefaults {
		t.Errorf("policy = %+v", got.Policy)
	}
	c.want(204, "PATCH", "/users/scan@contoso.com", `{"locked":true}`)
	if got, _ := w.User("scan@contoso.com"); !got.Locked || got.Password != sim365.Password {
		t.Errorf("user = %+v; the password must stay", got)
	}
	c.want(204, "PATCH", "/apps/"+f.App.ClientID, `{"secret_expired":true,"admin_consent":{"`+f.Tenant.ID+`":true}}`)
	if got, _ := w.App(f.App.ClientID); !got.SecretExpired || !got.AdminConsent[f.Tenant.ID] || got.Secret != f.App.Secret || !got.Registered[f.Tenant.ID] {
		t.Errorf("app = %+v", got)
	}
	c.want(204, "PATCH", "/mailboxes/noauth@contoso.com", `{"smtp_auth_disabled":null,"limits":{"per_minute":2}}`)
	if got := w.Policy("noauth@contoso.com"); got.SMTPAuthDisabled != nil || got.Limits.PerMinute != 2 || got.Limits.Connections != 3 {
		t.Errorf("mailbox = %+v", got)
	}
	c.want(204, "PUT", "/lives", `{"access":"10m"}`)
	if access, refresh := w.Lives(); access != 10*time.Minute || refresh != 90*24*time.Hour {
		t.Errorf("lives = %v %v", access, refresh)
	}
	before := w.SessionEpoch(f.Scan.ObjectID)
	c.want(204, "POST", "/users/scan@contoso.com/revoke", "")
	if w.SessionEpoch(f.Scan.ObjectID) == before {
		t.Error("sessions were not revoked")
	}
}

func TestControlAdds(t *testing.T) {
	t.Parallel()
	c := controller{t, start(t)}
	tenant := c.want(201, "POST", "/tenants", `{"domains":["fabrikam.com"]}`)
	user := c.want(201, "POST", "/users", `{"upn":"eve@fabrikam.com","password":"s3cret-pa55"}`)
	if user["tenant_id"] != tenant["id"] || user["password"] != nil {
		t.Errorf("user = %v", user)
	}
	app := c.want(201, "POST", "/apps", `{"name":"Other","secret":"abc8Q~xyzw"}`)
	if app["secret"] != nil || app["client_id"] == "" {
		t.Errorf("app = %v; its secret must not come back", app)
	}
	if got, _ := c.sim.World.App(app["client_id"].(string)); got.Secret != "abc8Q~xyzw" {
		t.Errorf("secret = %q", got.Secret)
	}
	state := c.want(200, "GET", "/state", "")
	if all, _ := json.Marshal(state); strings.Contains(string(all), "s3cret-pa55") || strings.Contains(string(all), "abc8Q~xyzw") {
		t.Errorf("the state shows secrets: %s", all)
	}
}

func TestControlFaults(t *testing.T) {
	t.Parallel()
	c := controller{t, start(t)}
	id := c.want(201, "POST", "/faults", `{"where":"smtp","stage":"auth","kind":"slow","delay":"1m30s","times":2}`)["id"]
	if got := c.sim.World.Faults(); len(got) != 1 || got[0].ID != id || got[0].Delay != 90*time.Second || got[0].Kind != world.FaultSlow || got[0].Times != 2 {
		t.Fatalf("armed: %+v", got)
	}
	c.want(200, "GET", "/faults", "")
	c.want(204, "DELETE", "/faults/"+id.(string), "")
	if got := c.sim.World.Faults(); len(got) != 0 {
		t.Errorf("still armed: %+v", got)
	}
}

func TestControlMail(t *testing.T) {
	t.Parallel()
	c := controller{t, start(t)}
	f := c.sim.Contoso("https://gateway.example/back")
	c.want(204, "POST", "/mailboxes/"+f.Invoices.UPN+"/messages", "From: a@example.com\r\nSubject: bill\r\n\r\nhello\r\n")
	if got := c.sim.World.Messages(f.Invoices.UPN, "INBOX"); len(got) != 1 || !strings.Contains(string(got[0].Raw), "Subject: bill") {
		t.Fatalf("messages = %+v", got)
	}
	c.want(400, "POST", "/mailboxes/nobody@contoso.com/messages", "Subject: x\r\n\r\n")
	for path, wantRaw := range map[string]bool{
		"/mailboxes/" + f.Invoices.UPN + "/messages?raw=1": true, "/mailboxes/" + f.Invoices.UPN + "/messages": false, "/messages?raw=1": true, "/messages": false,
	} {
		list, _ := c.want(200, "GET", path, "")["list"].([]any)
		if len(list) != 1 {
			t.Fatalf("%s lists %v", path, list)
		}
		item, _ := list[0].(map[string]any)
		if raw, _ := item["raw"].(string); strings.Contains(raw, "Subject: bill") != wantRaw || item["size"] == 0.0 {
			t.Errorf("%s: %v", path, item)
		}
	}
	if list, _ := c.want(200, "GET", "/mailboxes/"+f.Invoices.UPN+"/messages?folder=Archive", "")["list"].([]any); len(list) != 0 {
		t.Errorf("an empty folder lists %v", list)
	}
	if got := c.want(200, "GET", "/counters/refresh", ""); got["count"] != 0.0 {
		t.Errorf("counter = %v", got)
	}
}

func TestControlRefuses(t *testing.T) {
	t.Parallel()
	c := controller{t, start(t)}
	c.sim.Contoso("https://gateway.example/back")
	for _, tc := range []struct {
		status                    int
		method, path, body, words string
		header                    []string
	}{
		{400, "PATCH", "/tenants/contoso.com", `{"conditional_acess":true}`, "conditional_acess", nil},
		{400, "PATCH", "/users/scan@contoso.com", `{"locked":"maybe"}`, "locked", nil},
		{400, "POST", "/faults", `{"where":"smtp","kind":"slow","delay":"soon"}`, "not a duration", nil},
		{404, "PATCH", "/tenants/nowhere.com", `{}`, "no such thing", nil},
		{404, "PATCH", "/apps/nobody", `{}`, "no such thing", nil},
		{404, "POST", "/users/nobody@contoso.com/revoke", ``, "no such thing", nil},
		{403, "GET", "/state", "", "only programs on this machine", []string{"Origin", "https://evil.example"}},
	} {
		doc := c.want(tc.status, tc.method, tc.path, tc.body, tc.header...)
		if text, _ := doc["error"].(string); !strings.Contains(text, tc.words) {
			t.Errorf("%s %s: %v, want %q", tc.method, tc.path, doc, tc.words)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.sim.Control()+"/state", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.Close = "rebound.example", true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign Host got %d", resp.StatusCode)
	}
	if got, _ := c.sim.World.Tenant("contoso.com"); got.Policy.ConditionalAccess {
		t.Error("a refused request changed something")
	}
}
