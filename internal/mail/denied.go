package mail

import "time"

// Exchange refuses a message whose From is not the account's (SendAsDenied), over SMTP and
// over Graph. It was seen to do so by mistake and to take the same message seconds later,
// so one more try is made. From is never changed for that: an author whom the device may
// name is not replaced by another behind its back.
const (
	SendAsAgain = time.Minute
	SendAsHint  = "send as the account's mailbox (from: rewrite lets Postern see to it), or grant it Send As: " +
		"Add-RecipientPermission -Identity '<address in From>' -AccessRights SendAs -Trustee '<mailbox of the account>'"
)
