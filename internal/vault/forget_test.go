package vault_test

import (
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

func TestDisconnect(t *testing.T) {
	t.Parallel()
	t.Run("a sign-in", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.signIn()
		s.must(s.vault.Disconnect(t.Context(), "scan"))
		s.wantState(vault.New)
		_, err := s.credential(vault.Send, vault.Cached)
		s.wantKind(err, fault.NeedsSignIn)
		if d, err := s.vault.Describe(t.Context(), "scan"); err != nil || d.SignedInAs != "" || len(d.Access) > 0 || !d.Until.IsZero() {
			t.Errorf("left over: %+v, %v", d, err)
		}
		s.signIn()
		s.wantState(vault.Active)
	})
	t.Run("a password", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.must(s.put(vault.AppPassword, "abcdefghijklmnop", vault.Send))
		s.must(s.vault.Disconnect(t.Context(), "scan"))
		if a := s.wantState(vault.New); len(a.Password) > 0 || !a.PasswordSet.IsZero() {
			t.Errorf("the password is still there: %+v", a)
		}
	})
	t.Run("an app's permission", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.must(s.put(vault.Application, "", vault.Send))
		s.wantKind(s.vault.Disconnect(t.Context(), "scan"), fault.Invalid)
	})
	t.Run("nobody", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.wantKind(s.vault.Disconnect(t.Context(), "nobody"), fault.NotFound)
	})
}

// An app that is made again does not find the key pair of the one before.
func TestDeletedAppTakesItsKeyAlong(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	app, err := s.vault.App(t.Context(), "m365")
	s.must(err)
	_, _, err = s.vault.NewCertificate(t.Context(), "m365", aYear)
	s.must(err)
	s.must(s.vault.DeleteAccount(t.Context(), "scan"))
	s.must(s.vault.DeleteApp(t.Context(), "m365"))
	s.must(s.vault.PutApp(t.Context(), app, vault.Proof{}))
	s.wantKind(s.vault.UseCertificate(t.Context(), "m365"), fault.NotFound)
}

// Exchange wants the Enterprise application's object id, which the app's token tells.
func TestDescribeNamesTheApplication(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.put(vault.Application, "", vault.Send))
	app, err := s.vault.App(t.Context(), "m365")
	s.must(err)
	d, err := s.vault.Describe(t.Context(), "scan")
	s.must(err)
	if all := strings.Join(vault.ExchangeCommands(d, app), "\n"); !strings.Contains(all, "OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION") {
		t.Errorf("without a token:\n%s", all)
	}
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.AdminConsent[a.HomeTenant] = true })
	_, err = s.credential(vault.Send, vault.Cached)
	s.must(err)
	d, err = s.vault.Describe(t.Context(), "scan")
	s.must(err)
	want := world.ServicePrincipalID(s.app.ClientID, s.app.HomeTenant)
	if all := strings.Join(vault.ExchangeCommands(d, app), "\n"); d.ObjectID != want || !strings.Contains(all, "-ObjectId "+want) {
		t.Errorf("%q, want %q:\n%s", d.ObjectID, want, all)
	}
}
