package exchange

import (
	"fmt"
	"strings"
)

// What Exchange Online says on port 587. Reference: the project's notes on
// submission replies; what is not written there follows Exchange Server.
const (
	smtpHelloFirst     = "503 5.5.2 Send hello first"
	smtpBadSequence    = "503 5.5.1 Bad sequence of commands"
	smtpNeedMail       = "503 5.5.2 Need mail command"
	smtpNeedRcpt       = "503 5.5.2 Need rcpt command"
	smtpSenderGiven    = "503 5.5.2 Sender already specified"
	smtpUnknown        = "500 5.3.3 Unrecognized command"
	smtpLineTooLong    = "500 5.5.2 Line too long"
	smtpArguments      = "501 5.5.4 Invalid arguments"
	smtpAddress        = "501 5.1.3 Invalid address"
	smtpNoMechanism    = "504 5.7.4 Unrecognized authentication type"
	smtpReadyForTLS    = "220 2.0.0 SMTP server ready"
	smtpContinue       = "334 "
	smtpWelcome        = "235 2.7.0 Authentication successful"
	smtpSenderOK       = "250 2.1.0 Sender OK"
	smtpRecipientOK    = "250 2.1.5 Recipient OK"
	smtpReset          = "250 2.0.0 Resetting"
	smtpOK             = "250 2.0.0 OK"
	smtpStartInput     = "354 Start mail input; end with <CRLF>.<CRLF>"
	smtpGoodbye        = "221 2.0.0 Service closing transmission channel"
	smtpShutdown       = "421 4.3.2 Service not available"
	smtpTooBig         = "552 5.3.4 Message size exceeds fixed maximum message size"
	smtpTooMany        = "550 5.5.3 Too many recipients"
	smtpExternal       = "550 5.5.105 External sending is not supported for High Volume Email accounts"
	smtpBareLF         = "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds, which cannot be sent via DATA"
	smtpNotSignedIn    = "530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM"
	smtpConcurrent     = "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending"
	smtpOverRate       = "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"
	smtpQuota          = "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception with message Cannot submit message."
	smtpMailboxFull    = "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded; Failed to process message due to a permanent exception with message Cannot submit message."
	smtpSendAs         = "554 5.2.252 SendAsDenied; %s not allowed to send as %s; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception with message [BeginDiagnosticData]Cannot submit message. 16.55847:0F010000, 17.43559:0000000094000000000000000000000000000000[EndDiagnosticData]"
	smtpAuthRefused    = "535 5.7.3 Authentication unsuccessful"
	smtpAuthPolicy     = "535 5.7.139 Authentication unsuccessful, "
	smtpOffTenant      = smtpAuthPolicy + "SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information."
	smtpOffMailbox     = smtpAuthPolicy + "SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information."
	smtpBasicOff       = smtpAuthPolicy + "basic authentication is disabled."
	smtpDefaults       = smtpAuthPolicy + "user is locked by your organization's security defaults policy. Contact your administrator."
	smtpConditional    = smtpAuthPolicy + "the request did not meet the criteria to be authenticated successfully. Contact your administrator."
	smtpWrongPassword  = smtpAuthPolicy + "the user credentials were incorrect."
	smtpBasicRetired   = "550 5.7.30 Basic authentication is not supported for Client Submission."
	smtpHVEUser        = "501 5.5.124 Invalid XOAUTH2 auth data - User address provided is not valid"
	smtpHVEExpiresSoon = "501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon"
)

// smtpMaxSize is what EHLO offers; a mailbox's own limit is lower.
const smtpMaxSize = 157286400

// smtpHello is the answer to EHLO. AUTH is offered over TLS only.
func smtpHello(host, client string, secure bool) string {
	security := "STARTTLS"
	if secure {
		security = "AUTH LOGIN XOAUTH2"
	}
	lines := []string{
		fmt.Sprintf("%s Hello [%s]", host, client), fmt.Sprintf("SIZE %d", smtpMaxSize), "PIPELINING", "DSN",
		"ENHANCEDSTATUSCODES", security, "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8",
	}
	last := len(lines) - 1
	return "250-" + strings.Join(lines[:last], "\n250-") + "\n250 " + lines[last]
}

// smtpVerdict puts a verdict about credentials into words.
func smtpVerdict(v verdict) string {
	switch v {
	case welcome:
		return smtpWelcome
	case offForTenant:
		return smtpOffTenant
	case offForMailbox:
		return smtpOffMailbox
	case basicRetired:
		return smtpBasicRetired
	case basicOff:
		return smtpBasicOff
	case securityDefaults:
		return smtpDefaults
	case conditional:
		return smtpConditional
	case wrongPassword:
		return smtpWrongPassword
	case notHVE:
		return smtpHVEUser
	case expiresSoon:
		return smtpHVEExpiresSoon
	}
	return smtpAuthRefused
}
