package vault

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
)

// ExchangeCommands are what an administrator runs once in Exchange Online PowerShell
// so that an account may do what it is for (reference sections 1.4, 5.3). Only what
// applies is listed; what is not known yet stands in capitals.
func ExchangeCommands(d Description, reg App) []string {
	v := d.Account
	mailbox := quote(v.Mailbox.String())
	var lines []string
	switch {
	case v.Method == Application:
		lines = principalCommands(v, reg, mailbox, d.ObjectID)
	case v.Shared:
		who := quote(cmp.Or(d.SignedInAs, "WHO-SIGNS-IN"))
		if v.May(IMAP) || v.May(POP3) {
			lines = append(lines, "Add-MailboxPermission -Identity "+mailbox+" -User "+who+" -AccessRights FullAccess")
		}
		if v.May(Send) || v.May(Graph) {
			lines = append(lines, "Add-RecipientPermission -Identity "+mailbox+" -Trustee "+who+" -AccessRights SendAs")
		}
	}
	if s := switches(v); s != "" {
		lines = append(lines, "Set-CASMailbox "+mailbox+s)
	}
	return lines
}

// principalCommands make Exchange know the app and let it into the mailbox.
func principalCommands(v Account, reg App, mailbox, objectID string) []string {
	id := cmp.Or(objectID, "OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION")
	var lines []string
	if v.May(Send) || v.May(IMAP) || v.May(POP3) {
		lines = append(lines,
			"New-ServicePrincipal -AppId "+quote(reg.ClientID)+" -ObjectId "+quote(id)+" -DisplayName "+quote("Postern "+reg.Name),
			"Add-MailboxPermission -Identity "+mailbox+" -User "+quote(id)+" -AccessRights FullAccess")
	}
	if v.May(HVE) {
		lines = append(lines, "Add-HVEAppAccess -Identity "+mailbox+" -AppIds "+quote(id))
	}
	return lines
}

// switches are the mailbox's own, which refuse tokens as well as passwords. A High
// Volume Email user has none.
func switches(v Account) string {
	var s string
	if v.May(Send) {
		s += " -SmtpClientAuthenticationDisabled $false"
	}
	if v.May(IMAP) {
		s += " -ImapEnabled $true"
	}
	if v.May(POP3) {
		s += " -PopEnabled $true"
	}
	return s
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`)

// quote makes one PowerShell argument of s.
func quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// principal is the object id of the Enterprise application, which only its own tokens
// tell: Exchange wants that one, and people find the registration's. It is read for
// display, never for a decision; "" when there is no token to read.
func (v *Vault) principal(g Grant) string {
	for _, a := range g.Access {
		token, err := v.seal.Open(a.Token, whatAccess, g.Account)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(token.Reveal(), ".")
		payload, _, _ := strings.Cut(rest, ".")
		raw, err := base64.RawURLEncoding.DecodeString(payload)
		if err != nil {
			continue
		}
		var claims struct {
			ObjectID string `json:"oid"`
		}
		if json.Unmarshal(raw, &claims) == nil && claims.ObjectID != "" {
			return claims.ObjectID
		}
	}
	return ""
}
