package exchange

import (
	"slices"
	"strings"
	"time"

	"postern/internal/secret"
	"postern/internal/sim365/world"
)

// service is what differs between the doors in who may come in.
type service struct {
	name  string // as in world.Fault.Where
	scope string // the delegated permission
	role  string // the application permission
}

// The services. HVE's delegated scope is not documented; SMTP's is taken.
func submission() service { return service{"smtp", "SMTP.Send", "SMTP.SendAsApp"} }
func highVolume() service { return service{"hve", "SMTP.Send", "Mail.Send"} }
func reading() service    { return service{"imap", "IMAP.AccessAsUser.All", "IMAP.AccessAsApp"} }
func fetching() service   { return service{"pop3", "POP.AccessAsUser.All", "POP.AccessAsApp"} }

// rbacRole among an app's Permissions is the management role assignment of RBAC
// for Applications: SMTP without the SMTP.SendAsApp claim.
const rbacRole = "Application SMTP.SendAsApp"

// hveTokenLeft is how long a token must still live for High Volume Email.
const hveTokenLeft = 10 * time.Minute

// credentials are what a client presented. A basic sign-in has a password, the
// other kind a token.
type credentials struct {
	user      string
	token     secret.Text
	password  secret.Text
	basic     bool
	malformed bool
}

// verdict is the answer to credentials. Each protocol has its own words for it,
// and most have fewer words than there are verdicts.
type verdict int

const (
	welcome          verdict = iota
	refused                  // token, audience, permission or account: never said which
	noRights                 // a good token, and a mailbox it may not open
	noMailbox                // nothing behind the sign-in: no licence, protocol switched off
	offForTenant             // SMTP AUTH is switched off, and the mailbox inherits that
	offForMailbox            // SMTP AUTH is switched off for the mailbox itself
	basicRetired             // passwords are gone for good
	basicOff                 // passwords are switched off
	securityDefaults         // passwords are blocked by Security Defaults
	conditional              // passwords are blocked by Conditional Access
	wrongPassword            //
	notHVE                   // the address is no High Volume Email account
	expiresSoon              // High Volume Email wants more life in a token
)

// judge decides about credentials. Passwords are looked at only when nothing
// forbids the use of any password; switches of a mailbox only for good tokens.
func (s *Servers) judge(svc service, c credentials) verdict {
	v := s.decide(svc, c)
	if v == welcome {
		s.world.Bump(svc.name + "_auth")
	} else {
		s.world.Bump(svc.name + "_auth_refused")
	}
	s.cfg.Log.Debug("auth", "service", svc.name, "mailbox", c.user, "welcome", v == welcome)
	return v
}

func (s *Servers) decide(svc service, c credentials) verdict {
	user, ok := s.world.User(c.user)
	switch {
	case svc.name == "hve" && (c.malformed || !ok || !user.HVE):
		return notHVE
	case c.malformed, !ok, user.HVE && svc.name != "hve":
		return refused
	}
	tenant, _ := s.world.Tenant(user.TenantID)
	if c.basic {
		return s.password(svc, c, user, tenant)
	}
	if v := s.bearer(svc, c, user); v != welcome {
		return v
	}
	return s.switches(svc, user, tenant)
}

// bearer judges a token against the mailbox it is to open.
func (s *Servers) bearer(svc service, c credentials, user world.User) verdict {
	t, err := s.world.CheckToken(c.token.Reveal())
	switch {
	case err != nil,
		t.Resource != world.ExchangeResource && t.Resource != world.Exchange365Resource,
		t.TenantID != user.TenantID:
		return refused
	case svc.name == "hve" && t.Expires.Sub(s.world.Now()) < hveTokenLeft:
		return expiresSoon
	}
	app, _ := s.world.App(t.ClientID)
	access := app.FullAccess[strings.ToLower(user.UPN)]
	switch {
	case t.UserID != "":
		return delegated(svc, t, user, access)
	case svc.name == "hve":
		listed := s.world.Policy(user.UPN).HVEApps
		access = slices.ContainsFunc(listed, func(id string) bool {
			return strings.EqualFold(id, world.ServicePrincipalID(t.ClientID, t.TenantID))
		})
	}
	return applied(svc, t, app, access)
}

// delegated: the user's own mailbox, or a shared one. The world keeps no list of
// who may open whose mailbox: FullAccess of the app stands for that of its users.
func delegated(svc service, t world.Token, user world.User, access bool) verdict {
	switch {
	case !slices.Contains(t.Scopes, svc.scope):
		return refused
	case t.UserID != user.ObjectID && !access:
		return noRights
	}
	return welcome
}

// applied: an application token needs its permission, its service principal in
// Exchange and the mailbox permission. For High Volume Email the last is the account's
// list of apps (Add-HVEAppAccess), and no service principal is registered.
func applied(svc service, t world.Token, app world.App, access bool) verdict {
	permitted := slices.Contains(t.Roles, svc.role) ||
		svc.name == "smtp" && slices.Contains(app.Permissions, rbacRole)
	switch {
	case !permitted, svc.name != "hve" && !app.Registered[t.TenantID]:
		return refused
	case !access:
		return noRights
	}
	return welcome
}

// switches are what Set-CASMailbox and the licence say. High Volume Email has
// none: its endpoint is apart from the tenant's SMTP AUTH switch.
func (s *Servers) switches(svc service, user world.User, tenant world.Tenant) verdict {
	p := s.world.Policy(user.UPN)
	switch svc.name {
	case "smtp":
		return smtpSwitch(p, tenant)
	case "imap":
		if p.IMAPDisabled || p.NoLicence {
			return noMailbox
		}
	case "pop3":
		if p.POPDisabled || p.NoLicence {
			return noMailbox
		}
	}
	return welcome
}

func smtpSwitch(p world.MailboxPolicy, tenant world.Tenant) verdict {
	switch {
	case p.SMTPAuthDisabled == nil && tenant.Policy.SMTPAuthDisabled:
		return offForTenant
	case p.SMTPAuthDisabled != nil && *p.SMTPAuthDisabled:
		return offForMailbox
	}
	return welcome
}

// password judges a basic sign-in, which only submission still knows.
func (s *Servers) password(svc service, c credentials, user world.User, tenant world.Tenant) verdict {
	p := tenant.Policy
	switch {
	case svc.name != "smtp" && svc.name != "hve":
		return refused
	case p.BasicAuthRetired && svc.name == "smtp": // High Volume Email keeps it until 2028
		return basicRetired
	}
	if v := s.switches(svc, user, tenant); v != welcome {
		return v
	}
	switch {
	case p.BasicAuthDisabled:
		return basicOff
	case p.SecurityDefaults:
		return securityDefaults
	case p.ConditionalAccess:
		return conditional
	case !rightPassword(c.password.Reveal(), user, p.AppPasswords):
		return wrongPassword
	}
	return welcome
}

// rightPassword: behind a second factor only an app password opens anything.
func rightPassword(given string, user world.User, appPasswords bool) bool {
	switch {
	case given == "" || user.Disabled || user.Locked:
		return false
	case appPasswords && given == user.AppPassword:
		return true
	}
	return !user.MFA && given == user.Password
}
