package mailbox

import "postern/internal/secret"

// Login is what somebody signs in with: a token for XOAUTH2, or a password for servers
// that still take one.
type Login struct {
	User            string
	Token, Password secret.Text
}
