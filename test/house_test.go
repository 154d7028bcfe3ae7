package test

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"postern/internal/sim365/world"
)

// longMailbox is as long as names of departments get.
const longMailbox = "accounts-payable.invoices-and-reminders.emea@contoso.com"

// house is an installation with something of everything, so that each page has something
// to show.
type house struct {
	*bridged
	receiver *receiver // takes alerts
}

// newHouse starts one where nobody has been yet. People may come in by a provider.
func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{newBridged(t), newReceiver(t, 1)}
	h.env = append(h.env, "POSTERN_CA_FILE="+h.caFile(), "POSTERN_OIDC_AUTHORITY="+h.sim.Authority(), "POSTERN_OIDC_TENANT="+h.contoso.Tenant.Domains[0],
		"POSTERN_OIDC_CLIENT_ID="+h.contoso.App.ClientID, "POSTERN_OIDC_CLIENT_SECRET="+h.contoso.App.Secret, "POSTERN_OIDC_ALLOW=domain:contoso.com=viewer")
	h.consented()
	h.start()
	return h
}

// furnish fills it: accounts of each kind and in each state, devices, mail in each state,
// tasks that ran well and badly, people, alerts, checks, a reading program.
func (h *house) furnish(t *testing.T) {
	t.Helper()
	h.apply(h.inventory())
	for _, a := range []string{"scan", "invoices", "noauth"} {
		h.signIn(a, a+"@contoso.com")
	}
	h.tasks(t)
	h.letters(t)
	h.people(t)
	h.reader()
	for _, args := range [][]string{{"scan", "--for", "send"}, {"scan", "--for", "imap"}} {
		h.postern(append([]string{"check"}, args...)...)
	}
	h.troubles(t)
}

// inventory is the document of the house.
func (h *house) inventory() string {
	doc := strings.Replace(h.identities(), "secret: {env: CONTOSO_SECRET}", "secret: {env: CONTOSO_SECRET}\n    secret_expires: "+time.Now().AddDate(0, 0, 9).Format(time.DateOnly), 1)
	return doc + `  - {name: accounts-payable-invoices-and-reminders-emea, app: contoso, mailbox: ` + longMailbox + `, purposes: [send, imap], shared: true}
  - {name: rehearsal, app: contoso, mailbox: invoices@contoso.com, purposes: [send], sign_in: application, simulate: true, limits: {per_minute: 5}}
devices:
  - {name: scanner, account: scan, password: {env: DEVICE_PASSWORD}, networks: [127.0.0.0/8], senders: [scan@contoso.com], max_size: 10MB, per_minute: 30}
  - {name: fax, account: noauth, password: {env: DEVICE_PASSWORD}}
  - {name: actor, account: rehearsal, password: {env: DEVICE_PASSWORD}}
  - {name: multifunction-printer-second-floor-east-wing, account: accounts-payable-invoices-and-reminders-emea, password: {env: DEVICE_PASSWORD}, from: rewrite}
  - {name: old-fax, account: scan, password: {env: DEVICE_PASSWORD}, disabled: true}
` + strings.TrimPrefix(readers, "\n") + `tasks:
  - name: invoices
    account: machine
    source: {start: all}
    rules:
      - {name: orders, match: {subject: order}, take: {save: [attachments, eml]}}
      - {name: pdf, take: {names: ["*.pdf"]}}
    handover: {directory: ` + h.inbox() + `, path: "{filename}"}
    limits: {message: 4KB}
  - {name: letters-of-the-whole-house, account: scan, start: all, directory: ` + filepath.Join(h.dir, "letters") + `, disabled: true}
  - {name: broken, account: machine, folder: There-Is-No-Such-Folder, start: all, directory: ` + filepath.Join(h.dir, "none") + `}
alerts:
  - {name: admins, account: scan, to: [invoices@contoso.com], subject: "ALERT {{.Event}} {{.Account}}"}
  - {name: ops, webhook: "` + h.receiver.URL + `/hook", secret: {value: a secret of enough octets}, events: [account_needs_admin, account_needs_sign_in]}
`
}

// tasks run: one message is saved, another is too large.
func (h *house) tasks(t *testing.T) {
	t.Helper()
	h.invoice(t, 1, map[string]string{"a-rather-long-name-of-an-attachment-that-somebody-scanned-on-2026-11-21.pdf": "alpha"})
	h.invoice(t, 2, map[string]string{"a-rather-long-name-of-an-attachment-that-somebody-scanned-on-2026-11-21.pdf": strings.Repeat("beta", 2000)})
	h.invoice(t, 3, map[string]string{"notes.txt": "gamma"})
	_, _, _ = h.try("", "fetch", "run", "invoices") // it ends badly, for one message is parked
	_, _, _ = h.try("", "fetch", "run", "broken")
	if parked := h.ledger("--state", "parked"); len(parked) != 1 {
		t.Fatalf("%d entries are parked", len(parked))
	}
}

// letters brings mail into each state: delivered, failed, simulated, waiting, held.
func (h *house) letters(t *testing.T) {
	t.Helper()
	h.sim.World.Arm(world.Fault{Where: "smtp", Stage: "rcpt", Mailbox: "scan@contoso.com", Kind: world.FaultReply, Code: "550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", Times: 1})
	h.handIn(t, "scanner", "scan@contoso.com", "to nobody")
	within(t, time.Minute, "a message to fail", func() bool { return len(h.queue("--state", "failed")) == 1 })
	h.handIn(t, "scanner", "scan@contoso.com", "a scan")
	h.handIn(t, "actor", "invoices@contoso.com", "a rehearsal")
	h.handIn(t, "multifunction-printer-second-floor-east-wing", longMailbox, "AVeryLongSubjectWithoutAnyBlankInItThatHasToBreakSomewhereOrOther")
	h.handIn(t, "multifunction-printer-second-floor-east-wing", longMailbox, "Reminder: invoice 2026-4711 of the second floor is due")
	h.postern("queue", "hold", "--all", "--text", "2026-4711")
	for _, state := range []string{"delivered", "simulated", "queued", "held"} {
		waitFor(t, "a message that is "+state, func() bool { return len(h.queue("--state", state)) > 0 })
	}
}

func (h *house) handIn(t *testing.T, device, from, subject string) {
	t.Helper()
	c, err := h.loginAs(device, h.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := "<" + strings.ReplaceAll(subject, " ", "-") + "@house.example>"
	noError(t, submit(c, from, "someone.with.a.long.name@elsewhere.example", simpleMail(from, "someone.with.a.long.name@elsewhere.example", subject, id)))
}

// coderPassword is of the user who has an authenticator app.
const coderPassword = "correct horse battery staple"

// people are somebody of each role, one who is shut out and one who never came.
func (h *house) people(t *testing.T) {
	t.Helper()
	h.postern("users", "add", "bob", "--role", "operator")
	h.postern("users", "add", "carol", "--role", "viewer")
	h.postern("users", "disable", "carol")
	h.postern("users", "add", "invoices@contoso.com", "--mail", "invoices@contoso.com", "--by", "provider", "--role", "viewer")
	link := strings.TrimSpace(h.postern("users", "add", "coder", "--role", "viewer"))
	c := h.browserless()
	if status, _, body := h.form(c, strings.TrimPrefix(link, h.url()), "password", coderPassword, "again", coderPassword); status != http.StatusSeeOther {
		t.Fatalf("coder did not come in: %d\n%s", status, body)
	}
}

// oneTimeCode is what an app shows for the secret on a page.
func oneTimeCode(t *testing.T, page string) string {
	t.Helper()
	found := regexp.MustCompile(`name="secret" value="([A-Z2-7]+)"`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("the page has no secret:\n%s", page)
	}
	code, err := totp.GenerateCode(found[1], time.Now())
	noError(t, err)
	return code
}

// troubles bring one account to where it needs an administrator, and another to where it
// needs a sign-in, of which the alerts tell.
func (h *house) troubles(t *testing.T) {
	t.Helper()
	h.handIn(t, "fax", "noauth@contoso.com", "a fax")
	waitFor(t, "noauth to be paused", func() bool { return strings.Contains(h.postern("accounts", "list"), "needs_admin") })
	h.sim.World.RevokeSessions("invoices@contoso.com")
	newest := time.Now()
	waitFor(t, "the tokens to be a few seconds old", func() bool { return time.Since(newest) > 3*time.Second })
	_, _, _ = h.try("", "check", "invoices", "--for", "imap") // finds out
	h.has(t, "invoices", "needs_sign_in")
	waitFor(t, "an alert to be told", func() bool { return len(h.receiver.calls()) > 0 })
}
