package vault_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// poller is a vault whose clock runs on each time it is looked at, so that a provider
// never finds it polling too fast. look hears how often that was.
func (s *stand) poller(look func(n int)) *vault.Vault {
	n := 0
	return vault.Open(vault.Config{
		Store: s.db, Sealer: s.sealer, Entra: entra.New(s.clock, outbound.Network{}), PublicURL: s.back.URL, Holder: "poller",
		Now: func() time.Time {
			n++
			look(n)
			s.pass(6 * time.Second)
			return s.clock()
		},
		Log: slog.New(slog.NewTextHandler(s, nil)), Catalogue: s.words,
	})
}

// typesCode is a person at the page a device names; decline makes them think better
// of it at the end.
func (s *stand) typesCode(d vault.DeviceSignIn, upn string, decline bool) {
	s.Helper()
	v := visitor.New(s.cloud.CA)
	p, err := v.Get(s.Context(), d.Page+"?otc="+d.UserCode)
	s.must(err)
	for _, fill := range []map[string]string{nil, {"loginfmt": upn}, {"passwd": password}} {
		p, err = v.Submit(s.Context(), p, p.Forms[0], fill, "")
		s.must(err)
	}
	if decline {
		_, err = v.Submit(s.Context(), p, p.Forms[0], nil, "Cancel")
		s.must(err)
		return
	}
	p, err = v.Submit(s.Context(), p, p.Forms[0], nil, "Continue")
	if len(p.Forms) > 0 && err == nil { // nobody has consented yet
		p, err = v.Submit(s.Context(), p, p.Forms[0], nil, "Accept")
	}
	s.must(err)
	if !strings.Contains(p.Text, "You have signed in") {
		s.Fatalf("the page says %q", p.Text)
	}
}

func (s *stand) device() vault.DeviceSignIn {
	s.Helper()
	d, err := s.vault.BeginDevice(s.Context(), "scan")
	s.must(err)
	return d.Every(time.Millisecond)
}

func TestDeviceSignIn(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	d := s.device()
	if d.Account != "scan" || len(d.UserCode) < 6 || !strings.HasPrefix(d.Page, "https://") || !strings.Contains(d.Message, d.UserCode) || !d.Expires.Equal(s.clock().Add(15*time.Minute)) {
		t.Fatalf("device %+v", d)
	}
	came := false
	v := s.poller(func(n int) {
		if n == 7 { // some polls have gone by
			came = true
			s.typesCode(d, "scan@contoso.com", false)
		}
	})
	r, err := v.AwaitDevice(t.Context(), d)
	s.must(err)
	if !came || r.SignedInAs != "scan@contoso.com" || r.Account.State != vault.Active || r.Consented || !slices.Equal(r.Purposes, s.scan().Purposes) {
		t.Errorf("result %+v", r)
	}
	s.wantState(vault.Active)
	for _, p := range []vault.Purpose{vault.Send, vault.IMAP} {
		if tok, err := s.world.CheckToken(s.token(p, false)); err != nil || tok.UPN != "scan@contoso.com" || len(tok.Scopes) != 2 {
			t.Errorf("token %+v, %v", tok, err)
		}
	}
	s.wantAsked(0)
	s.wantNoSecret("the log", s.log.String())
	s.wantNoSecret("the store", s.store.dump())
	if _, err := s.poller(func(int) {}).AwaitDevice(t.Context(), d); err == nil {
		t.Error("the code worked twice")
	}
	s.wantState(vault.Active)
}

// A device request names one resource; tokens for another come from its refresh token.
func TestADeviceAsksForOneResource(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) {
		a.Permissions, a.AdminConsent[a.HomeTenant] = append(a.Permissions, "Mail.ReadWrite"), true
	})
	a := s.scan()
	a.Purposes = []vault.Purpose{vault.IMAP, vault.Graph}
	s.must(s.vault.PutAccount(t.Context(), a, nil))
	d := s.device()
	s.typesCode(d, "scan@contoso.com", false)
	_, err := s.vault.AwaitDevice(t.Context(), d)
	s.must(err)
	got, err := s.vault.Describe(t.Context(), "scan")
	s.must(err)
	if len(got.Access) != 1 || got.Access[0].Resource != s.cloud.Outlook || !slices.Equal(got.Scopes, []string{s.cloud.Outlook + "/IMAP.AccessAsUser.All"}) {
		t.Errorf("after the sign-in: %+v", got)
	}
	if tok, err := s.world.CheckToken(s.token(vault.Graph, false)); err != nil || tok.Resource != world.GraphResource {
		t.Errorf("token %+v, %v", tok, err)
	}
}

func TestDeviceSignInFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(*stand, vault.DeviceSignIn) // before it polls
		look   func(s *stand, d vault.DeviceSignIn, cancel func(), n int)
		kind   fault.Kind
		is     error
		says   string
		alone  bool // it has no next step
	}{
		"declined": {before: func(s *stand, d vault.DeviceSignIn) { s.typesCode(d, "scan@contoso.com", true) },
			kind: fault.Denied, says: "authorization_declined"},
		"nobody came":   {kind: fault.NotFound, says: "nobody signed in with the code"},
		"wrong account": {before: func(s *stand, d vault.DeviceSignIn) { s.typesCode(d, "eve@contoso.com", false) }, kind: fault.Denied, is: vault.ErrWrongMailbox, says: "eve@contoso.com"},
		"given up": {look: func(_ *stand, _ vault.DeviceSignIn, cancel func(), n int) {
			if n == 5 {
				cancel()
			}
		}, kind: fault.Temporary, is: context.Canceled, alone: true},
		"down to the end": {before: func(s *stand, _ vault.DeviceSignIn) {
			s.world.Arm(world.Fault{Where: "token", Kind: world.FaultStatus, Code: "503", Times: -1})
		}, look: func(s *stand, _ vault.DeviceSignIn, _ func(), _ int) { s.pass(time.Minute) }, kind: fault.NotFound, says: "nobody signed in with the code"},
		"the app is refused": {before: func(s *stand, _ vault.DeviceSignIn) {
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.SecretExpired = true })
		}, kind: fault.NeedsAdmin, says: "client secret"},
		"the account is gone": {before: func(s *stand, _ vault.DeviceSignIn) { s.must(s.vault.DeleteAccount(s.Context(), "scan")) }, kind: fault.NotFound, alone: true},
		"the account has another app": {look: func(s *stand, d vault.DeviceSignIn, _ func(), n int) {
			if n == 3 {
				s.typesCode(d, "scan@contoso.com", false)
				app, err := s.vault.App(s.Context(), "m365")
				s.must(err)
				app.Name = "other"
				s.must(s.vault.PutApp(s.Context(), app, vault.Proof{}))
				a := s.scan()
				a.App = "other"
				s.must(s.vault.PutAccount(s.Context(), a, nil))
			}
		}, kind: fault.Conflict, says: "another app"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t).explained()
			d := s.device()
			if c.before != nil {
				c.before(s, d)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := s.poller(func(n int) {
				if c.look != nil {
					c.look(s, d, cancel, n)
				}
			}).AwaitDevice(ctx, d)
			s.wantKind(err, c.kind)
			if (c.is != nil && !errors.Is(err, c.is)) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v", err)
			}
			if (fault.HintOf(err) == "") != c.alone {
				t.Errorf("%v has the next step %q", err, fault.HintOf(err))
			}
			if g, _ := s.store.Grant(t.Context(), "scan"); len(g.Refresh) > 0 {
				t.Error("a grant was kept")
			}
			s.wantNoSecret("the error", err.Error()+fault.HintOf(err))
		})
	}
}

// An outage is waited out: the code is good for as long as it says.
func TestDevicePollingOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]world.Fault{
		"503":     {Kind: world.FaultStatus, Code: "503", Times: 3},
		"dropped": {Kind: world.FaultDrop, Times: 3},
		"garbage": {Kind: world.FaultGarbage, Times: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			d := s.device()
			s.typesCode(d, "scan@contoso.com", false)
			f.Where = "token"
			s.world.Arm(f)
			_, err := s.poller(func(int) {}).AwaitDevice(t.Context(), d)
			s.must(err)
			if len(s.world.Faults()) != 0 {
				t.Error("it never failed")
			}
			s.wantState(vault.Active)
		})
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	down := fault.New(fault.Temporary, "poll", "down")
	patience := &fault.Error{Kind: fault.Throttled, Op: "poll", RetryAfter: 40 * time.Second}
	s := func(n ...time.Duration) []time.Duration {
		for i := range n {
			n[i] *= time.Second
		}
		return n
	}
	for _, c := range []struct {
		name  string
		told  []error
		waits []time.Duration
		again bool
	}{
		{"not yet", []error{entra.ErrPending, entra.ErrPending}, s(5, 5), true},
		{"slower for good", []error{entra.ErrSlowDown, entra.ErrPending, entra.ErrSlowDown, entra.ErrPending}, s(10, 10, 15, 15), true},
		{"an outage and its end", []error{down, down, down, entra.ErrPending, down}, s(10, 20, 40, 5, 10), true},
		{"a long outage", []error{down, down, down, down, down, down, down, down, down, down}, s(10, 20, 40, 80, 120, 120, 120, 120, 120, 120), true},
		{"asked for patience", []error{patience, entra.ErrPending}, s(40, 5), true},
		{"slower in an outage", []error{entra.ErrSlowDown, down}, s(10, 20), true},
		{"declined", []error{entra.ErrPending, fault.Denied}, s(5, 0), false},
		{"too late", []error{fault.NotFound}, s(0), false},
		{"refused", []error{fault.New(fault.NeedsAdmin, "poll", "no")}, s(0), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			waits, again := vault.Pace(5*time.Second, c.told...)
			if !slices.Equal(waits, c.waits) || again != c.again {
				t.Errorf("waits %v and again %v, want %v and %v", waits, again, c.waits, c.again)
			}
		})
	}
}

func TestBeginDeviceRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	s.must(s.put(vault.Application, "", vault.Send))
	_, err := s.vault.BeginDevice(t.Context(), "scan")
	s.wantKind(err, fault.Invalid)
	_, err = s.vault.BeginDevice(t.Context(), "nobody")
	s.wantKind(err, fault.NotFound)
	s.must(s.put(vault.Delegated, "", vault.Send))
	s.world.Arm(world.Fault{Where: "token", Stage: "devicecode", Kind: world.FaultStatus, Code: "503"})
	_, err = s.vault.BeginDevice(t.Context(), "scan")
	s.wantKind(err, fault.Temporary)
	clear := secret.New(s.app.Secret)
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "m365", Tenant: "contoso.com", ClientID: world.NewID(), Cloud: s.cloud}, vault.Proof{Secret: &clear}))
	_, err = s.vault.BeginDevice(t.Context(), "scan")
	s.wantKind(err, fault.NeedsAdmin)
	if !strings.Contains(err.Error(), "knows no app with the client id") || !strings.Contains(err.Error(), "AADSTS700016") || fault.HintOf(err) == "" {
		t.Errorf("%v, next %q", err, fault.HintOf(err))
	}
}
