package relay_test

import (
	"testing"

	"postern/internal/mail"
	"postern/internal/relay"
)

// What is the same message is a matter of who hands in what to whom; the store only
// compares digests.
func TestDigestOfASubmission(t *testing.T) {
	t.Parallel()
	const text = "Message-ID: <1@scan>\r\nSubject: x\r\n\r\ntext\r\n"
	bubble(t, func(t *testing.T, s *setting) {
		sum := func(sub relay.Submission, text string) string {
			t.Helper()
			twin := s.message(s.submit(sub, text)).Resend
			if twin == nil {
				return ""
			}
			return string(twin.Sum())
		}
		base := s.submission("scan", "a@example.net", "b@example.net")
		first := sum(base, text)
		if first == "" || sum(base, text) != first {
			t.Error("the same is not the same")
		}
		device, sender, less, keyed := base, base, base, base
		device.Device = "fax"
		sender.From = mail.Address{Local: "x", Domain: "contoso.com"}
		less.To = base.To[:1]
		keyed.Once = &relay.Once{}
		for name, have := range map[string]string{
			"device": sum(device, text), "sender": sum(sender, text), "recipients": sum(less, text), "content": sum(base, text+"more"),
		} {
			if have == first || have == "" {
				t.Errorf("another %s is the same", name)
			}
		}
		if sum(base, "Subject: x\r\n\r\ntext\r\n") != "" || sum(keyed, text) != "" {
			t.Error("without a Message-ID of its own, or under a key, it has no twins")
		}
	})
}
