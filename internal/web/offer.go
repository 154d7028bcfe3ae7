package web

import (
	"strings"

	"postern/internal/vault"
)

// OffersMicrosoft reports whether a mail server's name is one of Microsoft 365, so
// that a sign-in at Microsoft is worth offering (product A4): it contains office365
// or outlook, which those of the national clouds under .us and .cn do too.
func OffersMicrosoft(host string) bool {
	host = strings.ToLower(host)
	return strings.Contains(host, "office365") || strings.Contains(host, "outlook")
}

// offers reports whether an account's page has the buttons of a sign-in. In a cloud
// of the operator's own the servers may have any name: naming where to sign in, which
// such a cloud must, and a client id says enough. An app that is nothing but the
// hosts of its mail servers has neither.
func offers(a vault.App) bool {
	c := a.Cloud
	if a.ClientID == "" {
		return false
	}
	for _, host := range []string{c.SMTP.Host, c.HVE.Host, c.IMAP.Host, c.POP3.Host} {
		if OffersMicrosoft(host) {
			return true
		}
	}
	return c.Name == "custom" && c.Authority != ""
}
