package check

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"postern/internal/entra"
	"postern/internal/mail"
)

// finding is something to be said about the settings or the token.
type finding struct {
	fatal      bool
	what, next string
}

// settings finds what cannot work before anything is connected.
func (c *checking) settings(context.Context) Stage {
	var found []finding
	for _, look := range []func() []finding{c.hostFits, c.portFits, c.methodFits, c.identitiesFit, c.secretFits} {
		found = append(found, look()...)
	}
	return conclude(found, "Host, port, encryption and identities fit together.")
}

// conclude makes a stage of findings; good is what to say when there are none.
func conclude(found []finding, good string) Stage {
	if len(found) == 0 {
		return Stage{Status: OK, Summary: good}
	}
	st := Stage{Status: Warn}
	var what, next []string
	for _, f := range found {
		if f.fatal {
			st.Status = Fail
		}
		what = append(what, f.what)
		if f.next != "" && !slices.Contains(next, f.next) {
			next = append(next, f.next)
		}
	}
	st.Summary, st.Next = strings.Join(what, " "), strings.Join(next, " ")
	return st
}

func (c *checking) hostFits() []finding {
	host := strings.ToLower(c.Server.Host)
	proper := c.properServer()
	switch {
	case host == "" && c.Purpose == HVE && c.Cloud.Name != entra.Custom:
		return []finding{{true, "This cloud has no server for High Volume Email.", "Use the purpose send instead."}}
	case host == "":
		return []finding{{true, "No server is given.", "Enter a host" + named(proper) + "."}}
	case !c.Purpose.submits() && strings.HasPrefix(host, "smtp"):
		return []finding{{true, fmt.Sprintf("%s is a server for sending, not for %s.", c.Server.Host, c.Purpose), "Enter a host for reading mail" + named(proper) + "."}}
	case c.Purpose.submits() && (strings.HasPrefix(host, "imap") || strings.HasPrefix(host, "pop")):
		return []finding{{true, fmt.Sprintf("%s is a server for reading mail, not for sending.", c.Server.Host), "Enter a host for sending" + named(proper) + "."}}
	case c.Purpose.submits() && strings.HasSuffix(host, ".mail.protection.outlook.com"):
		return []finding{{true, c.Server.Host + " takes mail for the tenant and knows no sign-in.", "Enter a host for sending" + named(proper) + "."}}
	}
	return nil
}

// properServer is what the cloud's preset says for the purpose.
func (c *checking) properServer() mail.Server {
	switch c.Purpose {
	case IMAP:
		return c.Cloud.IMAP
	case POP3:
		return c.Cloud.POP3
	case HVE:
		return c.Cloud.HVE
	case Graph:
		return webServer(c.Cloud.Graph)
	}
	return c.Cloud.SMTP
}

func named(s mail.Server) string {
	if !s.Set() {
		return ""
	}
	return fmt.Sprintf(", for example %s on port %d with %s", s.Host, s.Port, s.TLS)
}

// wellKnown are the ports that promise a protocol and a mode (RFC 8314, IANA).
func wellKnown(port int) (Purpose, mail.TLSMode, bool) {
	switch port {
	case 25, 587:
		return Send, mail.STARTTLS, true
	case 465:
		return Send, mail.Implicit, true
	case 143:
		return IMAP, mail.STARTTLS, true
	case 993:
		return IMAP, mail.Implicit, true
	case 110:
		return POP3, mail.STARTTLS, true
	case 995:
		return POP3, mail.Implicit, true
	}
	return "", "", false
}

func (c *checking) portFits() []finding {
	s := c.Server
	purpose, mode, known := wellKnown(s.Port)
	next := "Enter the port that belongs to the server" + named(c.properServer()) + "."
	switch {
	case s.Port < 1 || s.Port > 65535:
		return []finding{{true, fmt.Sprintf("%d is not a port.", s.Port), next}}
	case s.TLS == mail.Plain:
		return []finding{{true, "Without TLS neither token nor password may be sent.", fmt.Sprintf("Set TLS to %s or %s.", mail.STARTTLS, mail.Implicit)}}
	case s.TLS != mail.STARTTLS && s.TLS != mail.Implicit:
		return []finding{{true, fmt.Sprintf("%q is not a TLS mode.", s.TLS), fmt.Sprintf("Set TLS to %s or %s.", mail.STARTTLS, mail.Implicit)}}
	case known && purpose != c.Purpose && (!purpose.submits() || !c.Purpose.submits()):
		return []finding{{true, fmt.Sprintf("Port %d is for %s, not for %s.", s.Port, purpose, c.Purpose), next}}
	case s.Port == 465 && strings.HasSuffix(strings.ToLower(s.Host), ".office365.com"):
		return []finding{{true, "Microsoft does not serve port 465.", next}}
	case known && mode != s.TLS:
		return []finding{{true, fmt.Sprintf("Port %d goes with %s, not with %s.", s.Port, mode, s.TLS), fmt.Sprintf("Set TLS to %s, or change the port.", mode)}}
	}
	return nil
}

// methodFits tells of what no server takes.
func (c *checking) methodFits() []finding {
	if c.Method == AppPassword && c.Purpose == Graph {
		return []finding{{true, "Graph takes no passwords.", "Give the account another sign-in method."}}
	}
	return nil
}

func (c *checking) identitiesFit() []finding {
	var found []finding
	if c.Mailbox.Null() {
		found = append(found, finding{true, "No mailbox is given.", "Enter the mailbox's address."})
	}
	shared := slices.Contains([]string{"organizations", "common", "consumers"}, strings.ToLower(c.Tenant))
	switch {
	case c.Tenant == "":
	case shared && c.Method == Application:
		found = append(found, finding{true, fmt.Sprintf("An application permission belongs to one tenant, and %s is none.", c.Tenant), "Enter the directory (tenant) id."})
	case shared && c.Method == Password && !strings.EqualFold(c.Tenant, "organizations"):
		found = append(found, finding{true, fmt.Sprintf("No password is exchanged for tokens at %s.", c.Tenant), "Enter the directory (tenant) id, or organizations."})
	case !shared && !isGUID(c.Tenant) && !isDomain(c.Tenant):
		found = append(found, finding{true, fmt.Sprintf("%q is neither a tenant id nor a domain.", c.Tenant), "Copy the directory (tenant) id from the app registration's overview page."})
	}
	if c.ClientID != "" && !isGUID(c.ClientID) {
		found = append(found, finding{true, fmt.Sprintf("%q is not an application (client) id.", c.ClientID), "Copy the application (client) id from the app registration's overview page."})
	}
	return found
}

func (c *checking) secretFits() []finding {
	value := c.ClientSecret.Reveal() // looked at, never said
	switch {
	case value == "":
		return nil
	case isGUID(strings.TrimSpace(value)):
		return []finding{{true, "The client secret looks like a Secret ID.", "Paste the secret's Value instead, or create a new secret: the Value is shown only once."}}
	case strings.TrimSpace(value) != value:
		return []finding{{false, "The client secret begins or ends with a blank.", "Paste it again without."}}
	}
	return nil
}

func isGUID(s string) bool {
	return regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`).MatchString(s)
}

func isDomain(s string) bool {
	a, err := mail.ParseAddress("x@" + s)
	return err == nil && strings.Contains(a.Domain, ".") && a.Domain[0] != '['
}
