package sim365

import (
	"postern/internal/sim365/world"
)

// Password is what every user of the Contoso fixture signs in with.
const Password = "Simulated-Pa55word"

// Contoso is a ready organisation for demo and tests.
type Contoso struct {
	Tenant   world.Tenant
	Scan     world.User // scan@contoso.com, an ordinary mailbox
	Invoices world.User // invoices@contoso.com, another
	NoAuth   world.User // noauth@contoso.com, SMTP AUTH switched off
	MFA      world.User // mfa@contoso.com, asked for a second factor
	HVE      world.User // hve@contoso.com, a High Volume Email account
	Admin    world.User // admin@contoso.com, may consent for all
	App      world.App  // "Postern": delegated and application permissions, nobody consented yet
}

// Contoso adds the fixture to the world. The app registration gets the given
// redirect URIs; its service principal is registered in Exchange with full access
// to Scan and Invoices and on the list of HVE, so that app-only works once an admin has
// consented.
func (s *Sim) Contoso(redirectURIs ...string) Contoso { return AddContoso(s.World, redirectURIs...) }

// AddContoso is [Sim.Contoso] for a world that is not served (yet).
func AddContoso(w *world.World, redirectURIs ...string) Contoso {
	c := Contoso{Tenant: w.AddTenant(world.Tenant{Domains: []string{"contoso.com", "contoso.onmicrosoft.com"}})}
	user := func(name, display string) world.User {
		return world.User{TenantID: c.Tenant.ID, UPN: name + "@contoso.com", DisplayName: display, Password: Password}
	}
	c.Scan = w.AddUser(user("scan", "Scanner, second floor"))
	c.Invoices = w.AddUser(user("invoices", "Invoices"))
	c.NoAuth = w.AddUser(user("noauth", "No SMTP AUTH"))
	second := user("mfa", "Careful Person")
	second.MFA = true
	c.MFA = w.AddUser(second)
	bulk := user("hve", "High Volume Email")
	bulk.HVE = true
	c.HVE = w.AddUser(bulk)
	admin := user("admin", "Administrator")
	admin.Admin = true
	c.Admin = w.AddUser(admin)

	w.SetPolicy(c.NoAuth.UPN, func(p *world.MailboxPolicy) { p.SMTPAuthDisabled = new(true) })
	c.App = w.AddApp(world.App{
		Name: "Postern", HomeTenant: c.Tenant.ID, Secret: NewSecret(), PublicClient: true, RedirectURIs: redirectURIs,
		Permissions: []string{
			"SMTP.Send", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "Mail.Send", "Mail.ReadWrite",
			"SMTP.SendAsApp", "IMAP.AccessAsApp", "POP.AccessAsApp",
		},
		Registered: map[string]bool{c.Tenant.ID: true},
		FullAccess: map[string]bool{c.Scan.UPN: true, c.Invoices.UPN: true},
	})
	w.SetPolicy(c.HVE.UPN, func(p *world.MailboxPolicy) {
		p.HVEApps = []string{world.ServicePrincipalID(c.App.ClientID, c.Tenant.ID)}
	})
	return c
}

// NewSecret makes a client secret of the shape Microsoft's have: forty characters
// with "8Q~" behind the third.
func NewSecret() string { return world.Random(3) + "8Q~" + world.Random(34) }
