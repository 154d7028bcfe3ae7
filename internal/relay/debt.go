package relay

import (
	"slices"
	"time"

	"postern/internal/mail"
)

// owed is what a message owes its sender after a try. One that was simulated may still
// be sent.
func (r *Relay) owed(m Message) Bounce {
	switch {
	case m.About != "" || r.cfg.Reporter == nil || m.State == Simulated:
		return ""
	case slices.ContainsFunc(m.Recipients, m.owes):
		return BounceDue
	case slices.ContainsFunc(m.Recipients, func(r Recipient) bool { return r.Told }):
		return BounceSent
	case m.State == Failed: // its sender wants to hear of no failure
		return BounceNone
	}
	return ""
}

// owes reports whether a report is owed on a recipient: at once on one that failed for
// good, and on one that was passed on when nobody waits any more, so that a message that
// goes in parts is reported on once.
func (m Message) owes(r Recipient) bool {
	return !r.Told && (r.State == Refused && r.Notify.Wants(mail.NotifyFailure) ||
		r.State == Accepted && r.Blind && !m.Done.IsZero())
}

// owing are the recipients that a due report is about.
func (m Message) owing() []Recipient {
	if m.Bounce != BounceDue {
		return nil
	}
	return recipients(m, m.owes)
}

// late reports whether the sender wants to hear that a recipient still waits.
func (r Recipient) late() bool { return r.State == Waiting && r.Notify.Wants(mail.NotifyDelay) }

// waitingLate are the recipients that the report on a late message is about.
func (m Message) waitingLate(now time.Time) []Recipient {
	if m.TellBy.IsZero() || m.TellBy.After(now) || m.State != Queued && m.State != Held {
		return nil
	}
	return recipients(m, Recipient.late)
}

func recipients(m Message, which func(Recipient) bool) []Recipient {
	var some []Recipient
	for _, r := range m.Recipients {
		if which(r) {
			some = append(some, r)
		}
	}
	return some
}

// Tell notes in m that a report on these recipients is in the queue. When one of them is
// owed none, because another report was faster or the message is being tried again, it
// is false, and m must not be kept.
func (m *Message) Tell(who []mail.Address) bool {
	if m.Bounce != BounceDue || m.State == Delivering || len(who) == 0 {
		return false
	}
	left := who
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if len(left) == 0 || r.Address != left[0] {
			continue
		}
		if !m.owes(*r) {
			return false
		}
		r.Told, left = true, left[1:]
	}
	if !slices.ContainsFunc(m.Recipients, m.owes) {
		m.Bounce = BounceSent
	}
	return len(left) == 0
}
