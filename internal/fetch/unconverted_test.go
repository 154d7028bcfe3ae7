package fetch

import (
	"strings"
	"testing"
)

// Exchange puts a note in the place of a message that it cannot convert. The message is
// parked, not passed over as one without attachments, and the others are taken.
func TestAMessageThatTheServerCannotConvert(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"IMAP4", "POP3"} {
		note := "From: Microsoft Exchange Server\r\nSubject: Retrieval using the " + protocol + " protocol failed for the following message: 60\r\n\r\n" +
			"The server couldn't retrieve the following message:\r\n"
		p := newPost(note, message("2", "b.pdf", "beta"))
		b := newBench(t, p, func(task *Task) { task.Failure.Do = Action{Do: Flag} })
		for range defaultTries {
			b.run(t)
		}
		parked := b.ledger.find(func(e Entry) bool { return e.State == Parked })
		if len(parked) != 1 || parked[0].UID != "1" || !strings.Contains(parked[0].Reason, "could not convert") || !p.inbox["1"].flagged {
			t.Errorf("%s: parked %+v", protocol, parked)
		}
		if taken := b.ledger.find(func(e Entry) bool { return e.State == Done }); len(taken) != 1 || taken[0].UID != "2" {
			t.Errorf("%s: taken %+v", protocol, taken)
		}
	}
}
