package declare

import (
	"errors"
	"fmt"
	"strings"

	"postern/internal/entra"
	"postern/internal/mail"
)

// cloud is the preset of a name, or the operator's own.
func (d App) cloud(getenv func(string) (string, bool)) (entra.Cloud, error) {
	if d.Cloud != entra.Custom {
		if d.Custom != nil {
			return entra.Cloud{}, errors.New("custom: is only used with cloud: custom")
		}
		return entra.CloudByName(d.Cloud)
	}
	bare := d.ClientID == "" && d.Packed == nil // nobody signs in with it: it only names mail servers, for passwords
	if d.Custom == nil || d.Custom.Authority == "" && !bare {
		return entra.Cloud{}, errors.New("cloud: custom needs custom: with at least authority")
	}
	base, err := entra.CloudByName("global")
	if err != nil {
		return entra.Cloud{}, err
	}
	u := d.Custom
	if !strings.HasPrefix(u.Authority, "https://") && (u.Authority != "" || !bare) {
		return entra.Cloud{}, errors.New("custom: authority: allowed is an https:// address, because the client secret is posted there")
	}
	c := entra.Cloud{
		Name: entra.Custom, Authority: strings.TrimRight(u.Authority, "/"), Portal: u.Portal,
		Outlook: or(u.Outlook, base.Outlook), AppOnly: or(u.AppOnly, base.AppOnly), Graph: or(u.Graph, base.Graph),
	}
	for _, s := range []struct {
		from *mail.Server
		to   *mail.Server
		name string
	}{{u.SMTP, &c.SMTP, "smtp"}, {u.HVE, &c.HVE, "hve"}, {u.IMAP, &c.IMAP, "imap"}, {u.POP3, &c.POP3, "pop3"}} {
		if s.from == nil {
			continue
		}
		if s.from.Host == "" || s.from.Port <= 0 || s.from.Port > 65535 || s.from.TLS == "" {
			return entra.Cloud{}, fmt.Errorf("custom: %s: host, port and tls (starttls or implicit) are all needed", s.name)
		}
		if s.from.TLS == mail.Plain {
			return entra.Cloud{}, fmt.Errorf("custom: %s: tls: plain would send the token in the clear; allowed: starttls, implicit", s.name)
		}
		*s.to = *s.from
	}
	if u.CA != nil {
		pem, err := u.CA.Read(getenv)
		if err != nil {
			return entra.Cloud{}, fmt.Errorf("custom: ca: %w", err)
		}
		c.CA = pem.Reveal()
	}
	return c, nil
}

func or(a, b string) string {
	if a != "" {
		return strings.TrimRight(a, "/")
	}
	return b
}
