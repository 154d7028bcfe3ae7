package web_test

import (
	"context"
	"strings"
	"sync"
	"time"

	"postern/internal/vault"
	"postern/internal/web"
)

// fakeIdentities notes what is done to accounts and apps.
type fakeIdentities struct {
	mu     sync.Mutex
	did    []string // who did what to whom
	refuse error    // answers everything
	blind  error    // answers the look at the checks
}

func (f *fakeIdentities) do(words ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse == nil {
		f.did = append(f.did, strings.Join(words, " "))
	}
	return f.refuse
}

func (f *fakeIdentities) HoldAccount(_ context.Context, who, account string, held bool) error {
	return f.do(who, map[bool]string{true: "pauses", false: "resumes"}[held], account)
}

func (f *fakeIdentities) RenameAccount(_ context.Context, who, account, to string) error {
	return f.do(who, "renames", account, to)
}

func (f *fakeIdentities) Disconnect(_ context.Context, who, account string) error {
	return f.do(who, "disconnects", account)
}

func (f *fakeIdentities) DeleteAccount(_ context.Context, who, account string) error {
	return f.do(who, "deletes account", account)
}

func (f *fakeIdentities) DeleteApp(_ context.Context, who, name string) error {
	return f.do(who, "deletes app", name)
}

func (f *fakeIdentities) NewCertificate(_ context.Context, who, app string, _ time.Duration) (pem, thumbprint string, err error) {
	return "PEM", "ABCD", f.do(who, "makes a certificate for", app)
}

func (f *fakeIdentities) UseCertificate(_ context.Context, who, app string) error {
	return f.do(who, "uses the certificate of", app)
}

// LastFound is one good check of scan and a bad one.
func (f *fakeIdentities) LastFound(_ context.Context, account string) ([]web.Checked, error) {
	at := time.Date(2026, 11, 3, 9, 30, 0, 0, time.UTC)
	if account != "" && account != "scan" {
		return nil, f.blind
	}
	return []web.Checked{{"scan", "imap", at, true, "Connection successful"}, {"scan", "send", at, false, "login failed: <b>no</b>"}}, f.blind
}

// Aside is a certificate that waits, for every app but the one without a client.
func (f *fakeVault) Aside(_ context.Context, app string) (vault.Shown, string, error) {
	if app != "contoso" {
		return vault.Shown{}, "", nil
	}
	at := time.Date(2026, 11, 3, 9, 30, 0, 0, time.UTC)
	return vault.Shown{Kind: "certificate", From: at, Until: at.AddDate(2, 0, 0), Thumbprint: "0123456789ABCDEF0123456789ABCDEF01234567"},
		"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", nil
}
