package vault_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fault"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// Every AADSTS number of the catalogue, provoked at the token endpoint for each grant,
// leads to the state, the patience and the sentence that its row names.
func TestEveryNumberDoesWhatItsRowSays(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		if !slices.Contains([]string{byCode, bySecret, byPassword}, w.name) { // the others ask with the same grants
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, w)
			numbers := 0
			for _, row := range b.words.All() {
				for _, number := range row.Match.AADSTS {
					if number == "any" {
						number = "9999990"
					}
					numbers++
					t.Run(row.ID+" "+number, func(t *testing.T) { b.provoke(t, row, number) })
				}
			}
			if numbers < 150 {
				t.Errorf("only %d numbers", numbers)
			}
			b.wantKeptSecrets()
		})
	}
}

// provoke lets Entra answer with a number, and looks at everything that follows.
func (b *bench) provoke(t *testing.T, row catalogue.Entry, number string) {
	t.Helper()
	outer := b.T
	b.T = t
	defer func() { b.T = outer }()
	b.wantState(vault.Active)
	b.mu.Lock()
	told := len(b.alerts)
	b.mu.Unlock()
	row = row.Fill(map[string]string{
		"mailbox": "scan@contoso.com", "domain": "contoso.com", "tenant": b.reg.Tenant, "client_id": b.reg.ClientID, "code": number,
	})
	b.pass(2 * time.Hour)
	if b.method == vault.Password {
		b.spoilGrant() // so that the password is what is refused
	}
	b.world.Arm(world.Fault{Where: "token", Stage: b.grantType(), Kind: world.FaultReply, Code: "AADSTS" + number, Times: -1})
	err := b.use()
	kind := b.kindOf(row, err)
	b.wantRefusal(err, kind, "AADSTS"+number, false)
	asked := b.asked.Load()
	switch kind {
	case fault.NeedsSignIn, fault.NeedsAdmin:
		b.wantSentence(err, row)
		b.wantAsking(asked, kind)
		b.wantAlertsSince(told, "account_paused")
	default:
		b.wantPatience(asked, row, err)
		b.wantAlertsSince(told)
	}
	b.disarm()
	b.mended(kind)
}

func (b *bench) grantType() string {
	switch b.method {
	case vault.Application:
		return "client_credentials"
	case vault.Password:
		return "password"
	}
	return "refresh_token"
}

// kindOf is what the row's class asks for. Nobody can sign in to an application. And a
// password that came back with the word for a refusal is not tried again by machine,
// even where the number says that it was no refusal.
func (b *bench) kindOf(row catalogue.Entry, err error) fault.Kind {
	b.Helper()
	said := fault.ReplyOf(err)
	if said == nil {
		b.Fatalf("%v tells nothing of Entra's answer", err)
	}
	refused := !slices.Contains([]string{"temporarily_unavailable", "server_error", "authorization_pending"}, said.Code)
	class := row.Class
	switch {
	case slices.Contains(row.Match.AADSTS, "any"):
		class = catalogue.NeedsSignIn // by the OAuth value alone
	case class == catalogue.Temporary && refused && b.method == vault.Password:
		class = catalogue.NeedsAdmin
		if said.Code == "invalid_grant" {
			class = catalogue.NeedsSignIn
		}
	}
	if class == catalogue.NeedsSignIn && b.method == vault.Application {
		class = catalogue.NeedsAdmin
	}
	switch class {
	case catalogue.NeedsSignIn:
		return fault.NeedsSignIn
	case catalogue.NeedsAdmin:
		return fault.NeedsAdmin
	case catalogue.Throttled:
		return fault.Throttled
	case catalogue.Temporary:
		return fault.Temporary
	}
	b.Fatalf("%s has class %s, and an account has no such state", row.ID, row.Class)
	return fault.Unknown
}

// wantSentence: what it means, Microsoft's own words, and what to do.
func (b *bench) wantSentence(err error, row catalogue.Entry) {
	b.Helper()
	a, getErr := b.vault.Account(b.Context(), "scan")
	b.must(getErr)
	if !strings.Contains(a.Reason, row.Meaning) || !strings.Contains(a.Reason, "Microsoft says: ") {
		b.Errorf("the reason is %q, want %q and Microsoft's words", a.Reason, row.Meaning)
	}
	if !strings.Contains(fault.HintOf(err), row.Fix) {
		b.Errorf("the next step is %q, want %q", fault.HintOf(err), row.Fix)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.alerts[len(b.alerts)-1]; !strings.Contains(last.Next, row.Fix) || !strings.Contains(last.Text, row.Meaning) {
		b.Errorf("the alert says %q, next %q", last.Text, last.Next)
	}
}

// wantAsking: where somebody must sign in, nobody asks; where an administrator must act,
// one request looks every 15 minutes.
func (b *bench) wantAsking(asked int64, kind fault.Kind) {
	b.Helper()
	look := func() {
		b.wantRefusal(b.use(), kind, "AADSTS", false)
		b.vault.Pass(b.Context())
	}
	b.pass(14 * time.Minute)
	look()
	b.wantAsked(asked)
	if kind == fault.NeedsSignIn {
		b.wantState(vault.NeedsSignIn)
		b.pass(time.Hour)
		look()
		b.wantAsked(asked)
		return
	}
	b.wantState(vault.NeedsAdmin)
	b.pass(time.Minute)
	look()
	probe := int64(1)
	if b.method == vault.Password { // … and its refresh token first, which is gone
		probe = 2
	}
	b.wantAsked(asked + probe)
	b.wantState(vault.NeedsAdmin)
}

// wantPatience: the account works on, the keeper leaves Entra alone for a while, and
// for minutes where the number says that there was too much of it.
func (b *bench) wantPatience(asked int64, row catalogue.Entry, err error) {
	b.Helper()
	b.wantState(vault.Active)
	b.vault.Pass(b.Context())
	b.wantAsked(asked)
	if e := fault.As(err); row.Class == catalogue.Throttled && e.RetryAfter < 2*time.Minute {
		b.Errorf("left alone for %v only", e.RetryAfter)
	}
}

// mended is what mends it: a person, an administrator and time, or time alone.
func (b *bench) mended(kind fault.Kind) {
	b.Helper()
	switch kind {
	case fault.NeedsSignIn:
		b.arrive()
	default:
		b.pass(15 * time.Minute)
		b.vault.Pass(b.Context())
	}
	b.must(b.use())
	b.wantState(vault.Active)
}
