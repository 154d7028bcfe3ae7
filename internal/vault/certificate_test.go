package vault_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// aYear is how long the certificates here are good for.
const aYear = 365 * 24 * time.Hour

// newCertificate makes one for m365 and returns what to upload.
func (s *stand) newCertificate() (der []byte, thumbprint string) {
	s.Helper()
	text, thumbprint, err := s.vault.NewCertificate(s.Context(), "m365", aYear)
	s.must(err)
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		s.Fatalf("what is to upload is %q", text)
	}
	return block.Bytes, thumbprint
}

func (s *stand) upload(der []byte) {
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.Certificate = der })
}

func TestACertificateIsProvedBeforeItIsUsed(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	s.must(s.put(vault.Application, "", vault.Send))
	proof := func() string {
		c, err := s.credential(vault.Send, vault.Asked)
		s.must(err)
		tok, err := s.world.CheckToken(c.Token.Reveal())
		s.must(err)
		return tok.AppAuth
	}
	first, _ := s.newCertificate()
	der, thumbprint := s.newCertificate() // in place of the first
	leaf, err := x509.ParseCertificate(der)
	s.must(err)
	if thumbprint != fmt.Sprintf("%X", sha1.Sum(der)) || leaf.Subject.CommonName != "Postern m365" || !leaf.NotAfter.Equal(s.clock().Add(aYear)) {
		t.Errorf("certificate %s of %s until %s", thumbprint, leaf.Subject, leaf.NotAfter)
	}
	if kept := s.store.facts(); strings.Contains(kept, "PRIVATE KEY") || strings.Contains(kept, "80 82 73 86 65 84 69") {
		t.Error("the private key lies open in the database")
	}

	before := s.store.facts()
	for name, uploaded := range map[string][]byte{"nothing uploaded": nil, "the first one uploaded": first} {
		s.upload(uploaded)
		err = s.vault.UseCertificate(t.Context(), "m365")
		s.wantKind(err, fault.NeedsAdmin)
		if r := fault.ReplyOf(err); r == nil || r.Enhanced != "700027" || !strings.Contains(fault.HintOf(err), thumbprint) || !strings.Contains(err.Error(), "AADSTS700027") {
			t.Errorf("%s: %v, next %q", name, err, fault.HintOf(err))
		}
		if s.store.facts() != before {
			t.Errorf("%s: something was stored", name)
		}
	}
	if by := proof(); by != "1" {
		t.Errorf("the app proves itself by %q, and should go on with its secret", by)
	}

	s.upload(der)
	s.world.Arm(world.Fault{Where: "token", Kind: world.FaultStatus, Code: "503"})
	s.wantKind(s.vault.UseCertificate(t.Context(), "m365"), fault.Temporary)
	s.must(s.vault.UseCertificate(t.Context(), "m365"))
	app, err := s.vault.App(t.Context(), "m365")
	s.must(err)
	if !bytes.Equal(app.Certificate, der) || len(app.Key) == 0 || len(app.Secret) == 0 {
		t.Error("the app has another certificate, or lost its secret")
	}
	if by := proof(); by != "2" {
		t.Errorf("the app proves itself by %q, and should by its certificate", by)
	}
	err = s.vault.UseCertificate(t.Context(), "m365")
	s.wantKind(err, fault.NotFound)
	if h := fault.HintOf(err); !strings.Contains(h, "postern apps certificate m365 new") {
		t.Errorf("next %q", h)
	}
	der, _ = s.newCertificate() // and once more, where one was kept before
	s.upload(der)
	s.must(s.vault.UseCertificate(t.Context(), "m365"))
	s.wantNoSecret("the log", s.log.String())
}

// An app for many tenants has none to ask for a token in: one is found.
func TestACertificateOfAnAppForManyTenants(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.MultiTenant = true })
	clear := secret.New(s.app.Secret)
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "m365", Tenant: "organizations", ClientID: s.app.ClientID, Cloud: s.cloud}, vault.Proof{Secret: &clear}))
	s.must(s.vault.DeleteAccount(t.Context(), "scan"))
	der, _ := s.newCertificate()
	s.upload(der)
	use := func() error { return s.vault.UseCertificate(t.Context(), "m365") }

	err := use() // nobody says which tenants there are
	s.wantKind(err, fault.Invalid)
	if !strings.Contains(err.Error(), "organizations") || fault.HintOf(err) == "" {
		t.Errorf("%v, next %q", err, fault.HintOf(err))
	}
	shared := s.scan()
	shared.Shared, shared.Mailbox.Domain = true, "nowhere.example"
	s.must(s.vault.PutAccount(t.Context(), shared, nil))
	s.wantKind(use(), fault.NeedsAdmin) // a domain Entra knows nothing of
	s.signIn()
	s.must(use()) // in the tenant of whoever signed in

	der, _ = s.newCertificate()
	s.upload(der)
	s.must(s.vault.PutAccount(t.Context(), s.scan(), nil)) // another mailbox: its grant is gone
	s.must(use())                                          // in the tenant of its domain
}

func TestCertificateRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	s := newStand(t).explained()
	made := func(app string, life time.Duration) error {
		text, thumbprint, err := s.vault.NewCertificate(t.Context(), app, life)
		if err != nil && text+thumbprint != "" {
			t.Error("a certificate that was not kept is given out")
		}
		return err
	}
	s.wantKind(made("nobody", aYear), fault.NotFound)
	s.wantKind(made("m365", time.Minute), fault.Invalid)
	s.wantKind(made("m365", -aYear), fault.Invalid)
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "hosts", Cloud: s.cloud}, vault.Proof{}))
	s.wantKind(made("hosts", aYear), fault.Invalid)
	s.wantKind(s.vault.UseCertificate(t.Context(), "hosts"), fault.Invalid)
	s.wantKind(s.vault.UseCertificate(t.Context(), "nobody"), fault.NotFound)
	s.wantKind(s.vault.UseCertificate(t.Context(), "m365"), fault.NotFound)

	der, _ := s.newCertificate()
	s.upload(der)
	s.pass(2 * aYear)
	err := s.vault.UseCertificate(t.Context(), "m365")
	s.wantKind(err, fault.NeedsAdmin)
	if !strings.Contains(err.Error(), "ended on") {
		t.Errorf("it says %v", err)
	}
	app, err := s.vault.App(t.Context(), "m365")
	s.must(err)
	if len(app.Certificate) > 0 {
		t.Error("a certificate that had ended was put in place")
	}
	s.store.damage()
	if err := s.vault.UseCertificate(t.Context(), "m365"); !errors.Is(err, fault.NeedsAdmin) || !strings.Contains(fault.HintOf(err), "m365 new") {
		t.Errorf("a seal that is broken: %v", err)
	}
	s.must(made("m365", aYear)) // a new pair mends it
}

// damage changes an octet of every sealed setting.
func (m *memory) damage() {
	defer m.lock()()
	for k, v := range m.settings {
		if len(v) > 0 {
			v = bytes.Clone(v)
			v[len(v)-1] ^= 1
			m.settings[k] = v
		}
	}
}
