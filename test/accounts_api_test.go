package test

import (
	"net/http"
	"strings"
	"testing"
)

// TestAccountsAndDevicesByAPI makes, shows, changes, pauses, renames and deletes accounts
// and devices as a program would, and again as an administrator at the command line.
func TestAccountsAndDevicesByAPI(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.consented()
	g.start()
	g.apply(g.document(""))
	read, write := g.token("reader", "", "accounts:read"), g.token("writer", "", "accounts:read,accounts:write")
	type thing struct {
		Name, Mailbox, State, Account, Password, Kind, Detail string
		Held, OK                                              bool
		Status                                                int
		Accounts, Devices                                     []struct{ Name string }
	}
	do := func(token, method, path, body string, status int) (got thing) {
		t.Helper()
		var into any = &got
		if status == http.StatusNoContent {
			into = nil
		}
		if resp := g.call(token, method, path, "application/json", body, into); resp.StatusCode != status {
			t.Errorf("%s %s: %d, want %d: %+v", method, path, resp.StatusCode, status, got)
		}
		return got
	}
	before := len(do(read, "GET", "/accounts", "", 200).Accounts)
	const one, robot = "/accounts/robot", `{"app":"contoso","mailbox":"invoices@contoso.com","sign_in":"application","purposes":["send"]}`
	do(read, "PUT", one, robot, 403)
	do(write, "PUT", one, strings.Replace(robot, "contoso\"", "nowhere\"", 1), 400)
	if a := do(write, "PUT", one, robot, 200); a.Name != "robot" || a.State != "new" || a.Mailbox != "invoices@contoso.com" {
		t.Errorf("made %+v", a)
	}
	if a := do(write, "POST", one+"/pause", "", 200); !a.Held {
		t.Errorf("paused %+v", a)
	}
	if out := g.postern("accounts", "list"); !strings.Contains(out, "new, paused") {
		t.Errorf("the list: %s", out)
	}
	if a := do(write, "POST", one+"/resume", "", 200); a.Held {
		t.Errorf("resumed %+v", a)
	}
	if r := do(write, "POST", one+"/check", `{}`, 200); !r.OK {
		t.Errorf("the check: %+v", r)
	}
	do(write, "POST", one+"/check", `{"purpose":"imap"}`, 400)

	const copier = "/devices/copier"
	made := do(write, "PUT", copier, `{"account":"robot","max_size":"10MB"}`, 200)
	if made.Password == "" || made.Account != "robot" {
		t.Errorf("the new device: %+v", made)
	}
	if d := do(read, "GET", copier, "", 200); d.Password != "" {
		t.Error("the password is shown again")
	}
	if d := do(write, "POST", copier+"/password", "", 200); d.Password == "" || d.Password == made.Password {
		t.Error("there is no new password")
	}
	do(write, "DELETE", one, "", 409) // the device uses it
	if a := do(write, "POST", one+"/rename", `{"name":"bills"}`, 200); a.Name != "bills" {
		t.Errorf("renamed %+v", a)
	}
	do(read, "GET", one, "", 404)
	if d := do(read, "GET", copier, "", 200); d.Account != "bills" {
		t.Errorf("the device uses %q", d.Account)
	}
	do(write, "PUT", one, robot, 400) // its name is the other one's
	if all := do(read, "GET", "/devices", "", 200); len(all.Devices) != 2 {
		t.Errorf("%+v", all.Devices)
	}

	if out := g.postern("accounts", "rename", "bills", "robot-2"); !strings.Contains(out, "bills is called robot-2") {
		t.Error(out)
	}
	g.postern("accounts", "pause", "robot-2")
	g.postern("accounts", "resume", "robot-2")
	if out := g.postern("devices", "password", "copier"); len(strings.Fields(out)) != 1 {
		t.Errorf("the new password: %d words", len(strings.Fields(out)))
	}
	g.postern("devices", "delete", "copier")
	g.refused(4, []string{"devices", "delete", "copier"}, "copier")
	do(write, "DELETE", "/accounts/robot-2", "", 204)
	if all := do(read, "GET", "/accounts", "", 200); len(all.Accounts) != before {
		t.Errorf("%+v", all.Accounts)
	}
	for _, want := range []string{"api:writer", "rename account", "new device password", "delete device", "pause account"} {
		if out := g.postern("audit", "--json"); !strings.Contains(out, want) {
			t.Errorf("the audit log does not say %q", want)
		}
	}
	g.stop()
}
