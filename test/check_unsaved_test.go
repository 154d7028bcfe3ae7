package test

import (
	"encoding/json"
	"strings"
	"testing"

	"postern/internal/sim365/world"
)

// checks runs `postern check` with a document and any arguments.
func (g *gate) checks(doc string, args ...string) (reports []checked, code int) {
	g.t.Helper()
	out, errOut, code := g.try(doc, append([]string{"check", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &reports); err != nil {
		g.t.Fatalf("check %s: exit %d, %v\n%s%s", strings.Join(args, " "), code, err, out, errOut)
	}
	g.silent("check "+strings.Join(args, " "), out+errOut)
	return reports, code
}

// TestCheckUnsaved checks documents that are never saved: what is wrong with them harms
// no saved account, and what they do not say is as saved.
func TestCheckUnsaved(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.consented()
	good := g.identities()
	if r, code := g.checks(good, "-f", "-", "machine", "--for", "send"); code != 0 || len(r) != 1 || !r[0].OK {
		t.Errorf("of an empty database: exit %d, %+v", code, r)
	}
	if out := g.postern("accounts", "list"); strings.Contains(out, "machine") {
		t.Errorf("a check has saved an account:\n%s", out)
	}
	g.start()
	g.apply(good)
	g.signIn("scan", "scan@contoso.com")

	// A saved sign-in goes with an unsaved secret, which is wrong, and then right.
	wrong := strings.Replace(good, "{env: CONTOSO_SECRET}", "{value: abc8Q~this-is-not-the-secret-of-any-app-at-all}", 1)
	r, code := g.checks(wrong, "-f", "-", "scan", "--for", "send")
	if st := r[0].failed(t); code != 3 || st.Name != "token" || !strings.Contains(st.Summary, "client secret is wrong") {
		t.Errorf("exit %d, %+v", code, st)
	}
	guid := strings.Replace(good, "{env: CONTOSO_SECRET}", "{value: 0f8fad5b-d9cb-469f-a165-70867728950e}", 1)
	g.fails(2, guid, []string{"check", "-f", "-", "scan"}, "Secret ID")
	before := g.sim.World.Count("refresh")
	for range 2 { // the refresh token that Entra replaces is kept: the second check needs it
		if r, code := g.checks(good, "-f", "-", "scan", "--for", "imap"); code != 0 || !r[0].OK {
			t.Errorf("exit %d, %+v", code, r)
		}
	}
	if n := g.sim.World.Count("refresh") - before; n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
	if out := g.postern("accounts", "show", "scan", "--json"); !strings.Contains(out, `"state": "active"`) {
		t.Errorf("the saved account suffered:\n%s", out)
	}
	if r := g.check("scan", "send"); !r.OK {
		t.Errorf("afterwards: %s", r.Headline)
	}

	// Another mailbox is another sign-in: the saved one is not used for it, nor lost.
	other := strings.Replace(good, "mailbox: scan@contoso.com, purposes: [send, imap, pop3]", "mailbox: invoices@contoso.com, purposes: [send]", 1)
	if r, _ := g.checks(other, "-f", "-", "scan"); !strings.Contains(r[0].failed(t).Next, "postern signin scan") {
		t.Errorf("%+v", r[0].failed(t))
	}
	if r := g.check("scan", "send"); !r.OK {
		t.Errorf("afterwards: %s", r.Headline)
	}
	if r, code := g.checks("", "--all"); code != 3 || len(r) < 5 {
		t.Errorf("--all: exit %d, %d reports", code, len(r))
	}
	g.fails(2, "", []string{"check", "--all", "scan"}, "--all goes with nothing")
	g.fails(4, good, []string{"check", "-f", "-", "nobody"}, "nobody")
}

// TestCheckWithATestMail sends one, and tells what only that can prove.
func TestCheckWithATestMail(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.setUp("")
	before := len(g.sim.World.AllMessages())
	if r := g.check("scan", "send"); !r.OK || len(g.sim.World.AllMessages()) != before {
		t.Errorf("a check without a test mail: %s, %d messages", r.Headline, len(g.sim.World.AllMessages())-before)
	} else if status, says := r.stage(t, "test mail"); status != "skipped" || !strings.Contains(says, "only known after a real message") {
		t.Errorf("%s: %s", status, says)
	}
	send := []string{"scan", "--for", "send", "--send-test", "invoices@contoso.com"}
	r, code := g.checks("", send...)
	if status, says := r[0].stage(t, "test mail"); code != 0 || status != "ok" || !strings.Contains(says, " ms.") {
		t.Errorf("exit %d, %s: %s", code, status, says)
	}
	if status, says := r[0].stage(t, "arrival"); status != "ok" || !strings.HasPrefix(says, "It arrived in invoices@contoso.com after ") {
		t.Errorf("%s: %s", status, says)
	}
	got := g.sim.Exchange.Folder("invoices@contoso.com", "INBOX")
	if len(got) != 1 || !strings.Contains(string(got[0].Raw), "This is the body of the test message.") {
		t.Errorf("%d messages arrived", len(got))
	}
	const denied = "554 5.2.252 SendAsDenied; scan@contoso.com not allowed to send as scan@contoso.com; STOREDRV.Submission.Exception:SendAsDeniedException"
	g.sim.World.Arm(world.Fault{Where: "smtp", Stage: "dot", Kind: world.FaultReply, Code: denied})
	r, code = g.checks("", send...)
	if st := r[0].failed(t); code != 3 || st.Name != "test mail" || !strings.Contains(st.Command, "Add-RecipientPermission") {
		t.Errorf("exit %d, %+v", code, st)
	}
	g.postern("accounts", "simulate", "scan", "on")
	g.fails(2, "", append([]string{"check"}, send...), "simulation is on")
}

// TestCheckOfATask looks for the folders it reads and moves to.
func TestCheckOfATask(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.setUp(`tasks:
  - {name: bills, account: invoices, handover: {directory: ` + g.inbox() + `}, after: move Done}
  - {name: makes, account: invoices, handover: {directory: ` + g.inbox() + `}, after: move Made, make_folders: true}
`)
	r, code := g.checks("", "invoices", "--task", "bills")
	if st := r[0].failed(t); code != 3 || st.Name != "mailbox" || !strings.Contains(st.Summary, `no folder "Done"`) {
		t.Errorf("exit %d, %+v", code, st)
	}
	if r, code := g.checks("", "invoices", "--task", "makes"); code != 0 {
		t.Errorf("exit %d, %+v", code, r)
	}
	if _, says := r[0].stage(t, "mailbox"); says == "" {
		t.Error("nothing is said of the mailbox")
	}
	g.fails(2, "", []string{"check", "scan", "--task", "bills"}, `task "bills" reads account "invoices"`)
	g.fails(4, "", []string{"check", "invoices", "--task", "nobody"}, "nobody")
}
