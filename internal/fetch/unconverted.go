package fetch

import (
	"strings"

	"postern/internal/extract"
	"postern/internal/fault"
)

// notConverted is why a message waits for a person.
const notConverted = "Exchange could not convert the message and gave a note in its place"

// unconverted recognises what Exchange gives in the place of a message that it cannot
// convert: a letter of its own, without the attachments, and with its own header, which
// no sender's rule fits. It must not pass for the message, or those would be lost without
// a word: a rule that the note fits gets it, with a warning, but the message is parked,
// and the mailbox action is that of failures.
func unconverted(s extract.Summary) bool {
	rest, begins := strings.CutPrefix(s.Subject, "Retrieval using the ")
	return begins && (strings.HasPrefix(rest, "IMAP4 protocol failed for the following message") ||
		strings.HasPrefix(rest, "POP3 protocol failed for the following message"))
}

func unconvertedError() error {
	return fault.New(fault.Permanent, "read message", notConverted).
		WithHint("save its attachments by hand in Outlook, or move it out of the folder")
}

// ended is what a message comes to when nothing is left to do with it, and why.
func (e Entry) ended() (EntryState, string) {
	switch {
	case e.Owed != nil:
		return e.Owed.State, e.Owed.Reason
	case e.Unconverted:
		return Parked, notConverted
	case len(e.Files) == 0:
		return Done, e.Reason // why nothing was saved
	}
	return Done, "" // if an action had failed, it has not any more
}
