package main

import (
	"cmp"
	"regexp"
	"strings"

	"postern/internal/vault"
)

// exchangeCommands are what an administrator runs once in Exchange Online
// PowerShell so that the account may do what it is for (reference sections 1.4,
// 5.3). Only what applies is listed; what is not known yet stands in capitals.
func exchangeCommands(v vault.Account, reg vault.App, f accountFacts) []string {
	mailbox := quote(v.Mailbox.String())
	var lines []string
	switch {
	case v.Method == vault.Application:
		lines = principalCommands(v, reg, mailbox, f.ObjectID)
	case v.Shared:
		who := quote(cmp.Or(f.SignedInAs, "WHO-SIGNS-IN"))
		if v.May(vault.IMAP) || v.May(vault.POP3) {
			lines = append(lines, "Add-MailboxPermission -Identity "+mailbox+" -User "+who+" -AccessRights FullAccess")
		}
		if v.May(vault.Send) || v.May(vault.Graph) {
			lines = append(lines, "Add-RecipientPermission -Identity "+mailbox+" -Trustee "+who+" -AccessRights SendAs")
		}
	}
	if s := switches(v); s != "" {
		lines = append(lines, "Set-CASMailbox "+mailbox+s)
	}
	return lines
}

// principalCommands make Exchange know the app and let it into the mailbox.
func principalCommands(v vault.Account, reg vault.App, mailbox, objectID string) []string {
	id := cmp.Or(objectID, "OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION")
	var lines []string
	if v.May(vault.Send) || v.May(vault.IMAP) || v.May(vault.POP3) {
		lines = append(lines,
			"New-ServicePrincipal -AppId "+quote(reg.ClientID)+" -ObjectId "+quote(id)+" -DisplayName "+quote("Postern "+reg.Name),
			"Add-MailboxPermission -Identity "+mailbox+" -User "+quote(id)+" -AccessRights FullAccess")
	}
	if v.May(vault.HVE) {
		lines = append(lines, "Add-HVEAppAccess -Identity "+mailbox+" -AppIds "+quote(id))
	}
	return lines
}

// switches are the mailbox's own, which refuse tokens as well as passwords. A High
// Volume Email user has none.
func switches(v vault.Account) string {
	var s string
	if v.May(vault.Send) {
		s += " -SmtpClientAuthenticationDisabled $false"
	}
	if v.May(vault.IMAP) {
		s += " -ImapEnabled $true"
	}
	if v.May(vault.POP3) {
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
