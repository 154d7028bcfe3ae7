package world_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"postern/internal/sim365/world"
)

func contoso(t *testing.T) (*world.World, world.Tenant, world.User, world.App) {
	t.Helper()
	w := world.New()
	tenant := w.AddTenant(world.Tenant{Domains: []string{"contoso.com", "contoso.onmicrosoft.com"}})
	user := w.AddUser(world.User{UPN: "scan@contoso.com", Password: "Passw0rd!"})
	app := w.AddApp(world.App{Name: "Postern", HomeTenant: tenant.ID, Secret: "abc8Q~secret"})
	return w, tenant, user, app
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	w, tenant, user, app := contoso(t)
	if user.TenantID != tenant.ID {
		t.Errorf("user's tenant = %q, want that of the address's domain %q", user.TenantID, tenant.ID)
	}
	for _, key := range []string{tenant.ID, "CONTOSO.com", "contoso.onmicrosoft.com"} {
		if got, ok := w.Tenant(key); !ok || got.ID != tenant.ID {
			t.Errorf("Tenant(%q) = %v, %v", key, got.ID, ok)
		}
	}
	if _, ok := w.Tenant("fabrikam.com"); ok {
		t.Error("found a tenant nobody added")
	}
	if _, ok := w.TenantOf("no-at-sign"); ok {
		t.Error("found a tenant for an address without a domain")
	}
	if got, ok := w.User(user.ObjectID); !ok || got.UPN != user.UPN {
		t.Errorf("User by object id = %v, %v", got.UPN, ok)
	}
	if !w.UpdateApp(app.ClientID, func(a *world.App) { a.FullAccess["scan@contoso.com"] = true }) {
		t.Fatal("UpdateApp found no app")
	}
	read, _ := w.App(app.ClientID)
	read.FullAccess["other@contoso.com"] = true
	if again, _ := w.App(app.ClientID); again.FullAccess["other@contoso.com"] || !again.FullAccess["scan@contoso.com"] {
		t.Errorf("FullAccess = %v; a reader's copy must not write back", again.FullAccess)
	}
	if w.UpdateUser("nobody@contoso.com", func(*world.User) {}) {
		t.Error("UpdateUser updated nobody")
	}
}

func TestPolicyDefaultsToMicrosoftLimits(t *testing.T) {
	t.Parallel()
	w := world.New()
	w.SetPolicy("Scan@contoso.com", func(p *world.MailboxPolicy) { p.IMAPDisabled = true })
	got := w.Policy("scan@CONTOSO.com")
	if !got.IMAPDisabled || got.Limits != world.MicrosoftLimits() {
		t.Errorf("policy = %+v", got)
	}
}

func TestStrikeConsumes(t *testing.T) {
	t.Parallel()
	w := world.New()
	w.Arm(world.Fault{Where: "smtp", Stage: "auth", Mailbox: "Scan@contoso.com", Kind: world.FaultDrop, Times: 2})
	always := w.Arm(world.Fault{Where: "imap", Kind: world.FaultSlow, Times: -1})
	steps := []struct {
		where, stage, mailbox string
		want                  bool
	}{
		{"smtp", "data", "scan@contoso.com", false},
		{"smtp", "auth", "other@contoso.com", false},
		{"smtp", "auth", "scan@contoso.com", true},
		{"smtp", "auth", "scan@contoso.com", true},
		{"smtp", "auth", "scan@contoso.com", false},
		{"imap", "select", "", true},
		{"imap", "fetch", "x@y", true},
	}
	for i, s := range steps {
		if _, got := w.Strike(s.where, s.stage, s.mailbox); got != s.want {
			t.Errorf("step %d: Strike(%q,%q,%q) = %v", i, s.where, s.stage, s.mailbox, got)
		}
	}
	w.Disarm(always)
	if _, ok := w.Strike("imap", "select", ""); ok {
		t.Error("a disarmed fault struck")
	}
}

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	w, tenant, user, app := contoso(t)
	now := time.Now()
	w.Now = func() time.Time { return now }
	w.AliasResource("https://localhost:9/", world.GraphResource)

	token := w.IssueAccess(world.Token{
		TenantID: tenant.ID, ClientID: app.ClientID, Resource: "https://localhost:9", AppAuth: "1",
		Scopes: []string{"Mail.Send"}, UserID: user.ObjectID, UPN: user.UPN,
	})
	if n := len(token.Raw); n < 1500 || n > 3000 {
		t.Errorf("token is %d bytes long, real ones are 1500 to 3000", n)
	}
	if token.Resource != world.GraphResource {
		t.Errorf("resource = %q", token.Resource)
	}
	w.RotateKeys() // older keys must stay published
	claims := verify(t, w, token.Raw)
	for key, want := range map[string]any{"aud": "https://localhost:9", "scp": "Mail.Send", "upn": user.UPN, "tid": tenant.ID,
		"appid": app.ClientID, "appidacr": "1", "ver": "1.0", "iss": "https://sts.windows.net/" + tenant.ID + "/", "oid": user.ObjectID} {
		if claims[key] != want {
			t.Errorf("claim %s = %v, want %v", key, claims[key], want)
		}
	}
	if _, err := w.CheckToken(token.Raw + "x"); !errors.Is(err, world.ErrUnknownToken) {
		t.Errorf("a changed token: %v", err)
	}
	if got, err := w.CheckToken(token.Raw); err != nil || got.UPN != user.UPN {
		t.Errorf("CheckToken = %v, %v", got.UPN, err)
	}
	now = now.Add(75 * time.Minute)
	if _, err := w.CheckToken(token.Raw); !errors.Is(err, world.ErrExpiredToken) {
		t.Errorf("after its life: %v", err)
	}
	if !slices.Contains(w.Secrets(), token.Raw) || !slices.Contains(w.Secrets(), "Passw0rd!") || !slices.Contains(w.Secrets(), app.Secret) {
		t.Error("Secrets misses the token, the password or the client secret")
	}
}

func TestAppOnlyAndConsumerTokens(t *testing.T) {
	t.Parallel()
	w, tenant, _, app := contoso(t)
	only := w.IssueAccess(world.Token{TenantID: tenant.ID, ClientID: app.ClientID, Resource: world.Exchange365Resource, AppAuth: "2", Roles: []string{"SMTP.SendAsApp"}})
	claims := verify(t, w, only.Raw)
	if claims["oid"] != world.ServicePrincipalID(app.ClientID, tenant.ID) || claims["idtyp"] != "app" || claims["scp"] != nil {
		t.Errorf("app-only claims = %v", claims)
	}
	personal := w.IssueAccess(world.Token{TenantID: world.ConsumersTenant, ClientID: app.ClientID, Resource: world.ExchangeResource, UserID: "u"})
	if personal.Raw[:3] != "EwB" {
		t.Errorf("personal token starts %q", personal.Raw[:3])
	}
	if _, err := w.CheckToken(personal.Raw); err != nil {
		t.Errorf("opaque token: %v", err)
	}
}

func verify(t *testing.T, w *world.World, raw string) map[string]any {
	t.Helper()
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	keys := w.JWKS()
	key := keys.Key(parsed.Headers[0].KeyID)
	if len(key) != 1 {
		t.Fatalf("no key %q in the published set", parsed.Headers[0].KeyID)
	}
	claims := map[string]any{}
	if err := parsed.Claims(key[0], &claims); err != nil {
		t.Fatalf("verify: %v", err)
	}
	return claims
}

func TestMessagesAndConfirm(t *testing.T) {
	t.Parallel()
	w := world.New()
	w.Keep(world.Stored{Mailbox: "Scan@contoso.com", Folder: "Sent Items", Session: "a"})
	w.Keep(world.Stored{Mailbox: "scan@contoso.com", Folder: "Sent Items", Session: "b"})
	w.Confirm("a")
	got := w.Messages("SCAN@contoso.com", "Sent Items")
	if len(got) != 2 || !got[0].Confirmed || got[1].Confirmed {
		t.Fatalf("messages = %+v", got)
	}
	if n := len(w.Messages("scan@contoso.com", "INBOX")); n != 0 {
		t.Errorf("%d messages in a folder nothing went to", n)
	}
	if n := len(w.AllMessages()); n != 2 {
		t.Errorf("AllMessages = %d", n)
	}
}

func TestRevokeSessions(t *testing.T) {
	t.Parallel()
	w, _, user, _ := contoso(t)
	before := w.SessionEpoch(user.ObjectID)
	if !w.RevokeSessions(user.UPN) || w.SessionEpoch(user.ObjectID) == before {
		t.Error("revoking changed nothing")
	}
	if w.RevokeSessions("nobody@contoso.com") {
		t.Error("revoked nobody's sessions")
	}
}
