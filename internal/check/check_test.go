package check_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden reports anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s differs:\n%s", name, d)
	}
}

func TestAGoodConnection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		purpose check.Purpose
		server  dialogue
	}{{check.Send, smtpServer()}, {check.IMAP, imapServer()}, {check.POP3, pop3Server()}} {
		t.Run(string(c.purpose), func(t *testing.T) {
			t.Parallel()
			r := arrange(t, c.purpose, c.server).run(t)
			if !r.OK || r.Headline != check.Successful {
				t.Error(r.Headline)
			}
			golden(t, "good_"+string(c.purpose)+".txt", r.Text())
		})
	}
}

func TestSMTPSwitchedOffForTheMailbox(t *testing.T) {
	t.Parallel()
	const reply = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information. [AM0PR01CA0001]"
	f := arrange(t, check.Send, smtpServer().with("AUTH XOAUTH2", reply))
	var heard []check.Stage
	r := check.Run(t.Context(), f.target, f.deps, func(s check.Stage) { heard = append(heard, s) })
	golden(t, "smtp_auth_disabled.txt", r.Text())
	failed := failedStage(t, r)
	if want := "Set-CASMailbox -Identity 'scan@contoso.com' -SmtpClientAuthenticationDisabled $false"; failed.Command != want {
		t.Errorf("command %q, want %q", failed.Command, want)
	}
	if d := cmp.Diff(r.Stages, heard); d != "" {
		t.Errorf("the listener heard something else:\n%s", d)
	}
}

func failedStage(t *testing.T, r check.Report) check.Stage {
	t.Helper()
	i := slices.IndexFunc(r.Stages, func(s check.Stage) bool { return s.Status == check.Fail })
	if i < 0 || r.OK {
		t.Fatalf("nothing failed:\n%s", r.Text())
	}
	for _, later := range r.Stages[i+1:] {
		if later.Status != check.Skipped {
			t.Errorf("%s was tried after %s had failed", later.Name, r.Stages[i].Name)
		}
	}
	if want := r.Stages[i].Name + " failed: " + r.Stages[i].Summary; r.Headline != want {
		t.Errorf("headline %q, want %q", r.Headline, want)
	}
	return r.Stages[i]
}

func failsWith(err error) func(*fixture) {
	return func(f *fixture) {
		f.deps.Credential = func(context.Context) (check.Credential, error) { return check.Credential{}, err }
	}
}

// TestEveryStageSaysWhatIsWrong changes one thing at a time.
func TestEveryStageSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	refused := errors.New("connection refused")
	for _, c := range []struct {
		name     string
		purpose  check.Purpose
		server   dialogue
		change   func(*fixture)
		stage    string
		sentence string // part of the summary
		next     string // part of what to do
	}{
		{"no name", check.Send, smtpServer(), func(f *fixture) {
			f.deps.LookupHost = func(context.Context, string) ([]string, error) {
				return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
			}
		}, check.StageDNS, "smtp.office365.com has no address", "host name"},
		{"no connection", check.Send, smtpServer(), func(f *fixture) {
			f.deps.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, refused }
		}, check.StageTCP, "does not take a connection", "firewall on this side"},
		{"certificate of another", check.IMAP, certified(imapServer(), "proxy.example", future()), nil,
			check.StageTLS, "not for outlook.office365.com, but for proxy.example", "in the server's place"},
		{"unknown issuer", check.IMAP, imapServer(), func(f *fixture) { f.target.RootCAs = nil },
			check.StageTLS, "issued by Test Authority, which is not trusted", "CA bundle"},
		{"certificate ended", check.IMAP, certified(imapServer(), "outlook.office365.com", time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)), nil,
			check.StageTLS, "valid from 2020-01-01 to 2021-01-01", "clock"},
		{"no TLS there", check.IMAP, clear(imapServer()), nil, check.StageTLS, "does not begin with TLS on port 993", "starttls"},
		{"STARTTLS with another's certificate", check.Send, certified(smtpServer(), "proxy.example", future()), nil,
			check.StageTLS, "but for proxy.example", "in the server's place"},
		{"no STARTTLS", check.Send, smtpServer().with("EHLO", "250-hello\n250 AUTH LOGIN XOAUTH2"), nil,
			check.StageGreeting, "does not answer as a server for send", "no firewall inspects SMTP"},
		{"another greeting", check.Send, greeted(smtpServer(), "421 4.3.2 Service not available"), nil,
			check.StageGreeting, "not available just now", "connects again"},
		{"no tokens, SMTP", check.Send, smtpServer().with("EHLO", "250-hello\n250-STARTTLS\n250 AUTH LOGIN"), nil,
			check.StageGreeting, "does not take tokens", "host and port"},
		{"no tokens, IMAP", check.IMAP, imapServer().with("CAPABILITY", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\n% OK done"), nil,
			check.StageGreeting, "does not take tokens", "outlook.office365.com on port 993"},
		{"no tokens, POP3", check.POP3, pop3Server().with("CAPA", "+OK\nUSER\nSASL PLAIN\n."), nil,
			check.StageGreeting, "does not take tokens", "outlook.office365.com on port 995"},
		{"sign-in lost", check.Send, smtpServer(), failsWith(&fault.Error{Kind: fault.NeedsSignIn, Op: "refresh token", Hint: "Sign the mailbox in again. (postern signin scan)",
			Reply: &fault.Reply{Protocol: "oauth", Stage: "token", Code: "invalid_grant", Enhanced: "AADSTS50173", Text: "AADSTS50173: The provided grant has expired"}}),
			check.StageToken, "was revoked", "Sign the mailbox in again"},
		{"sign-in host away", check.Send, smtpServer(), failsWith(fault.Wrap(fault.Temporary, "refresh token", &net.OpError{Op: "dial", Err: refused})),
			check.StageToken, "login.microsoftonline.com could not be reached", "proxy"},
		{"never signed in", check.Send, smtpServer(), failsWith(fault.New(fault.NeedsSignIn, "token", "no grant").WithHint("sign in: postern sign-in scans")),
			check.StageToken, "No access token could be obtained", "postern sign-in scans"},
		{"no token", check.Send, smtpServer(), func(f *fixture) { f.token = secret.Text{} }, check.StageToken, "No access token", "Sign the mailbox in"},
		{"SMTP refuses", check.Send, smtpServer().with("AUTH XOAUTH2", "535 5.7.3 Authentication unsuccessful"), nil,
			check.StageSignIn, "without a reason", "may use scan@contoso.com"},
		{"IMAP refuses", check.IMAP, imapServer().with("AUTHENTICATE", "% NO AUTHENTICATE failed."), nil,
			check.StageSignIn, "IMAP is off", "service principal"},
		{"POP3 refuses", check.POP3, pop3Server().with("dXNlcj", "-ERR Authentication failure: unknown user name or bad password."), nil,
			check.StageSignIn, "POP3 is off", "service principal"},
		{"refused with a doubtful token", check.IMAP, imapServer().with("AUTHENTICATE", "% NO AUTHENTICATE failed."), func(f *fixture) {
			f.token = jwt(t, map[string]any{"aud": "https://graph.microsoft.com", "scp": "Mail.Send", "upn": "scan@contoso.com"})
		}, check.StageSignIn, "IMAP is off", "First see to the token content: The token is for https://graph.microsoft.com"},
		{"sender refused", check.Send, smtpServer().with("MAIL FROM:<scan@contoso.com>", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"), nil,
			check.StageSender, "may not send as", "grant it Send As on"},
		{"mailbox not connected", check.IMAP, imapServer().with("EXAMINE", "% BAD User is authenticated but not connected.").with("LIST", "% BAD User is authenticated but not connected."), nil,
			check.StageMailbox, "could not be opened", "Full Access"},
		{"POP3 throttled", check.POP3, pop3Server().with("STAT", "-ERR Server Unavailable. 21"), nil,
			check.StageMailbox, "does not answer", "connects again later"},
		{"a reply nobody knows", check.POP3, pop3Server().with("STAT", "-ERR the dog ate it"), nil,
			check.StageMailbox, "The mailbox of scan@contoso.com does not open.", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, c.purpose, c.server)
			if c.change != nil {
				c.change(f)
			}
			failed := failedStage(t, f.run(t))
			if failed.Name != c.stage || !strings.Contains(failed.Summary, c.sentence) || c.next != "" && strings.Count(failed.Next, c.next) != 1 {
				t.Errorf("got\n%swant %s: … %s …\nnext: … %s …", failed.Text(), c.stage, c.sentence, c.next)
			}
		})
	}
}

func certified(d dialogue, host string, expires time.Time) dialogue {
	d.host, d.expires = host, expires
	return d
}

func clear(d dialogue) dialogue {
	d.implicit = false
	return d
}

func greeted(d dialogue, greeting string) dialogue {
	d.greeting = greeting
	return d
}

func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	server := func(host string, port int, mode mail.TLSMode) func(*check.Target) {
		return func(x *check.Target) { x.Server = mail.Server{Host: host, Port: port, TLS: mode} }
	}
	for _, c := range []struct {
		name     string
		purpose  check.Purpose
		change   func(*check.Target)
		sentence string
	}{
		{"no host", check.Send, server("", 587, mail.STARTTLS), "No server"},
		{"smtp host for IMAP", check.IMAP, server("smtp.office365.com", 993, mail.Implicit), "server for sending"},
		{"imap host for sending", check.Send, server("imap.example.com", 587, mail.STARTTLS), "server for reading"},
		{"inbound host", check.Send, server("contoso-com.mail.protection.outlook.com", 25, mail.STARTTLS), "knows no sign-in"},
		{"no port", check.Send, server("smtp.office365.com", 0, mail.STARTTLS), "not a port"},
		{"port of IMAP", check.Send, server("x.example", 993, mail.Implicit), "Port 993 is for imap"},
		{"port of SMTP", check.POP3, server("x.example", 587, mail.STARTTLS), "Port 587 is for send"},
		{"465 at Microsoft", check.Send, server("smtp.office365.com", 465, mail.Implicit), "does not serve port 465"},
		{"587 implicit", check.Send, server("smtp.office365.com", 587, mail.Implicit), "goes with starttls"},
		{"993 starttls", check.IMAP, server("outlook.office365.com", 993, mail.STARTTLS), "goes with implicit"},
		{"plain", check.Send, server("smtp.office365.com", 587, mail.Plain), "Without TLS"},
		{"no mode", check.Send, server("smtp.office365.com", 587, ""), "not a TLS mode"},
		{"no mailbox", check.Send, func(x *check.Target) { x.Mailbox = mail.Address{} }, "No mailbox"},
		{"tenant", check.Send, func(x *check.Target) { x.Tenant = "contoso/evil" }, "neither a tenant id nor a domain"},
		{"app with common", check.Send, func(x *check.Target) { x.Tenant, x.Method = "common", check.Application }, "belongs to one tenant"},
		{"client id", check.Send, func(x *check.Target) { x.ClientID = "Postern" }, "not an application (client) id"},
		{"secret id", check.Send, func(x *check.Target) { x.ClientSecret = secret.New(tenant) }, "looks like a Secret ID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, c.purpose, imapServer())
			c.change(&f.target)
			failed := failedStage(t, f.run(t))
			if failed.Name != check.StageSettings || !strings.Contains(failed.Summary, c.sentence) || failed.Next == "" {
				t.Errorf("got\n%swant … %s …", failed.Text(), c.sentence)
			}
		})
	}
}

func TestDoubtsAboutTheTokenOnlyWarn(t *testing.T) {
	t.Parallel()
	claims := func(change map[string]any) map[string]any {
		m := goodClaims("SMTP.Send")
		for k, v := range change {
			m[k] = v
			if v == nil {
				delete(m, k)
			}
		}
		return m
	}
	app := map[string]any{"scp": nil, "upn": nil, "aud": "https://outlook.office365.com/"}
	roles := map[string]any{"scp": nil, "upn": nil, "roles": []string{"IMAP.AccessAsApp"}}
	for _, c := range []struct {
		name     string
		claims   map[string]any
		change   func(*check.Target)
		status   check.Status
		sentence string
	}{
		{"fits", claims(nil), nil, check.OK, "for this service, tenant, app and mailbox"},
		{"audience as a list", claims(map[string]any{"aud": []string{"https://outlook.office.com"}}), nil, check.OK, "for this service"},
		{"Graph", claims(map[string]any{"aud": "https://graph.microsoft.com"}), nil, check.Warn, "for https://graph.microsoft.com"},
		{"scope", claims(map[string]any{"scp": "IMAP.AccessAsUser.All"}), nil, check.Warn, "lacks the permission SMTP.Send"},
		{"tenant", claims(map[string]any{"tid": clientID}), nil, check.Warn, "comes from the tenant " + clientID},
		{"app", claims(map[string]any{"appid": tenant}), nil, check.Warn, "belongs to the app " + tenant},
		{"somebody else", claims(map[string]any{"upn": "boss@contoso.com"}), nil, check.Warn, "boss@contoso.com signed in"},
		{"somebody else, shared", claims(map[string]any{"upn": "boss@contoso.com"}), func(x *check.Target) { x.Shared = true }, check.OK, "for this service"},
		{"ended", claims(map[string]any{"exp": now().Add(-time.Hour).Unix()}), nil, check.Warn, "ended 60 minutes ago"},
		{"ends soon", claims(map[string]any{"exp": now().Add(4 * time.Minute).Unix()}), nil, check.Warn, "only 4 minutes"},
		{"from the future", claims(map[string]any{"iat": now().Add(time.Hour).Unix()}), nil, check.Warn, "60 minutes in the future"},
		{"app without roles", claims(app), func(x *check.Target) { x.Method = check.Application }, check.OK, "RBAC for Applications"},
		{"app with other roles", claims(roles), func(x *check.Target) { x.Method = check.Application }, check.Warn, "lacks the application permission SMTP.SendAsApp"},
		{"app instead of a person", claims(app), nil, check.Warn, "the app's own"},
		{"a person instead of the app", claims(nil), func(x *check.Target) { x.Method = check.Application }, check.Warn, "a person's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, check.Send, smtpServer())
			f.token = jwt(t, c.claims)
			if c.change != nil {
				c.change(&f.target)
			}
			r := f.run(t)
			st := r.Stages[slices.IndexFunc(r.Stages, func(s check.Stage) bool { return s.Name == check.StageContent })]
			if !r.OK || st.Status != c.status || !strings.Contains(st.Summary, c.sentence) || (st.Next == "") != (c.status == check.OK) {
				t.Errorf("%s\n%swant %s: … %s …", r.Headline, st.Text(), c.status, c.sentence)
			}
		})
	}
}

func TestAnOpaqueTokenIsFine(t *testing.T) {
	t.Parallel()
	f := arrange(t, check.Send, smtpServer())
	f.token = secret.New("EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA")
	if r := f.run(t); !r.OK {
		t.Error(r.Text())
	}
}

// A server, a library or an error may repeat what it was given.
func TestNoSecretIsEverSaid(t *testing.T) {
	t.Parallel()
	f := arrange(t, check.Send, smtpServer())
	f.target.ClientSecret = secret.New("abc8Q~the-client-secret-value-0123456789")
	token, clientSecret := f.token.Reveal(), f.target.ClientSecret.Reveal()
	response := base64.StdEncoding.EncodeToString([]byte("user=scan@contoso.com\x01auth=Bearer " + token + "\x01\x01"))
	echo := arrange(t, check.Send, smtpServer().with("AUTH XOAUTH2", "535 5.7.3 Bad \x1b[31m"+response+" or "+token))
	echo.target.ClientSecret = f.target.ClientSecret
	f.deps.Credential = func(context.Context) (check.Credential, error) {
		return check.Credential{Token: f.token}, errors.New("POST client_secret=" + clientSecret + "&token=" + token)
	}
	for _, r := range []check.Report{echo.run(t), f.run(t)} {
		asJSON, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		all := r.Text() + string(asJSON)
		for _, hidden := range []string{token, response, clientSecret, base64.StdEncoding.EncodeToString([]byte(token)), "\x1b", `\u001b`} {
			if strings.Contains(all, hidden) {
				t.Errorf("%q is in the report:\n%s", hidden, all)
			}
		}
		if !strings.Contains(all, secret.Redacted) {
			t.Errorf("nothing was redacted, so nothing was tried:\n%s", all)
		}
	}
}

func TestAStoppedCheckSaysSo(t *testing.T) {
	t.Parallel()
	f := arrange(t, check.Send, smtpServer())
	ctx, stop := context.WithCancel(t.Context())
	f.deps.LookupHost = func(ctx context.Context, _ string) ([]string, error) {
		stop()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	failed := failedStage(t, check.Run(ctx, f.target, f.deps, nil))
	if failed.Name != check.StageDNS || failed.Summary != "The check was stopped." {
		t.Error(failed.Text())
	}
}
