package declare_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/secret"
	"postern/internal/vault"
)

const clientID = "11111111-2222-3333-4444-555555555555"

// pair makes a certificate and its key, both in PEM.
func pair(t *testing.T, key any, public any) (certificate, private string) {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "postern"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func rsaPair(t *testing.T) (certificate, private string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return pair(t, key, &key.PublicKey)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// exported is what export writes, which must hold none of the secrets.
func exported(t *testing.T, a declare.Applier, secrets ...string) string {
	t.Helper()
	doc, err := a.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := doc.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if strings.Contains(b.String(), s) {
			t.Errorf("the export shows %q:\n%s", s, b.String())
		}
	}
	return b.String()
}

func TestCertificateOfAnApp(t *testing.T) {
	t.Parallel()
	m := newMemory()
	certificate, key := rsaPair(t)
	a := m.applier(map[string]string{"KEY": key})
	doc := func(more string) declare.Document {
		return document(t, fmt.Sprintf("apps:\n  - {name: x, tenant: contoso.com, client_id: %s, certificate: {file: %q}%s}\n", clientID, write(t, "app.pem", certificate), more))
	}
	if got := apply(t, a, doc(", certificate_key: {env: KEY}")); got != "app x created" {
		t.Fatalf("first: %s", got)
	}
	block, _ := pem.Decode([]byte(certificate))
	if x := m.apps["x"]; !bytes.Equal(x.Certificate, block.Bytes) || string(x.Key) != "sealed key" {
		t.Errorf("kept: %d octets, key %q", len(x.Certificate), x.Key)
	}
	if got := apply(t, a, doc(", certificate_key: {env: KEY}")); got != "app x unchanged" {
		t.Errorf("again: %s", got)
	}
	if got := apply(t, a, doc("")); got != "app x unchanged" {
		t.Errorf("without its key: %s", got)
	}
	out := exported(t, a, "PRIVATE KEY", "certificate_key:")
	if !strings.Contains(out, "BEGIN CERTIFICATE") {
		t.Errorf("the certificate, which is public, is not exported:\n%s", out)
	}
	if got := apply(t, a, document(t, out)); got != "app x unchanged" || m.writes != 1 {
		t.Errorf("the export, %d writes: %s", m.writes, got)
	}
	other, otherKey := rsaPair(t)
	_, err := a.Apply(t.Context(), document(t, fmt.Sprintf("apps:\n  - {name: x, tenant: contoso.com, client_id: %s, certificate: {file: %q}}\n", clientID, write(t, "other.pem", other))))
	if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "without its key") || m.writes != 1 {
		t.Errorf("another certificate without key: %v", err)
	}
	a = m.applier(map[string]string{"KEY": otherKey})
	if got := apply(t, a, document(t, fmt.Sprintf("apps:\n  - {name: x, tenant: contoso.com, client_id: %s, certificate: {file: %q}, certificate_key: {env: KEY}}\n", clientID, write(t, "other.pem", other)))); got != "app x changed" {
		t.Errorf("another pair: %s", got)
	}
}

func TestBadCertificatesWriteNothing(t *testing.T) {
	t.Parallel()
	certificate, key := rsaPair(t)
	_, stranger := rsaPair(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	elliptical, ellipticalKey := pair(t, curve, &curve.PublicKey)
	head := "apps:\n  - {name: x, tenant: contoso.com, client_id: " + clientID
	for name, c := range map[string]struct{ text, cert, key, want string }{
		"key alone":     {", certificate_key: {env: KEY}}\n", "", key, "beside certificate_key"},
		"no PEM":        {", certificate: {env: CERT}}\n", "certainly not", "", "BEGIN CERTIFICATE"},
		"no PEM, key":   {", certificate: {env: CERT}, certificate_key: {env: KEY}}\n", "certainly not", key, "certificate:"},
		"key as cert":   {", certificate: {env: CERT}}\n", key, "", "no certificate"},
		"stranger":      {", certificate: {env: CERT}, certificate_key: {env: KEY}}\n", certificate, stranger, "certificate:"},
		"key is no key": {", certificate: {env: CERT}, certificate_key: {env: KEY}}\n", certificate, "hunter2-hunter2", "certificate:"},
		"not RSA":       {", certificate: {env: CERT}, certificate_key: {env: KEY}}\n", elliptical, ellipticalKey, "RSA"},
		"not set":       {", certificate: {env: NOPE}}\n", "", "", "NOPE is not set"},
		"no client id":  {", certificate: {env: CERT}}\n", certificate, "", "client_id: it is needed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			text := head + c.text
			if name == "no client id" {
				text = "apps:\n  - {name: x" + c.text
			}
			_, err := m.applier(map[string]string{"CERT": c.cert, "KEY": c.key}).Apply(t.Context(), document(t, text))
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "PRIVATE")) {
				t.Errorf("%v shows the key", err)
			}
			if m.writes != 0 {
				t.Errorf("%d writes were made", m.writes)
			}
		})
	}
}

const packedSecret = "abc8Q~with~tildes~and.more_0123456789-xy"

// sealedByCrushFTP is what CrushFTP's own encryption of a secret looks like.
const sealedByCrushFTP = "DES:2f0b8e4c9d7a1c3e5f60718293a4b5c6"

func TestPackedNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, packed   string
		tenant, secret string
		note           bool
	}{
		"three parts":       {"packed: {env: P}", clientID + "~" + packedSecret + "~contoso.com", "contoso.com", packedSecret, false},
		"four parts":        {"packed: {env: P}", "scan@contoso.com~" + clientID + "~" + packedSecret + "~contoso.com", "contoso.com", packedSecret, false},
		"blanks":            {"packed: {env: P}", "  " + clientID + "~" + packedSecret + "~contoso.com \n", "contoso.com", packedSecret, false},
		"the same again":    {"client_id: " + strings.ToUpper(clientID) + ", packed: {env: P}", clientID + "~" + packedSecret + "~contoso.com", "contoso.com", packedSecret, false},
		"no tenant":         {"packed: {env: P}", clientID + "~" + packedSecret + "~", "common", packedSecret, false},
		"tenant beside":     {"tenant: contoso.com, packed: {env: P}", clientID + "~" + packedSecret + "~", "contoso.com", packedSecret, false},
		"unusable":          {"packed: {env: P}", clientID + "~" + sealedByCrushFTP + "~contoso.com", "contoso.com", "", true},
		"unusable, mended":  {"secret: {value: " + packedSecret + "}, packed: {env: P}", clientID + "~" + sealedByCrushFTP + "~contoso.com", "contoso.com", packedSecret, false},
		"blanks in secret":  {"secret: {value: \" typed-with-blanks \"}, packed: {env: P}", clientID + "~" + sealedByCrushFTP + "~contoso.com", "contoso.com", "typed-with-blanks", false},
		"tenant is a GUID":  {"packed: {env: P}", clientID + "~" + packedSecret + "~" + clientID, clientID, packedSecret, false},
		"written in letter": {"packed: {value: \"" + clientID + "~" + packedSecret + "~contoso.com\"}", "", "contoso.com", packedSecret, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			a := m.applier(map[string]string{"P": c.packed})
			doc := document(t, "apps:\n  - {name: x, "+c.text+"}\n")
			changes, err := a.Apply(t.Context(), doc)
			if err != nil {
				t.Fatal(err)
			}
			x := m.apps["x"]
			if !strings.EqualFold(x.ClientID, clientID) || x.Tenant != c.tenant || m.secrets["x"] != c.secret {
				t.Errorf("got %q %q %q", x.ClientID, x.Tenant, m.secrets["x"])
			}
			if note := changes[0].Note; (note != "") != c.note || c.note && !strings.Contains(note, "postern apps secret x") {
				t.Errorf("note %q", note)
			}
			if got := apply(t, a, doc); got != "app x unchanged" {
				t.Errorf("again: %s", got)
			}
			if out := exported(t, a, packedSecret, sealedByCrushFTP, "packed:"); !c.note && apply(t, a, document(t, out)) != "app x unchanged" {
				t.Errorf("its export changes it:\n%s", out)
			}
		})
	}
}

func TestBadPackedNames(t *testing.T) {
	t.Parallel()
	good := clientID + "~" + packedSecret + "~contoso.com"
	for name, c := range map[string]struct{ text, packed, want string }{
		"nothing in it":     {"packed: {env: P}", "hello", "packed"},
		"another client":    {"client_id: 99999999-2222-3333-4444-555555555555, packed: {env: P}", good, "leave one out"},
		"another tenant":    {"tenant: fabrikam.com, packed: {env: P}", good, "leave one out"},
		"another secret":    {"secret: {value: other-secret-value}, packed: {env: P}", good, "leave one out"},
		"not set":           {"packed: {env: NOPE}", "", "NOPE is not set"},
		"tenant of a thief": {"packed: {env: P}", clientID + "~" + packedSecret + "~evil.example/..", "packed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			_, err := m.applier(map[string]string{"P": c.packed}).Apply(t.Context(), document(t, "apps:\n  - {name: x, "+c.text+"}\n"))
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), packedSecret) || strings.Contains(err.Error(), "other-secret")) {
				t.Errorf("%v shows the secret", err)
			}
			if m.writes != 0 {
				t.Errorf("%d writes were made", m.writes)
			}
		})
	}
}

func TestMethodsOfSigningIn(t *testing.T) {
	t.Parallel()
	m := newMemory()
	env := map[string]string{"BULK": " bulk-Pa55word \n", "SCAN": "abcdabcdabcdabcd"}
	const text = `
apps:
  - {name: hosts, cloud: usgov}
  - {name: x, tenant: contoso.com, client_id: 11111111-2222-3333-4444-555555555555}
accounts:
  - {name: person, app: x, mailbox: person@contoso.com, purposes: [send, graph], give_tokens: true}
  - {name: machine, app: x, mailbox: machine@contoso.com, purposes: [imap], sign_in: application}
  - {name: bulk, app: x, mailbox: bulk@contoso.com, purposes: [hve], sign_in: password, password: {env: BULK}, internal_domains: [fabrikam.com]}
  - {name: old, app: hosts, mailbox: old@contoso.com, purposes: [send], sign_in: app_password, password: {env: SCAN}}
  - {name: bare, app: x, mailbox: bare@contoso.com, purposes: [hve], sign_in: password}
`
	changes, err := m.applier(env).Apply(t.Context(), document(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if app := m.apps["hosts"]; app.Cloud.SMTP.Host != "outlook.office365.us" || app.ClientID != "" || app.Tenant != "" {
		t.Errorf("hosts: %+v", app)
	}
	if m.words["bulk"] != "bulk-Pa55word" || m.words["old"] != env["SCAN"] || m.words["bare"] != "" {
		t.Errorf("passwords went astray: %q", m.words)
	}
	for name, want := range map[string]vault.Method{"person": vault.Delegated, "machine": vault.Application, "bulk": vault.Password, "old": vault.AppPassword} {
		if got := m.accounts[name]; got.Method != want || got.GiveTokens != (name == "person") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := m.accounts["bulk"].InternalDomains; len(got) != 1 || got[0] != "fabrikam.com" {
		t.Errorf("bulk reaches %q", got)
	}
	if last := changes[len(changes)-1]; !strings.Contains(last.Note, "postern accounts password bare") {
		t.Errorf("a password is missing, and nobody says so: %+v", last)
	}
	all := strings.Repeat("unchanged\n", 7)
	kinds := func(s string) string {
		var out strings.Builder
		for line := range strings.Lines(s) {
			out.WriteString(strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]) + "\n")
		}
		return out.String()
	}
	if got := apply(t, m.applier(env), document(t, text)); kinds(got) != all {
		t.Errorf("again:\n%s", got)
	}
	if got := apply(t, m.applier(nil), document(t, exported(t, m.applier(nil), "bulk-Pa55word", env["SCAN"]))); kinds(got) != all || m.writes != 7 {
		t.Errorf("the export (%d writes):\n%s", m.writes, got)
	}
	env["BULK"] = "another-Pa55word"
	if got := apply(t, m.applier(env), document(t, text)); !strings.Contains(got, "account bulk changed") || strings.Count(got, "unchanged") != 6 {
		t.Errorf("another password:\n%s", got)
	}
	if m.words["bulk"] != "another-Pa55word" {
		t.Errorf("kept is %q", m.words["bulk"])
	}
}

func TestBadSignIns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"password, delegated":   {"accounts:\n  - {name: a, app: x, mailbox: a@b, purposes: [send], password: {value: some-password}}\n", "takes none"},
		"password, application": {"accounts:\n  - {name: a, app: x, mailbox: a@b, purposes: [send], sign_in: application, password: {value: some-password}}\n", "takes none"},
		"a domain with a blank": {"accounts:\n  - {name: a, app: x, mailbox: a@b, purposes: [hve], internal_domains: [a b]}\n", "not a domain"},
		"password of blanks":    {"accounts:\n  - {name: a, app: x, mailbox: a@b, purposes: [hve], sign_in: password, password: {value: \"  \"}}\n", "empty"},
		"password not set":      {"accounts:\n  - {name: a, app: x, mailbox: a@b, purposes: [hve], sign_in: password, password: {env: NOPE}}\n", "NOPE is not set"},
		"nothing to give":       {"accounts:\n  - {name: a, app: x, mailbox: a@b, purposes: [send], sign_in: app_password, give_tokens: true}\n", "no tokens to give"},
		"secret of nobody":      {"apps:\n  - {name: x, secret: {value: some-secret}}\n", "client_id"},
		"secret of blanks":      {"apps:\n  - {name: x, tenant: t, client_id: c, secret: {value: \"   \"}}\n", "empty"},
		"end of nothing":        {"apps:\n  - {name: x, secret_expires: 2027-05-01}\n", "client_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			_, err := m.applier(nil).Apply(t.Context(), document(t, c.text))
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "some-") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if m.writes != 0 {
				t.Errorf("%d writes were made", m.writes)
			}
		})
	}
}

// TestDocumentsInTheDocs applies every document that the docs show, twice.
func TestDocumentsInTheDocs(t *testing.T) {
	certificate, key := rsaPair(t)
	docs := map[string]string{}
	for _, name := range []string{"getting-started.md", "configuration.md", "accounts.md", "fetch.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "```yaml\n")[1:]
		for i, part := range parts {
			block, _, _ := strings.Cut(part, "\n```")
			docs[fmt.Sprintf("%s %d", name, i)] = block
		}
	}
	if len(docs) < 4 {
		t.Fatalf("only %d documents were found", len(docs))
	}
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"lab.pem": certificate, "lab.key": key, "ca.pem": certificate, "bulk.txt": "bulk-Pa55word\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"NAME": "s3cret-value", "ERP_KEY": "signs", "CONTOSO_SECRET": "s3cret-value", "FAX": "abcdabcdabcdabcd", "PACKED": clientID + "~" + packedSecret + "~contoso.com"}
	for name, text := range docs {
		m := newMemory()
		doc, err := declare.Parse(name, strings.NewReader(text))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := apply(t, m.applier(env), doc); strings.Contains(got, "changed") {
			t.Errorf("%s:\n%s", name, got)
		}
		if got := apply(t, m.applier(env), doc); strings.Contains(got, " created") || strings.Contains(got, " changed") {
			t.Errorf("%s, again:\n%s", name, got)
		}
	}
}

func FuzzPackedInADocument(f *testing.F) {
	f.Add(clientID + "~" + packedSecret + "~contoso.com")
	f.Add("a@b~c~d~e")
	f.Add("~~~")
	f.Fuzz(func(t *testing.T, text string) {
		m := newMemory()
		doc := declare.Document{Apps: []declare.App{{Name: "x", Packed: &declare.SecretRef{Value: secret.New(text)}}}}
		if _, err := m.applier(nil).Apply(t.Context(), doc); err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("unclassified: %v", err)
		}
	})
}
