package fetch

import (
	"strings"

	"postern/internal/extract"
	"postern/internal/fault"
)

// unconverted recognises what Exchange gives in the place of a message that it cannot
// convert: a letter of its own, without the attachments. It must not pass for the
// message, or those would be lost without a word.
func unconverted(s extract.Summary) error {
	for _, protocol := range []string{"IMAP4", "POP3"} {
		if strings.HasPrefix(s.Subject, "Retrieval using the "+protocol+" protocol failed for the following message") {
			return fault.New(fault.Permanent, "read message", "Exchange could not convert the message and gave a note in its place").
				WithHint("save its attachments by hand in Outlook, or move it out of the folder")
		}
	}
	return nil
}
