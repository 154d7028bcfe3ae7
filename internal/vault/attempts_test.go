package vault_test

import (
	"slices"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// misfortune is something that goes wrong while somebody signs in.
type misfortune struct {
	name  string
	in    []string
	begin func(*bench) // before they begin
	try   attempt
	mend  func(*bench) // before they try once more
	kind  fault.Kind   // Unknown: they get through all the same
	says  string
}

func misfortunes() []misfortune {
	return slices.Concat(misfortunesOfPeople(), misfortunesOfApps(), misfortunesOfTheNetwork())
}

// misfortunesOfPeople: who signs in, and how.
func misfortunesOfPeople() []misfortune {
	asksConsent := func(b *bench) { b.consented(false) }
	consents := func(b *bench) {
		b.policy(func(p *world.TenantPolicy) { p.AdminConsentNeeded, p.DeviceCodeBlocked = false, false })
		b.consented(true)
	}
	onlyAdmins := func(b *bench) {
		b.consented(false)
		b.policy(func(p *world.TenantPolicy) { p.AdminConsentNeeded = true })
	}
	code, device := []string{byCode}, []string{byDevice}
	return []misfortune{
		{name: "declined", in: code, begin: asksConsent, try: attempt{button: "Cancel"}, mend: consents, kind: fault.Denied, says: "AADSTS65004"},
		{name: "declined on the device page", in: device, try: attempt{button: "Cancel"}, kind: fault.Denied, says: "AADSTS70017"},
		{name: "an administrator must agree", in: code, begin: onlyAdmins, mend: consents, kind: fault.Denied, says: "AADSTS90094"},
		{name: "an administrator must agree to a device", in: device, begin: onlyAdmins, mend: consents, kind: fault.Denied, says: "AADSTS70017"},
		{name: "consent is asked for and given", in: delegated(), begin: asksConsent, mend: consents},
		{name: "another person", in: delegated(), try: attempt{as: "eve@contoso.com"}, kind: fault.Denied, says: "eve@contoso.com"},
		{name: "a second factor", in: delegated(), begin: func(b *bench) { b.user(func(u *world.User) { u.MFA = true }) },
			mend: func(b *bench) { b.user(func(u *world.User) { u.MFA = false }) }},
		{name: "too slow", in: code, try: attempt{idle: 11 * time.Minute}, kind: fault.NotFound, says: "longer than 10 minutes"},
		{name: "nobody came", in: device, try: attempt{idle: 16 * time.Minute}, kind: fault.NotFound, says: "nobody signed in with the code"},
		{name: "another browser", in: code, try: attempt{from: "the-cookie-of-another"}, kind: fault.Denied, says: "another browser"},
		{name: "device codes are blocked", in: device, kind: fault.NeedsSignIn, says: "AADSTS53003", mend: consents,
			try: attempt{late: func(b *bench) { b.policy(func(p *world.TenantPolicy) { p.DeviceCodeBlocked = true }) }}},
		{name: "blocked by Conditional Access at the end", in: delegated(), kind: fault.NeedsSignIn, says: "AADSTS53003",
			try:  attempt{late: func(b *bench) { b.policy(func(p *world.TenantPolicy) { p.ConditionalAccess = true }) }},
			mend: func(b *bench) { b.policy(func(p *world.TenantPolicy) { p.ConditionalAccess = false }) }},
		{name: "sessions revoked meanwhile", in: delegated(), kind: fault.NeedsSignIn, says: "AADSTS50173", try: attempt{late: (*bench).spoilGrant}},
	}
}

// misfortunesOfApps: the person is through, and the app is refused.
func misfortunesOfApps() []misfortune {
	return []misfortune{
		{name: "secret wrong", in: delegated(), kind: fault.NeedsAdmin, says: "AADSTS7000215", mend: (*bench).renewSecret,
			try: attempt{late: func(b *bench) { b.entraApp(func(a *world.App) { a.Secret = "new8Q~" + world.Random(34) }) }}},
		{name: "secret expired", in: delegated(), kind: fault.NeedsAdmin, says: "AADSTS7000222", mend: (*bench).renewSecret,
			try: attempt{late: func(b *bench) { b.entraApp(func(a *world.App) { a.SecretExpired = true }) }}},
		{name: "app disabled", in: delegated(), kind: fault.NeedsAdmin, says: "AADSTS7000112",
			try:  attempt{late: func(b *bench) { b.entraApp(func(a *world.App) { a.Disabled = true }) }},
			mend: func(b *bench) { b.entraApp(func(a *world.App) { a.Disabled = false }) }},
		{name: "consent gone", in: delegated(), kind: fault.NeedsSignIn, says: "AADSTS65001",
			try:  attempt{late: func(b *bench) { b.consented(false) }},
			mend: func(b *bench) { b.consented(true) }},
	}
}

// misfortunesOfTheNetwork: a code is redeemed once, so that its person begins again; a
// device's is asked for until it is there.
func misfortunesOfTheNetwork() []misfortune {
	once := func(f world.Fault) attempt {
		f.Where = "token"
		return attempt{late: func(b *bench) { b.world.Arm(f) }}
	}
	both := func(name string, kind fault.Kind, says string, f world.Fault) []misfortune {
		return []misfortune{
			{name: name, in: []string{byCode}, kind: kind, says: says, try: once(f)},
			{name: name + " at a poll", in: []string{byDevice}, try: once(f)},
		}
	}
	return slices.Concat(
		both("429", fault.Throttled, "429", world.Fault{Kind: world.FaultStatus, Code: "429"}),
		both("503", fault.Temporary, "503", world.Fault{Kind: world.FaultStatus, Code: "503"}),
		both("temporarily unavailable", fault.Temporary, "AADSTS90033", world.Fault{Kind: world.FaultReply, Code: "AADSTS90033"}),
		both("garbage", fault.Temporary, "", world.Fault{Kind: world.FaultGarbage}),
		both("dropped before the work", fault.Temporary, "", world.Fault{Kind: world.FaultDrop}),
		[]misfortune{
			{name: "dropped after the work", in: []string{byCode}, kind: fault.Temporary, try: once(world.Fault{Kind: world.FaultDropAfter})},
			{name: "dropped after the work of a poll", in: []string{byDevice}, kind: fault.NeedsSignIn, says: "AADSTS54005",
				try: once(world.Fault{Kind: world.FaultDropAfter})},
			{name: "slow", in: delegated(), try: once(world.Fault{Kind: world.FaultSlow, Delay: 20 * time.Millisecond})},
		},
	)
}

// Whoever signs in hears what went wrong, in the page they wait at: nothing is stored,
// what worked before goes on working, nobody is alarmed; and the next attempt succeeds.
func TestSignInConformance(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		if w.person == nil {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, w)
			for _, m := range misfortunes() {
				if slices.Contains(m.in, w.name) {
					t.Run(m.name, func(t *testing.T) { b.undergo(t, m) })
				}
			}
			b.wantKeptSecrets()
		})
	}
}

func (b *bench) undergo(t *testing.T, m misfortune) {
	t.Helper()
	outer := b.T
	b.T = t
	defer func() { b.T = outer }()
	b.wantState(vault.Active)
	before, err := b.db.Grant(b.Context(), "scan")
	b.must(err)
	if m.begin != nil {
		m.begin(b)
	}
	err = b.person(b, m.try)
	if m.kind == fault.Unknown {
		b.must(err)
	} else {
		b.wantRefusal(err, m.kind, m.says, false)
		if after, err := b.db.Grant(b.Context(), "scan"); err != nil || after.Generation != before.Generation {
			b.Errorf("generation %d became %d, %v", before.Generation, after.Generation, err)
		}
	}
	b.wantState(vault.Active)
	if left := len(b.world.Faults()); left != 0 {
		b.Errorf("%d faults never struck", left)
	}
	b.disarm()
	if m.mend != nil {
		m.mend(b)
	}
	b.arrive()
	b.wantAlertsSince(0)
}

// A callback that comes twice finds its state used up, and the grant of the first stays.
func TestACallbackWorksOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, ways()[0])
	err := b.person(b, attempt{times: 2})
	b.wantRefusal(err, fault.NotFound, "finished already", false)
	b.must(b.use())
	b.wantAlertsSince(0)
}

// The id of a secret in its place is seen before anybody is asked, whatever the method.
func TestTheIDOfASecretIsRefused(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		if w.method == vault.AppPassword {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, w)
			asked := b.asked.Load()
			id := secret.New(b.app.SecretID)
			err := b.vault.PutApp(t.Context(), b.reg, vault.Proof{Secret: &id})
			b.wantKind(err, fault.Invalid)
			if fault.HintOf(err) == "" {
				t.Errorf("%v has no next step", err)
			}
			b.wantNoSecret("the error", err.Error())
			b.wantAsked(asked)
			b.pass(2 * time.Hour)
			b.must(b.use()) // by the secret that was kept
			b.wantAlertsSince(0)
		})
	}
}
