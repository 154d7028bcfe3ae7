package exchange

import "strings"

// What Exchange Online says on port 995.
const (
	popGreeting     = "+OK The Microsoft Exchange POP3 service is ready."
	popOK           = "+OK"
	popContinue     = "+ "
	popWelcome      = "+OK User successfully authenticated."
	popAuthRefused  = "-ERR Authentication failure: unknown user name or bad password."
	popLogonRefused = "-ERR Logon failure: unknown user name or bad password."
	popProtocol     = "-ERR Protocol error. Connection is closed. 10"
	popUnknown      = "-ERR Protocol error. 14"
	popState        = "-ERR Command is not valid in this state."
	popOutOfRange   = "-ERR The specified message is out of range."
	popGoodbye      = "+OK Microsoft Exchange Server POP3 server signing off."
)

func popCapabilities() string {
	return strings.Join([]string{popOK, "TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER", "."}, "\n")
}
