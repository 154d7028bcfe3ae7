package test

import (
	"encoding/json"
	"strings"
	"testing"

	"postern/internal/alert"
	"postern/internal/sim365/world"
)

// TestHealth lets a running server check every account by itself, breaks one where only a
// check can see it, and mends it again.
func TestHealth(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	g.env = append(g.env, "POSTERN_CHECK_EVERY=1s", "POSTERN_ALERT_TASK_SILENT=1s")
	g.setUp(`tasks:
  - {name: bills, account: invoices, source: {folders: [Bills]}, handover: {directory: ` + g.inbox() + `}, schedule: {every: 1s}}
alerts:
  - {name: admins, account: scan, to: [invoices@contoso.com]}
`)
	type row struct{ Name, Check, Checked string }
	rows := func() map[string]row {
		var all []row
		if err := json.Unmarshal([]byte(g.postern("accounts", "list", "--json")), &all); err != nil {
			t.Fatal(err)
		}
		by := map[string]row{}
		for _, r := range all {
			by[r.Name] = r
		}
		return by
	}
	waitFor(t, "all accounts to be checked", func() bool {
		all := rows()
		return all["scan"].Check == "good" && all["invoices"].Check == "good" && strings.Contains(all["noauth"].Check, "switched off for the mailbox")
	})
	told := func(event alert.Event, what string) func() bool {
		return func() bool {
			for _, a := range g.alerts() {
				if a.News.Event == event && strings.Contains(a.News.What, what) {
					return true
				}
			}
			return false
		}
	}
	waitFor(t, "the failed check to be told", told(alert.CheckFailed, "account noauth (noauth@contoso.com) failed for send"))
	g.sim.World.SetPolicy("noauth@contoso.com", func(p *world.MailboxPolicy) { p.SMTPAuthDisabled = new(false) })
	waitFor(t, "the good one", told(alert.CheckGood, "account noauth"))
	waitFor(t, "the silence of a task whose folder is not there", told(alert.TaskSilent, "task bills"))
	if told(alert.CheckFailed, "account scan")() || told(alert.CheckFailed, "account invoices")() {
		t.Errorf("a good account is told of: %+v", g.alerts())
	}

	out, errOut, code := g.try("", "check", "--last", "scan")
	if code != 0 || !strings.Contains(out, "Connection successful") || strings.Contains(out, "Transcript") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	if out := g.postern("accounts", "show", "scan"); !strings.Contains(out, "checked        good, ") {
		t.Errorf("%s", out)
	}
	_, metrics := g.figures(g.token("figures", "", "metrics"))
	for _, want := range []string{`postern_check_good{account="scan",purpose="imap"} 1`, `postern_check_timestamp_seconds{account="scan",purpose="send"}`, `postern_checks_total{outcome="good",purpose="send"}`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	g.stop()
}
