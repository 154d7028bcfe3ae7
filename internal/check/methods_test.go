package check_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/catalogue"
	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/secret"
)

const appPassword = "abcd-efgh-ijkl-mnop"

// withPassword makes the fixture's account one with an app password.
func withPassword(f *fixture) {
	f.target.Method, f.target.Tenant, f.target.ClientID = check.AppPassword, "", ""
	f.target.PasswordSet = now().AddDate(0, -2, 0)
	f.credential = check.Credential{User: "scan@contoso.com", Password: secret.New(appPassword)}
}

func stage(t *testing.T, r check.Report, name string) check.Stage {
	t.Helper()
	i := slices.IndexFunc(r.Stages, func(s check.Stage) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no stage %s:\n%s", name, r.Text())
	}
	return r.Stages[i]
}

func names(r check.Report) string {
	var all []string
	for _, s := range r.Stages {
		all = append(all, s.Name)
	}
	return strings.Join(all, ", ")
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// TestAnAppPassword signs in by LOGIN where there is nothing else, by PLAIN elsewhere,
// and says until when that works.
func TestAnAppPassword(t *testing.T) {
	t.Parallel()
	plain := b64("\x00scan@contoso.com\x00" + appPassword)
	submission := smtpServer().with("AUTH LOGIN "+b64("scan@contoso.com"), "334 UGFzc3dvcmQ6").with(b64(appPassword), "235 2.7.0 Authentication successful")
	for _, c := range []struct {
		name    string
		purpose check.Purpose
		server  dialogue
		ends    string
	}{
		{"login", check.Send, submission, "end of December 2026"},
		{"plain", check.Send, submission.with("EHLO", "250-hello\n250-STARTTLS\n250 AUTH PLAIN LOGIN").with("AUTH PLAIN "+plain, "235 2.7.0 Authentication successful"), "end of December 2026"},
		{"High Volume Email", check.HVE, certified(submission, "smtp-hve.office365.com", future()), "September 2028"},
		{"pop3", check.POP3, pop3Server().with("AUTH PLAIN", "+ ").with(plain, "+OK done"), "since January 2023"},
		{"imap", check.IMAP, imapServer().with("AUTHENTICATE", "% NO AUTHENTICATE failed.").with("AUTHENTICATE PLAIN "+plain, "% OK AUTHENTICATE completed."), "since January 2023"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, c.purpose, c.server)
			withPassword(f)
			r := f.run(t)
			if !r.OK {
				t.Fatal(r.Text())
			}
			if n := names(r); strings.Contains(n, check.StageClock) || strings.Contains(n, "token,") {
				t.Errorf("an app password needs neither clock nor token: %s", n)
			}
			word := stage(t, r, check.StagePassword)
			if word.Status != check.Warn || !strings.Contains(word.Summary, c.ends) || !strings.Contains(word.Next, "delegated or application") {
				t.Errorf("it says nothing of the end:\n%s", word.Text())
			}
			if skipped := stage(t, r, check.StageContent); skipped.Status != check.Skipped || !strings.Contains(skipped.Summary, "without a token") {
				t.Errorf("token content:\n%s", skipped.Text())
			}
			if text := r.Text(); strings.Contains(text, appPassword) || strings.Contains(text, plain) || strings.Contains(text, b64(appPassword)) {
				t.Errorf("the password is in the report:\n%s", text)
			}
		})
	}
}

func TestAnAppPasswordThatDoesNotWork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		purpose  check.Purpose
		server   dialogue
		change   func(*fixture)
		stage    string
		sentence string
		next     string
	}{
		{"none entered", check.Send, smtpServer(), failsWith(fault.New(fault.NeedsSignIn, "sign in", "nobody has entered it").WithHint("postern accounts password scan")),
			check.StagePassword, "no app password", "postern accounts password scan"},
		{"empty", check.Send, smtpServer(), func(f *fixture) { f.credential = check.Credential{Expires: now()} }, check.StagePassword, "no app password", "Enter one"},
		{"retired", check.Send, smtpServer().with("AUTH LOGIN", "550 5.7.30 Basic authentication is not supported for Client Submission."), nil,
			check.StageSignIn, "", "OAuth"},
		{"too many questions", check.Send, smtpServer().with("AUTH LOGIN", "334 VXNlcm5hbWU6").with("", "334 VXNlcm5hbWU6"), nil,
			check.StageSignIn, "did not let scan@contoso.com sign in", ""},
		{"refused where none is taken", check.POP3, pop3Server().with("AUTH PLAIN", "+ ").with(b64("\x00scan")[:6], "-ERR Authentication failure: unknown user name or bad password."), nil,
			check.StageSignIn, "", "First see to the password: "},
		{"no passwords there", check.Send, smtpServer().with("EHLO", "250-hello\n250-STARTTLS\n250 AUTH XOAUTH2"), nil,
			check.StageGreeting, "does not take passwords (PLAIN or LOGIN)", "host and port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, c.purpose, c.server)
			withPassword(f)
			if c.change != nil {
				c.change(f)
			}
			failed := failedStage(t, f.run(t))
			if failed.Name != c.stage || !strings.Contains(failed.Summary, c.sentence) || !strings.Contains(failed.Next, c.next) {
				t.Errorf("got\n%swant %s: … %s …\nnext: … %s …", failed.Text(), c.stage, c.sentence, c.next)
			}
		})
	}
	t.Run("Graph", func(t *testing.T) {
		t.Parallel()
		f := arrange(t, check.Graph, smtpServer())
		withPassword(f)
		if failed := failedStage(t, f.run(t)); failed.Name != check.StageSettings || !strings.Contains(failed.Summary, "takes no passwords") {
			t.Error(failed.Text())
		}
	})
}

func bulkServer() dialogue { return certified(smtpServer(), "smtp-hve.office365.com", future()) }

// TestHighVolumeEmail wants a token with ten minutes left, whoever says when it ends.
func TestHighVolumeEmail(t *testing.T) {
	t.Parallel()
	ends := func(left time.Duration) map[string]any {
		m := goodClaims("SMTP.Send")
		m["exp"] = now().Add(left).Unix()
		return m
	}
	opaque := secret.New("EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA")
	for _, c := range []struct {
		name   string
		change func(*fixture)
		ok     bool
	}{
		{"an hour", func(*fixture) {}, true},
		{"ten minutes", func(f *fixture) { f.token = jwt(t, ends(10*time.Minute)) }, true},
		{"nine minutes", func(f *fixture) { f.token = jwt(t, ends(9*time.Minute)) }, false},
		{"opaque, an hour", func(f *fixture) { f.credential = check.Credential{Token: opaque, Expires: now().Add(time.Hour)} }, true},
		{"opaque, nine minutes", func(f *fixture) {
			f.credential = check.Credential{Token: opaque, Expires: now().Add(9 * time.Minute)}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, check.HVE, bulkServer())
			f.target.Method = check.Password
			c.change(f)
			r := f.run(t)
			if c.ok {
				if !r.OK || r.Server.Host != "smtp-hve.office365.com" {
					t.Error(r.Text())
				}
				return
			}
			if failed := failedStage(t, r); failed.Name != check.StageContent || !strings.Contains(failed.Summary, "High Volume Email refuses one of less than 10 minutes") {
				t.Error(failed.Text())
			}
		})
	}
	t.Run("application", func(t *testing.T) {
		t.Parallel()
		f := arrange(t, check.HVE, bulkServer())
		f.target.Method = check.Application
		f.token = jwt(t, map[string]any{"aud": "https://outlook.office.com", "roles": []string{"SMTP.SendAsApp"}, "tid": tenant, "appid": clientID})
		if st := stage(t, f.run(t), check.StageContent); !strings.Contains(st.Summary, "lacks the application permission Mail.Send") {
			t.Error(st.Text())
		}
	})
	t.Run("no such server", func(t *testing.T) {
		t.Parallel()
		f := arrange(t, check.HVE, bulkServer())
		f.target.Server.Host, f.target.Cloud.Name = "", "china"
		if failed := failedStage(t, f.run(t)); !strings.Contains(failed.Summary, "no server for High Volume Email") {
			t.Error(failed.Text())
		}
	})
	t.Run("a password at common", func(t *testing.T) {
		t.Parallel()
		f := arrange(t, check.HVE, bulkServer())
		f.target.Method, f.target.Tenant = check.Password, "common"
		if failed := failedStage(t, f.run(t)); !strings.Contains(failed.Summary, "No password is exchanged for tokens at common") {
			t.Error(failed.Text())
		}
	})
}

// TestTheTokenStageNamesTheProof looks at what it says of secrets and certificates.
func TestTheTokenStageNamesTheProof(t *testing.T) {
	t.Parallel()
	certificate := check.Proof{What: "the certificate 4F2A", Ends: now().AddDate(1, 0, 0)}
	for _, c := range []struct {
		name   string
		proof  check.Proof
		status check.Status
		want   string
	}{
		{"public client", check.Proof{}, check.OK, "A new access token was obtained; it lasts 71 minutes."},
		{"secret of unknown end", check.Proof{What: "the client secret"}, check.OK, "obtained with the client secret; it lasts"},
		{"certificate", certificate, check.OK, "obtained with the certificate 4F2A, which ends on 2027-05-01; it lasts"},
		{"certificate that ends", check.Proof{What: certificate.What, Ends: now().AddDate(0, 0, 20)}, check.Warn, "which ends on 2026-05-21"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, check.Send, smtpServer())
			f.target.Proof = c.proof
			st := stage(t, f.run(t), check.StageToken)
			if st.Status != c.status || !strings.Contains(st.Summary, c.want) || strings.Contains(st.Next, c.proof.What+" before") != (c.status == check.Warn) {
				t.Error(st.Text())
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		f := arrange(t, check.Send, smtpServer())
		f.target.Proof = certificate
		failsWith(&fault.Error{Kind: fault.NeedsAdmin, Op: "ask for a token", Reply: &fault.Reply{
			Protocol: "oauth", Code: "invalid_client", Enhanced: "700027", Text: "AADSTS700027: The certificate with identifier used to sign the client assertion is not registered on application.",
		}})(f)
		st := failedStage(t, f.run(t))
		if st.Who != catalogue.Operator || !strings.Contains(st.Link, clientID) || !slices.Contains(st.Details, check.Detail{Name: "app proved by", Value: certificate.What}) {
			t.Errorf("%s%+v", st.Text(), st.Details)
		}
	})
}

// TestEntrasAnswersAreFilledIn wants the account's own values in what to do.
func TestEntrasAnswersAreFilledIn(t *testing.T) {
	t.Parallel()
	refused := func(kind fault.Kind, code, number, hint string) error {
		e := &fault.Error{Kind: kind, Op: "refresh token", Reply: &fault.Reply{Protocol: "oauth", Code: code, Enhanced: number, Text: "AADSTS" + number + ": words"}}
		return e.WithHint("%s", hint)
	}
	for _, c := range []struct {
		number string
		err    error
		who    catalogue.Who
		says   string // somewhere in summary, next, command or link
	}{
		{"65001", refused(fault.NeedsSignIn, "invalid_grant", "65001", ""), "", clientID},
		{"7000222", refused(fault.NeedsAdmin, "invalid_client", "7000222", ""), catalogue.Operator, clientID},
		{"50173", refused(fault.NeedsSignIn, "invalid_grant", "50173", "postern signin scans"), catalogue.User, "(postern signin scans)"},
		{"424242", refused(fault.NeedsSignIn, "invalid_grant", "424242", ""), "", "424242"},
	} {
		t.Run(c.number, func(t *testing.T) {
			t.Parallel()
			f := arrange(t, check.Send, smtpServer())
			failsWith(c.err)(f)
			st := failedStage(t, f.run(t))
			all := strings.Join([]string{st.Summary, st.Next, st.Command, st.Link}, "\n")
			if st.Name != check.StageToken || !strings.Contains(all, c.says) || strings.Contains(all, "{") || c.who != "" && st.Who != c.who || st.Who == "" {
				t.Errorf("who %q\n%s", st.Who, st.Text())
			}
		})
	}
}

// TestAClockThatIsOff goes on, and puts the clock first when something fails after it.
func TestAClockThatIsOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		skew   time.Duration
		status check.Status
		want   string
	}{
		{time.Minute, check.OK, "agrees with login.microsoftonline.com, to within 61 seconds"},
		{4 * time.Minute, check.Warn, "clock is 4 minutes behind that of login.microsoftonline.com"},
		{-12 * time.Minute, check.Warn, "clock is 12 minutes ahead of that of login.microsoftonline.com"},
		{-5 * time.Hour, check.Warn, "5 hours ahead of"},
		{100 * time.Hour, check.Warn, "4 days behind"},
	} {
		t.Run(c.skew.String(), func(t *testing.T) {
			t.Parallel()
			site := microsoft()
			site.skew = c.skew
			f := arrangeWith(t, check.Send, smtpServer(), site)
			r := f.run(t)
			if st := stage(t, r, check.StageClock); !r.OK || st.Status != c.status || !strings.Contains(st.Summary, c.want) || (st.Next == "") != (c.status == check.OK) {
				t.Error(st.Text())
			}
			failsWith(errors.New("the assertion is not valid yet"))(f)
			if st := failedStage(t, f.run(t)); strings.HasPrefix(st.Next, "First see to the clock: ") != (c.status == check.Warn) {
				t.Error(st.Text())
			}
		})
	}
	t.Run("nobody to ask", func(t *testing.T) {
		t.Parallel()
		f := arrange(t, check.Send, smtpServer())
		f.deps.Web.CA = ""
		if r := f.run(t); !r.OK || stage(t, r, check.StageClock).Status != check.Skipped {
			t.Error(r.Text())
		}
		f.target.Cloud.Authority = ""
		if st := stage(t, f.run(t), check.StageClock); st.Status != check.Skipped || !strings.Contains(st.Summary, "no sign-in host is known") {
			t.Error(st.Text())
		}
	})
}

// What a check asks for is bounded by the context it runs in.
func TestACheckEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := arrange(t, check.Graph, smtpServer())
	ctx, stop := context.WithCancel(t.Context())
	f.deps.Credential = func(context.Context) (check.Credential, error) {
		stop()
		return check.Credential{Token: jwt(t, graphClaims("Mail.Send User.Read"))}, nil
	}
	if failed := failedStage(t, check.Run(ctx, f.target, f.deps, nil)); failed.Name != check.StageMailbox || failed.Summary != "The check was stopped." {
		t.Error(failed.Text())
	}
}
