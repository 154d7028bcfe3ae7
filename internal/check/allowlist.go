package check

import (
	"slices"
	"strings"

	"postern/internal/entra"
	"postern/internal/mail"
)

// Needer is who connects to a host.
type Needer string

// The needers.
const (
	Machine Needer = "machine" // the one Postern runs on
	Browser Needer = "browser" // of the person who signs in
)

// Host is one entry of the allow-list: a name and port that firewall or proxy must let
// through.
type Host struct {
	Name     string `json:"host"` // "*.msauth.net" stands for every name that ends so
	Port     int    `json:"port"`
	For      string `json:"for"`
	Required bool   `json:"required"` // something that is set up does not work without it
	NeededBy Needer `json:"needed_by"`

	purpose Purpose // of a mail host; Graph is any web host
	mode    mail.TLSMode
	path    string // of the public document to ask a web host for
	signIn  bool   // it is the sign-in host, whose document is known
}

// wildcard reports whether the entry stands for many names.
func (h Host) wildcard() bool { return strings.HasPrefix(h.Name, "*.") }

// AllowList is what a cloud needs, its own hosts first, then what Microsoft publishes
// (reference section 7). Required are the sign-in host and those of the purposes used;
// nil means sending and reading mail.
func AllowList(cloud entra.Cloud, tenant string, uses []Purpose) []Host {
	if uses == nil {
		uses = []Purpose{Send, IMAP, POP3}
	}
	list := []Host{webHost(signInMetadata(cloud, tenant), "sign-in and tokens; from the person's browser too", true)}
	list[0].signIn = true
	for _, m := range []struct {
		purpose Purpose
		what    string
		server  mail.Server
	}{
		{Send, "sending (SMTP)", cloud.SMTP}, {HVE, "sending (High Volume Email)", cloud.HVE},
		{IMAP, "reading (IMAP)", cloud.IMAP}, {POP3, "reading (POP3)", cloud.POP3},
	} {
		list = append(list, Host{
			Name: m.server.Host, Port: m.server.Port, For: m.what, Required: slices.Contains(uses, m.purpose), NeededBy: Machine,
			purpose: m.purpose, mode: m.server.TLS,
		})
	}
	if cloud.Graph != "" {
		list = append(list, webHost(strings.TrimRight(cloud.Graph, "/")+graphMetadata, "Graph", slices.Contains(uses, Graph)))
	}
	list = append(list, published(cloud.Name)...)
	return slices.DeleteFunc(list, func(h Host) bool { return h.Name == "" })
}

func webHost(address, what string, required bool) Host {
	s := webServer(address)
	_, path, _ := strings.Cut(strings.TrimPrefix(address, "https://"), "/")
	return Host{Name: s.Host, Port: s.Port, For: what, Required: required, NeededBy: Machine, purpose: Graph, mode: mail.Implicit, path: "/" + path}
}

// published is what Microsoft lists for a cloud beside its own hosts.
func published(cloud string) []Host {
	web := func(what string, by Needer, names ...string) []Host {
		var hosts []Host
		for _, n := range names {
			hosts = append(hosts, Host{Name: n, Port: 443, For: what, NeededBy: by, purpose: Graph, mode: mail.Implicit, path: "/"})
		}
		return hosts
	}
	smtp := func(what string, port int, names ...string) []Host {
		var hosts []Host
		for _, n := range names {
			hosts = append(hosts, Host{Name: n, Port: port, For: what, NeededBy: Machine, purpose: Send, mode: mail.STARTTLS})
		}
		return hosts
	}
	reading := func(name string) []Host {
		return []Host{
			{Name: name, Port: 993, For: "reading (IMAP)", NeededBy: Machine, purpose: IMAP, mode: mail.Implicit},
			{Name: name, Port: 995, For: "reading (POP3)", NeededBy: Machine, purpose: POP3, mode: mail.Implicit},
		}
	}
	switch cloud {
	case "global":
		return slices.Concat(
			web("other names of sign-in", Machine, "login.microsoft.com", "login.windows.net", "graph.windows.net", "*.microsoftonline.com", "*.microsoftonline-p.com"),
			web("large messages through Graph", Machine, "outlook.office.com", "outlook.office365.com"),
			reading("*.outlook.office.com"),
			smtp("sending without TLS 1.2 (SMTP)", 587, "smtp-legacy.office365.com"),
			smtp("sending (SMTP)", 587, "*.office365.com"),
			smtp("sending to the tenant alone, without a sign-in", 25, "*.mail.protection.outlook.com"),
			web("sign-in by a code", Browser, "device.login.microsoftonline.com", "microsoft.com", "aka.ms"),
			web("sign-in pages", Browser, "*.msauth.net", "*.msftauth.net", "*.msauthimages.net", "*.msftauthimages.net", "*.auth.microsoft.com", "*.msidentity.com"),
			web("sign-in of personal accounts", Browser, "login.live.com"),
		)
	case "usgov", "dod":
		return web("sign-in pages", Browser, "*.auth.microsoft.us")
	case "china":
		return smtp("sending without TLS 1.2 (SMTP)", 587, "smtp-legacy.partner.outlook.cn")
	}
	return nil
}

// microsoftIssuers are parts of the names, in lower case, of those who issue
// certificates for Microsoft's hosts: itself and the public authorities it uses.
func microsoftIssuers() []string { return []string{"microsoft", "digicert", "globalsign", "entrust"} }
