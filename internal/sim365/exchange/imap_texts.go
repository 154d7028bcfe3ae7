package exchange

import (
	"fmt"
	"time"
)

// What Exchange Online says on port 993. Lines without a tag are whole; the
// others follow the client's tag.
const (
	imapGreeting      = "* OK The Microsoft Exchange IMAP4 service is ready."
	imapCapBefore     = "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
	imapCapAfter      = "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+"
	imapCapOK         = "OK CAPABILITY completed."
	imapID            = `* ID ("name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.20")`
	imapIDOK          = "OK ID completed"
	imapNoopOK        = "OK NOOP completed."
	imapContinue      = "+ "
	imapWelcome       = "OK AUTHENTICATE completed."
	imapAuthRefused   = "NO AUTHENTICATE failed."
	imapLoginRefused  = "NO LOGIN failed."
	imapNotConnected  = "BAD User is authenticated but not connected."
	imapByeClosed     = "* BYE Connection closed. 14"
	imapByeExpired    = "* BYE Session invalidated - AccessTokenExpired"
	imapByeLogout     = "* BYE Microsoft Exchange Server IMAP4 server signing off."
	imapLogoutOK      = "OK LOGOUT completed."
	imapCommandError  = "BAD Command Error. 10"
	imapArgumentError = "BAD Command Argument Error. 11"
	imapStateError    = "BAD Command Error. 12"
)

func imapThrottled(wait time.Duration) string {
	return fmt.Sprintf("BAD Request is throttled. Suggested Backoff Time: %d milliseconds", wait.Milliseconds())
}

// imapTagged prefixes a line with the client's tag, unless it is untagged or a
// continuation already.
func imapTagged(tag, line string) string {
	if len(line) > 1 && (line[0] == '*' || line[0] == '+') && line[1] == ' ' {
		return line
	}
	return tag + " " + line
}
