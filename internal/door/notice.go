package door

import (
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/mail"
)

// maxEnvelopeID is what RFC 3461 §4.4 allows.
const maxEnvelopeID = 100

// noticeOf is what MAIL said about reports. go-smtp has checked RET and undone the xtext.
func noticeOf(o gosmtp.MailOptions) (mail.Notice, error) {
	if len(o.EnvelopeID) > maxEnvelopeID {
		return mail.Notice{}, say(501, "5.5.4", "ENVID may have 100 characters")
	}
	return mail.Notice{Return: mail.Return(o.Return), EnvelopeID: o.EnvelopeID}, nil
}

// recipientNoticeOf is what RCPT said. go-smtp has checked the type of ORCPT.
func recipientNoticeOf(o gosmtp.RcptOptions) (mail.RecipientNotice, error) {
	var n mail.RecipientNotice
	words := make([]string, len(o.Notify))
	for i, word := range o.Notify {
		words[i] = string(word)
	}
	if len(words) > 0 {
		var err error
		if n.Notify, err = mail.ParseNotify(strings.Join(words, ",")); err != nil {
			return n, say(501, "5.5.4", "NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY")
		}
	}
	if o.OriginalRecipient != "" {
		n.Original = strings.ToLower(string(o.OriginalRecipientType)) + ";" + o.OriginalRecipient
	}
	return n, nil
}
