package exchange

import (
	"encoding/base64"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

// change prepares an estate for one case.
type change func(*estate)

func policy(f func(*world.TenantPolicy)) change {
	return func(e *estate) { e.w.UpdateTenant(e.tenant.ID, func(t *world.Tenant) { f(&t.Policy) }) }
}

func mailboxPolicy(f func(*world.MailboxPolicy)) change {
	return func(e *estate) { e.w.SetPolicy("scan@contoso.com", f) }
}

// grant runs New-ServicePrincipal and Add-MailboxPermission.
func grant(registered bool, mailboxes ...string) change {
	return func(e *estate) {
		e.w.UpdateApp(e.app.ClientID, func(a *world.App) {
			a.Registered[e.tenant.ID] = registered
			for _, m := range mailboxes {
				a.FullAccess[m] = true
			}
		})
	}
}

func with(changes ...change) change {
	return func(e *estate) {
		for _, c := range changes {
			c(e)
		}
	}
}

func as(f ...func(*world.Token)) []func(*world.Token) { return f }

func TestTokensOverSMTP(t *testing.T) {
	t.Parallel()
	const no = smtpAuthRefused + " [~]"
	nothing := func(*estate) {}
	off := policy(func(p *world.TenantPolicy) { p.SMTPAuthDisabled = true })
	for name, c := range map[string]struct {
		prepare change
		user    string
		token   []func(*world.Token)
		want    string
	}{
		"own mailbox":           {nothing, "scan@contoso.com", as(), smtpWelcome},
		"other name of Outlook": {nothing, "scan@contoso.com", as(func(t *world.Token) { t.Resource = world.Exchange365Resource }), smtpWelcome},
		"Graph token":           {nothing, "scan@contoso.com", as(func(t *world.Token) { t.Resource = world.GraphResource }), no},
		"no SMTP.Send":          {nothing, "scan@contoso.com", as(func(t *world.Token) { t.Scopes = []string{"IMAP.AccessAsUser.All"} }), no},
		"expired":               {nothing, "scan@contoso.com", as(func(t *world.Token) { t.Expires = time.Now().Add(-time.Second) }), no},
		"another tenant":        {nothing, "scan@contoso.com", as(func(t *world.Token) { t.TenantID = world.ConsumersTenant }), no},
		"another's mailbox":     {nothing, "boss@contoso.com", as(), no},
		"shared mailbox":        {grant(false, "boss@contoso.com"), "boss@contoso.com", as(), smtpWelcome},
		"nobody's mailbox":      {nothing, "who@contoso.com", as(), no},
		"HVE account":           {grant(true, "hve@contoso.com"), "hve@contoso.com", as(appOnly("SMTP.SendAsApp")), no},
		"application":           {grant(true, "scan@contoso.com"), "scan@contoso.com", as(appOnly("SMTP.SendAsApp")), smtpWelcome},
		"not registered":        {grant(false, "scan@contoso.com"), "scan@contoso.com", as(appOnly("SMTP.SendAsApp")), no},
		"no FullAccess":         {grant(true), "scan@contoso.com", as(appOnly("SMTP.SendAsApp")), no},
		"application no role":   {grant(true, "scan@contoso.com"), "scan@contoso.com", as(appOnly()), no},
		"RBAC for Applications": {with(grant(true, "scan@contoso.com"), func(e *estate) {
			e.w.UpdateApp(e.app.ClientID, func(a *world.App) { a.Permissions = []string{rbacRole} })
		}), "scan@contoso.com", as(appOnly()), smtpWelcome},
		"off for the tenant":      {off, "scan@contoso.com", as(), smtpOffTenant + " [~]"},
		"off, but on for mailbox": {with(off, mailboxPolicy(func(p *world.MailboxPolicy) { p.SMTPAuthDisabled = new(false) })), "scan@contoso.com", as(), smtpWelcome},
		"off for the mailbox":     {mailboxPolicy(func(p *world.MailboxPolicy) { p.SMTPAuthDisabled = new(true) }), "scan@contoso.com", as(), smtpOffMailbox + " [~]"},
		"passwords are not meant": {policy(func(p *world.TenantPolicy) {
			p.BasicAuthDisabled, p.BasicAuthRetired, p.SecurityDefaults, p.ConditionalAccess = true, true, true, true
		}), "scan@contoso.com", as(), smtpWelcome},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			c.prepare(e)
			expect(t, e.dial(t, "smtp").signIn(c.user, e.token(c.token...)), c.want)
		})
	}
}

func TestPasswordsOverSMTP(t *testing.T) {
	t.Parallel()
	mfa := func(e *estate) { e.w.UpdateUser("scan@contoso.com", func(u *world.User) { u.MFA = true }) }
	appPasswords := policy(func(p *world.TenantPolicy) { p.AppPasswords = true })
	for name, c := range map[string]struct {
		prepare  change
		password string
		want     string
	}{
		"right":              {func(*estate) {}, "Passw0rd!", smtpWelcome},
		"wrong":              {func(*estate) {}, "guess", smtpWrongPassword},
		"empty":              {func(*estate) {}, "", smtpWrongPassword},
		"retired":            {policy(func(p *world.TenantPolicy) { p.BasicAuthRetired = true }), "Passw0rd!", smtpBasicRetired},
		"disabled":           {policy(func(p *world.TenantPolicy) { p.BasicAuthDisabled = true }), "Passw0rd!", smtpBasicOff},
		"Security Defaults":  {policy(func(p *world.TenantPolicy) { p.SecurityDefaults = true }), "Passw0rd!", smtpDefaults},
		"Conditional Access": {policy(func(p *world.TenantPolicy) { p.ConditionalAccess = true }), "Passw0rd!", smtpConditional},
		"SMTP AUTH off":      {policy(func(p *world.TenantPolicy) { p.SMTPAuthDisabled = true }), "Passw0rd!", smtpOffTenant},
		"second factor":      {mfa, "Passw0rd!", smtpWrongPassword},
		"app password":       {with(mfa, appPasswords), "abcdefghijklmnop", smtpWelcome},
		"no app passwords":   {mfa, "abcdefghijklmnop", smtpWrongPassword},
		"app password too late": {with(mfa, appPasswords, policy(func(p *world.TenantPolicy) { p.BasicAuthDisabled = true })),
			"abcdefghijklmnop", smtpBasicOff},
		"locked":        {func(e *estate) { e.w.UpdateUser("scan@contoso.com", func(u *world.User) { u.Locked = true }) }, "Passw0rd!", smtpWrongPassword},
		"disabled user": {func(e *estate) { e.w.UpdateUser("scan@contoso.com", func(u *world.User) { u.Disabled = true }) }, "Passw0rd!", smtpWrongPassword},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			c.prepare(e)
			got := e.dial(t, "smtp").logIn("scan@contoso.com", c.password)
			if c.want != smtpWelcome {
				c.want += " [~]"
			}
			expect(t, got, c.want)
		})
	}
}

func (c *client) logIn(user, password string) string {
	c.t.Helper()
	c.reply()
	c.ask("EHLO me")
	c.ask("STARTTLS")
	c.startTLS()
	c.ask("EHLO me")
	c.ask("AUTH LOGIN " + base64.StdEncoding.EncodeToString([]byte(user)))
	return c.ask(base64.StdEncoding.EncodeToString([]byte(password)))
}

func TestHighVolumeEmail(t *testing.T) {
	t.Parallel()
	const hve = "hve@contoso.com"
	listed := func(id func(*estate) string) change {
		return func(e *estate) {
			e.w.SetPolicy(hve, func(p *world.MailboxPolicy) { p.HVEApps = []string{id(e)} })
		}
	}
	allowed := listed(func(e *estate) string { return world.ServicePrincipalID(e.app.ClientID, e.tenant.ID) })
	for name, c := range map[string]struct {
		prepare change
		user    string
		token   []func(*world.Token)
		want    string
	}{
		"allowed":          {allowed, hve, as(appOnly("Mail.Send")), smtpWelcome},
		"not allowed":      {func(*estate) {}, hve, as(appOnly("Mail.Send")), smtpAuthRefused + " [~]"},
		"client id listed": {listed(func(e *estate) string { return e.app.ClientID }), hve, as(appOnly("Mail.Send")), smtpAuthRefused + " [~]"},
		"FullAccess":       {grant(true, hve), hve, as(appOnly("Mail.Send")), smtpAuthRefused + " [~]"},
		"another user":     {allowed, hve, as(), smtpAuthRefused + " [~]"},
		"role of SMTP":     {allowed, hve, as(appOnly("SMTP.SendAsApp")), smtpAuthRefused + " [~]"},
		"usual mailbox":    {allowed, "scan@contoso.com", as(), smtpHVEUser + " [~]"},
		"ends too soon":    {allowed, hve, as(appOnly("Mail.Send"), func(t *world.Token) { t.Expires = time.Now().Add(9 * time.Minute) }), smtpHVEExpiresSoon + " [~]"},
		"own switch":       {with(allowed, policy(func(p *world.TenantPolicy) { p.SMTPAuthDisabled, p.BasicAuthRetired = true, true })), hve, as(appOnly("Mail.Send")), smtpWelcome},
		"malformed user":   {allowed, "", as(appOnly("Mail.Send")), smtpHVEUser + " [~]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			c.prepare(e)
			expect(t, e.dial(t, "hve").signIn(c.user, e.token(c.token...)), c.want)
		})
	}
	for name, c := range map[string]struct {
		scope string
		life  time.Duration
		want  string
	}{
		"its own user":         {"SMTP.Send", time.Hour, smtpWelcome},
		"user's other scope":   {"IMAP.AccessAsUser.All", time.Hour, smtpAuthRefused + " [~]"},
		"user's ends too soon": {"SMTP.Send", 9 * time.Minute, smtpHVEExpiresSoon + " [~]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			user, _ := e.w.User(hve)
			token := e.token(func(t *world.Token) {
				t.UserID, t.UPN, t.Scopes, t.Expires = user.ObjectID, hve, []string{c.scope}, time.Now().Add(c.life)
			})
			expect(t, e.dial(t, "hve").signIn(hve, token), c.want)
		})
	}
	t.Run("inside only", func(t *testing.T) {
		t.Parallel()
		e := newEstate(t)
		c := e.dial(t, "hve")
		expect(t, c.logIn(hve, "Passw0rd!"), smtpWelcome)
		c.ask("MAIL FROM:<" + hve + ">")
		expect(t, c.ask("RCPT TO:<x@fabrikam.com>"), smtpExternal)
		c.ask("RSET")
		expect(t, c.submit(hve, []string{"boss@contoso.com"}, letter(hve)), "250 2.0.0 OK ~")
		if n := len(e.w.Messages(hve, SentItems)); n != 0 {
			t.Errorf("%d in Sent Items of an account without a mailbox", n)
		}
		if n := len(e.w.Messages("boss@contoso.com", Inbox)); n != 1 {
			t.Errorf("%d delivered", n)
		}
	})
}

func TestTokensOverIMAPAndPOP(t *testing.T) {
	t.Parallel()
	const ok, no, off = "OK AUTHENTICATE completed.", "NO AUTHENTICATE failed.", "BAD User is authenticated but not connected."
	nothing := func(*estate) {}
	for name, c := range map[string]struct {
		prepare change
		user    string
		token   []func(*world.Token)
		imap    string // ok, no, or off: signed in, to nothing
	}{
		"own mailbox":  {nothing, "scan@contoso.com", as(), ok},
		"wrong scope":  {nothing, "scan@contoso.com", as(func(t *world.Token) { t.Scopes = []string{"SMTP.Send"} }), no},
		"another's":    {nothing, "boss@contoso.com", as(), off},
		"shared":       {grant(false, "boss@contoso.com"), "boss@contoso.com", as(), ok},
		"application":  {grant(true, "scan@contoso.com"), "scan@contoso.com", as(appOnly("IMAP.AccessAsApp", "POP.AccessAsApp")), ok},
		"unregistered": {grant(false, "scan@contoso.com"), "scan@contoso.com", as(appOnly("IMAP.AccessAsApp", "POP.AccessAsApp")), no},
		"no access":    {grant(true), "scan@contoso.com", as(appOnly("IMAP.AccessAsApp", "POP.AccessAsApp")), off},
		"no licence":   {mailboxPolicy(func(p *world.MailboxPolicy) { p.NoLicence = true }), "scan@contoso.com", as(), off},
		"switched off": {mailboxPolicy(func(p *world.MailboxPolicy) { p.IMAPDisabled, p.POPDisabled = true, true }), "scan@contoso.com", as(), off},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			c.prepare(e)
			auth := xoauth2(c.user, e.token(c.token...))
			imap := e.dial(t, "imap")
			imap.hear()
			imap.say("a AUTHENTICATE XOAUTH2 " + auth)
			got := imap.hear()
			if c.imap == off {
				expect(t, got, "a "+ok)
				imap.say("b SELECT INBOX")
				got = "a" + imap.hear()[1:]
				expect(t, imap.hear(), imapByeClosed)
				imap.ended()
			}
			expect(t, got, "a "+c.imap)

			pop := e.dial(t, "pop3")
			pop.hear()
			pop.say("AUTH XOAUTH2")
			expect(t, pop.hear(), "+ ")
			pop.say(auth)
			want := popAuthRefused
			if c.imap == ok {
				want = popWelcome
			}
			expect(t, pop.hear(), want)
		})
	}
}
