package vault_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// trouble is something that goes wrong while nobody is there.
type trouble struct {
	name   string
	in     []string     // ways
	begin  func(*bench) // with an account that works, and a token that is spent
	mend   func(*bench) // what somebody does about it; nil where it passes by itself
	kind   fault.Kind   // Unknown: nothing is noticed
	says   string
	server bool // it is the mail server that refuses
}

func delegated() []string   { return []string{byCode, byDevice} }
func application() []string { return []string{bySecret, byCertificate} }
func users() []string       { return append(delegated(), byPassword) }
func secrets() []string     { return append(users(), bySecret) }
func tokens() []string      { return append(users(), application()...) }

// entraSays arms a fault of the token endpoint for every request from now on.
func entraSays(f world.Fault) func(*bench) {
	return func(b *bench) {
		f.Where, f.Times = "token", -1
		b.world.Arm(f)
	}
}

func aadsts(number string) func(*bench) {
	return entraSays(world.Fault{Kind: world.FaultReply, Code: "AADSTS" + number})
}

func (b *bench) disarm() {
	for _, f := range b.world.Faults() {
		b.world.Disarm(f.ID)
	}
}

// spoilGrant ends what a password was exchanged for, so that it is needed again.
func (b *bench) spoilGrant() { b.world.RevokeSessions("scan@contoso.com") }

func troubles() []trouble {
	return slices.Concat(credentialTroubles(), tenantTroubles(), personTroubles(), serverTroubles(), passingTroubles())
}

// credentialTroubles: the app cannot prove itself.
func credentialTroubles() []trouble {
	return []trouble{
		{name: "secret wrong", in: secrets(), kind: fault.NeedsAdmin, says: "AADSTS7000215",
			begin: func(b *bench) { b.entraApp(func(a *world.App) { a.Secret = "new8Q~" + world.Random(34) }) },
			mend:  (*bench).renewSecret},
		{name: "secret expired", in: secrets(), kind: fault.NeedsAdmin, says: "AADSTS7000222",
			begin: func(b *bench) { b.entraApp(func(a *world.App) { a.SecretExpired = true }) },
			mend:  (*bench).renewSecret},
		{name: "certificate not uploaded", in: []string{byCertificate}, kind: fault.NeedsAdmin, says: "AADSTS700027",
			begin: func(b *bench) {
				b.upload(nil)
				b.entraApp(func(a *world.App) { a.Secret = "new8Q~" + world.Random(34) })
			},
			mend: func(b *bench) {
				b.upload(b.reg.Certificate)
				b.entraApp(func(a *world.App) { a.Secret = "" })
				b.pass(15 * time.Minute)
			}},
	}
}

// tenantTroubles: the app is not what or where it should be.
func tenantTroubles() []trouble {
	probed := func(f func(*bench)) func(*bench) {
		return func(b *bench) { f(b); b.disarm(); b.pass(15 * time.Minute) }
	}
	back := func(b *bench) { b.register(func(*vault.App) {}) }
	return []trouble{
		{name: "client unknown", in: tokens(), kind: fault.NeedsAdmin, says: "AADSTS700016",
			begin: func(b *bench) { b.register(func(a *vault.App) { a.ClientID = world.NewID() }) }, mend: back},
		{name: "tenant unknown", in: tokens(), kind: fault.NeedsAdmin, says: "AADSTS90002",
			begin: func(b *bench) { b.register(func(a *vault.App) { a.Tenant = "fabrikam.example" }) }, mend: back},
		{name: "resource missing", in: tokens(), kind: fault.NeedsAdmin, says: "AADSTS500011",
			begin: func(b *bench) {
				b.register(func(a *vault.App) {
					a.Cloud.Outlook, a.Cloud.AppOnly = "https://nowhere.example", "https://nowhere.example"
				})
			}, mend: back},
		{name: "app disabled", in: tokens(), kind: fault.NeedsAdmin, says: "AADSTS7000112",
			begin: func(b *bench) { b.entraApp(func(a *world.App) { a.Disabled = true }) },
			mend:  probed(func(b *bench) { b.entraApp(func(a *world.App) { a.Disabled = false }) })},
		{name: "consent taken back", in: users(), kind: fault.NeedsSignIn, says: "AADSTS65001",
			begin: func(b *bench) { b.consented(false) },
			mend:  func(b *bench) { b.consented(true); b.arrive() }},
		{name: "app without roles", in: application(), kind: fault.NeedsAdmin, says: "535", server: true,
			begin: func(b *bench) { b.consented(false) },
			mend:  probed(func(b *bench) { b.consented(true) })},
		{name: "app not installed", in: application(), kind: fault.NeedsAdmin, says: "AADSTS7000229",
			begin: aadsts("7000229"), mend: probed(func(*bench) {})},
		{name: "an administrator must agree", in: users(), kind: fault.NeedsAdmin, says: "AADSTS90094",
			begin: aadsts("90094"), mend: probed(func(*bench) {})},
		{name: "Conditional Access", in: users(), kind: fault.NeedsAdmin, says: "AADSTS53003",
			begin: func(b *bench) { b.policy(func(p *world.TenantPolicy) { p.ConditionalAccess = true }) },
			mend:  probed(func(b *bench) { b.policy(func(p *world.TenantPolicy) { p.ConditionalAccess = false }) })},
		{name: "Conditional Access for apps", in: application(), kind: fault.NeedsAdmin, says: "AADSTS53003",
			begin: aadsts("53003"), mend: probed(func(*bench) {})},
		{name: "Security Defaults", in: []string{byPassword}, kind: fault.NeedsAdmin, says: "AADSTS530035",
			begin: func(b *bench) { b.spoilGrant(); b.policy(func(p *world.TenantPolicy) { p.SecurityDefaults = true }) },
			mend:  probed(func(b *bench) { b.policy(func(p *world.TenantPolicy) { p.SecurityDefaults = false }) })},
		{name: "user disabled", in: users(), kind: fault.NeedsAdmin, says: "AADSTS50057",
			begin: func(b *bench) { b.user(func(u *world.User) { u.Disabled = true }) },
			mend:  probed(func(b *bench) { b.user(func(u *world.User) { u.Disabled = false }) })},
	}
}

// personTroubles: somebody must sign in, or enter a password.
func personTroubles() []trouble {
	again := func(f func(*world.User)) func(*bench) {
		return func(b *bench) { b.user(f); b.disarm(); b.arrive() }
	}
	return []trouble{
		{name: "sessions revoked", in: delegated(), kind: fault.NeedsSignIn, says: "AADSTS50173",
			begin: (*bench).spoilGrant, mend: (*bench).arrive},
		{name: "sessions revoked, and the password at hand", in: []string{byPassword}, begin: (*bench).spoilGrant},
		{name: "left for too long", in: delegated(), kind: fault.NeedsSignIn, says: "AADSTS700082",
			begin: func(b *bench) { b.pass(91 * 24 * time.Hour) }, mend: (*bench).arrive},
		{name: "a second factor", in: delegated(), kind: fault.NeedsSignIn, says: "AADSTS50076",
			begin: aadsts("50076"), mend: func(b *bench) { b.disarm(); b.arrive() }},
		{name: "a second factor for a password", in: []string{byPassword}, kind: fault.NeedsSignIn, says: "AADSTS50076",
			begin: func(b *bench) { b.spoilGrant(); b.user(func(u *world.User) { u.MFA = true }) },
			mend:  again(func(u *world.User) { u.MFA = false })},
		{name: "password wrong", in: []string{byPassword}, kind: fault.NeedsSignIn, says: "AADSTS50126",
			begin: func(b *bench) { b.spoilGrant(); b.user(func(u *world.User) { u.Password = "Another-Horse-8" }) },
			mend:  again(func(u *world.User) { u.Password = password })},
		{name: "locked", in: []string{byPassword}, kind: fault.NeedsSignIn, says: "AADSTS50053",
			begin: func(b *bench) { b.spoilGrant(); b.user(func(u *world.User) { u.Locked = true }) },
			mend:  again(func(u *world.User) { u.Locked = false })},
		{name: "no such user", in: []string{byPassword}, kind: fault.NeedsSignIn, says: "AADSTS50034",
			begin: aadsts("50034"), mend: again(func(*world.User) {})},
		{name: "app password withdrawn", in: []string{byAppPassword}, kind: fault.NeedsSignIn, says: "credentials were incorrect", server: true,
			begin: func(b *bench) { b.user(func(u *world.User) { u.AppPassword = "qrstuvwxyzqrstuv" }) },
			mend:  again(func(u *world.User) { u.AppPassword = appPassword })},
		{name: "mailbox locked", in: []string{byAppPassword}, kind: fault.NeedsSignIn, says: "535", server: true,
			begin: func(b *bench) { b.user(func(u *world.User) { u.Locked = true }) },
			mend:  again(func(u *world.User) { u.Locked = false })},
	}
}

// serverTroubles: Entra gives a token, and the mail server does not want it; or it does
// not want a password.
func serverTroubles() []trouble {
	type policy = func(*world.TenantPolicy)
	sends := append(delegated(), application()...)
	switched := func(name, says string, in []string, off, on policy) trouble {
		t := trouble{name: name, in: in, says: says, server: true, kind: fault.NeedsAdmin, begin: func(b *bench) { b.policy(off) }}
		t.mend = func(b *bench) { b.policy(on); b.pass(15 * time.Minute) }
		if slices.Contains(in, byAppPassword) { // a refused password is not tried again by machine
			t.kind, t.mend = fault.NeedsSignIn, func(b *bench) { b.policy(on); b.arrive() }
		}
		return t
	}
	app := []string{byAppPassword}
	smtpOff, smtpOn := func(p *world.TenantPolicy) { p.SMTPAuthDisabled = true }, func(p *world.TenantPolicy) { p.SMTPAuthDisabled = false }
	return []trouble{
		switched("SMTP AUTH off", "SmtpClientAuthentication is disabled", sends, smtpOff, smtpOn),
		switched("SMTP AUTH off for passwords", "SmtpClientAuthentication is disabled", app, smtpOff, smtpOn),
		switched("basic authentication off", "basic authentication is disabled", app,
			func(p *world.TenantPolicy) { p.BasicAuthDisabled = true }, func(p *world.TenantPolicy) { p.BasicAuthDisabled = false }),
		switched("Security Defaults at the mail server", "security defaults", app,
			func(p *world.TenantPolicy) { p.SecurityDefaults = true }, func(p *world.TenantPolicy) { p.SecurityDefaults = false }),
		switched("Conditional Access at the mail server", "did not meet the criteria", app,
			func(p *world.TenantPolicy) { p.ConditionalAccess = true }, func(p *world.TenantPolicy) { p.ConditionalAccess = false }),
		{name: "basic authentication retired", in: app, kind: fault.NeedsAdmin, says: "5.7.30", server: true,
			begin: func(b *bench) { b.policy(func(p *world.TenantPolicy) { p.BasicAuthRetired = true }) },
			mend: func(b *bench) {
				b.policy(func(p *world.TenantPolicy) { p.BasicAuthRetired = false })
				b.pass(15 * time.Minute)
			}},
		{name: "service principal missing in Exchange", in: application(), kind: fault.NeedsAdmin, says: "535", server: true,
			begin: func(b *bench) { b.entraApp(func(a *world.App) { a.Registered[a.HomeTenant] = false }) },
			mend: func(b *bench) {
				b.entraApp(func(a *world.App) { a.Registered[a.HomeTenant] = true })
				b.pass(15 * time.Minute)
			}},
	}
}

// passingTroubles: nobody need act, and nobody is told.
func passingTroubles() []trouble {
	mail := func(stage string, f world.Fault) func(*bench) {
		return func(b *bench) {
			f.Where, f.Stage, f.Times = "smtp", stage, -1
			b.world.Arm(f)
		}
	}
	return []trouble{
		{name: "429", in: tokens(), kind: fault.Throttled, says: "429", begin: entraSays(world.Fault{Kind: world.FaultStatus, Code: "429", Delay: 2 * time.Minute})},
		{name: "503", in: tokens(), kind: fault.Temporary, says: "503", begin: entraSays(world.Fault{Kind: world.FaultStatus, Code: "503"})},
		{name: "temporarily unavailable", in: tokens(), kind: fault.Temporary, says: "AADSTS90033", begin: aadsts("90033")},
		{name: "a loop", in: tokens(), kind: fault.Throttled, says: "AADSTS50196", begin: aadsts("50196")},
		{name: "garbage", in: tokens(), kind: fault.Temporary, begin: entraSays(world.Fault{Kind: world.FaultGarbage})},
		{name: "dropped before the work", in: tokens(), kind: fault.Temporary, begin: entraSays(world.Fault{Kind: world.FaultDrop})},
		{name: "dropped after the work", in: tokens(), kind: fault.Temporary, begin: entraSays(world.Fault{Kind: world.FaultDropAfter})},
		{name: "slow", in: tokens(), begin: entraSays(world.Fault{Kind: world.FaultSlow, Delay: 20 * time.Millisecond})},
		{name: "mail server busy", in: []string{byAppPassword}, kind: fault.Throttled, says: "432", begin: mail("auth", world.Fault{Kind: world.FaultReply, Code: "432 4.3.2 Concurrent connections limit exceeded."})},
		{name: "mail server stops", in: []string{byAppPassword}, kind: fault.Temporary, says: "421", begin: mail("greeting", world.Fault{Kind: world.FaultReply, Code: "421 4.4.2 Connection dropped"})},
		{name: "mail server garbage", in: []string{byAppPassword}, kind: fault.Temporary, begin: mail("greeting", world.Fault{Kind: world.FaultGarbage})},
		{name: "mail server drops before the work", in: []string{byAppPassword}, kind: fault.Temporary, begin: mail("auth", world.Fault{Kind: world.FaultDrop})},
		{name: "mail server drops after the work", in: []string{byAppPassword}, kind: fault.Temporary, begin: mail("auth", world.Fault{Kind: world.FaultDropAfter})},
		{name: "mail server slow", in: []string{byAppPassword}, begin: mail("auth", world.Fault{Kind: world.FaultSlow, Delay: 20 * time.Millisecond})},
	}
}

// The one contract of all grants: whatever goes wrong, the kind of the error, the state
// of the account, on whose word, and what is said follow from it; nobody is asked in
// vain, nobody is alarmed twice, and afterwards everything works again.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, w)
			seen := 0
			for _, tr := range troubles() {
				if slices.Contains(tr.in, w.name) {
					seen++
					t.Run(tr.name, func(t *testing.T) { b.goThrough(t, tr) })
				}
			}
			if seen < 10 {
				t.Errorf("only %d troubles were gone through", seen)
			}
			b.wantKeptSecrets()
		})
	}
}

func (b *bench) goThrough(t *testing.T, tr trouble) {
	t.Helper()
	outer := b.T
	b.T = t
	defer func() { b.T = outer }()
	defer b.disarm()
	b.wantState(vault.Active)
	b.mu.Lock()
	told := len(b.alerts)
	b.mu.Unlock()

	b.pass(2 * time.Hour)
	tr.begin(b)
	err := b.use()
	switch state := b.stateOf(tr); {
	case tr.kind == fault.Unknown:
		b.must(err)
		b.wantAlertsSince(told)
	case state == vault.Active:
		b.wantRefusal(err, tr.kind, tr.says, tr.server)
		b.wantAlertsSince(told)
	default:
		b.wantRefusal(err, tr.kind, tr.says, tr.server)
		b.wantPause(state, tr)
		b.wantAlertsSince(told, "account_paused")
		b.wantQuiet(tr)
		b.wantAlertsSince(told, "account_paused")
	}
	if tr.mend != nil {
		tr.mend(b)
	} else {
		b.disarm()
		b.pass(10 * time.Minute)
	}
	b.vault.Pass(b.Context())
	b.must(b.use())
	b.wantState(vault.Active)
	if b.stateOf(tr) == vault.Active {
		b.wantAlertsSince(told)
		return
	}
	b.wantAlertsSince(told, "account_paused", "account_works")
}

// stateOf is the state that a trouble leaves the account in.
func (b *bench) stateOf(tr trouble) vault.State {
	switch {
	case tr.kind == fault.NeedsAdmin, tr.kind == fault.NeedsSignIn && b.method == vault.Application: // nobody can sign in to it
		return vault.NeedsAdmin
	case tr.kind == fault.NeedsSignIn:
		return vault.NeedsSignIn
	}
	return vault.Active
}

func (b *bench) wantPause(state vault.State, tr trouble) {
	b.Helper()
	a := b.wantState(state)
	by := vault.Provider
	if tr.server {
		by = vault.Server
	}
	if a.By != by || !strings.Contains(a.Reason, tr.says) {
		b.Errorf("paused by %s: %s; want by %s: %q", a.By, a.Reason, by, tr.says)
	}
	if probed := a.ProbeAt.After(b.clock()); probed != (state == vault.NeedsAdmin) {
		b.Errorf("probed at %v, in state %s", a.ProbeAt, state)
	}
	b.mu.Lock()
	last := b.alerts[len(b.alerts)-1]
	b.mu.Unlock()
	if last.Subject != "scan" || last.Next == "" || !strings.Contains(last.Text, tr.says) {
		b.Errorf("the alert says %+v", last)
	}
}

// wantQuiet: while a pause stands nobody is asked, by a message nor by the keeper.
func (b *bench) wantQuiet(tr trouble) {
	b.Helper()
	asked, logins := b.asked.Load(), b.world.Count("smtp_auth_refused")
	for range 3 {
		if !tr.server || b.stateOf(tr) == vault.NeedsSignIn { // what else a server paused is kept from it by the relay
			b.wantRefusal(b.use(), tr.kind, "", tr.server)
		}
		b.vault.Pass(b.Context())
		b.pass(time.Minute)
	}
	b.wantAsked(asked)
	if n := b.world.Count("smtp_auth_refused") - logins; n != 0 {
		b.Errorf("the mail server was asked %d times more", n)
	}
}
