package relay

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/smtp"
)

// schedule decides when a message is tried again, and when no more.
type schedule struct {
	giveUp time.Duration
	random func() float64 // [0,1)
}

// backoffs are the waits after the first tries; from then on it is hourly.
func backoffs() []time.Duration {
	return []time.Duration{30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute}
}

// wait is how long to leave a message alone after its n-th try, counted from 1.
func (s schedule) wait(kind fault.Kind, named time.Duration, n int) time.Duration {
	switch {
	case kind == fault.Throttled && named == 0:
		return 10*time.Second + time.Duration(s.random()*float64(50*time.Second))
	case named > 0:
		return named + s.jitter(named)
	case kind == fault.Quota:
		return time.Hour + s.jitter(time.Hour)
	}
	steps := backoffs()
	d := time.Hour
	if n <= len(steps) {
		d = steps[max(n, 1)-1]
	}
	return d + s.jitter(d)
}

// jitter is up to a tenth of d, so that messages deferred together come apart.
func (s schedule) jitter(d time.Duration) time.Duration {
	return time.Duration(s.random() * float64(d) / 10)
}

// exhausted reports whether a message has had its time. One that lay still
// because its account was paused gets the short waits all the same.
func (s schedule) exhausted(m Message, now time.Time) bool {
	return now.Sub(m.Accepted) >= s.giveUp && m.Attempts > len(backoffs())
}

// pauses reports whether a failure is the account's and not the message's.
func pauses(kind fault.Kind) bool { return kind == fault.NeedsSignIn || kind == fault.NeedsAdmin }

// Part is who the next try is for: as many of those who wait as go in one message, 0
// being all, but for those left for later. Those nobody has tried yet come first, so that
// some who must wait do not stand in the way of the others. Only a part that may have got
// it goes before everybody else, and as it was: what became of it cannot be found out for
// any other.
func (m *Message) Part(most int) []*Recipient {
	var fresh, tried, doubtful []*Recipient
	for i := range m.Recipients {
		switch r := &m.Recipients[i]; {
		case r.State != Waiting || r.Later:
		case r.InDoubt:
			doubtful = append(doubtful, r)
		case r.Reply == "":
			fresh = append(fresh, r)
		default:
			tried = append(tried, r)
		}
	}
	if len(doubtful) > 0 {
		return doubtful
	}
	all := append(fresh, tried...)
	if most > 0 && len(all) > most {
		return all[:most]
	}
	return all
}

// Cut leaves all but so many of those who wait for later, until the try that is about to
// begin has ended; 0 leaves nobody. When nobody hears of that try again, it is still known
// whom it was for.
func (m *Message) Cut(most int) {
	for i := range m.Recipients {
		m.Recipients[i].Later = false
	}
	if most == 0 {
		return
	}
	part := m.Part(most)
	for i := range m.Recipients {
		m.Recipients[i].Later = m.Recipients[i].State == Waiting
	}
	for _, r := range part {
		r.Later = false
	}
}

// IsCut reports whether some are left for later.
func (m *Message) IsCut() bool {
	return slices.ContainsFunc(m.Recipients, func(r Recipient) bool { return r.Later })
}

// settle writes into m what one try with a part of its recipients has come to. The
// returned fault is the one to pause the account for, nil when there is none.
//
// Each recipient that upstream took is accepted and never sent again; one that
// was refused for good is refused; the others wait. See docs/way-of-a-message.md.
func (s schedule) settle(m *Message, part []*Recipient, res smtp.Result, err error, now time.Time) (pause *fault.Error) {
	cut := m.IsCut()
	m.Cut(0)
	again := fault.Permanent.String() // the kind of a message that is tried once more
	worst, hint := settleEach(part, res, err, m.Kind != again)
	m.Done, m.Reason, m.Kind, m.Hint = time.Time{}, "", "", hint
	if worst != nil {
		m.Reason, m.Kind, m.Hint = words(worst), worst.Kind.String(), fault.HintOf(worst)
	}
	if worst != nil && pauses(worst.Kind) {
		m.State, m.NotBefore = Queued, now
		return worst
	}
	if m.goesOn(part, res, worst) {
		m.State, m.Reason, m.Kind = Queued, "", ""
		if !cut { // at the end of the queue it might find as little room each time
			m.NotBefore = now
		}
		return nil
	}
	m.Attempts++
	switch {
	case worst == nil:
		m.conclude(now)
	case s.exhausted(*m, now):
		m.abandon(worst, now)
	default:
		m.State, m.NotBefore = Queued, now.Add(s.wait(worst.Kind, worst.RetryAfter, m.Attempts))
	}
	return nil
}

// settleEach settles the recipients of a try, and returns what those that still wait
// wait for, and what to do about the others. A refusal for good that names a wait may be
// a fluke (reference section 4.1, SendAsDenied): the first one counts as temporary. A
// server that finds one recipient too many will never take any.
func settleEach(part []*Recipient, res smtp.Result, err error, first bool) (worst *fault.Error, hint string) {
	alone := !slices.ContainsFunc(res.Recipients, func(r smtp.RecipientReply) bool { return r.Err == nil })
	for _, rcpt := range part {
		f := failureFor(*rcpt, res, err)
		if f == nil && res.Simulated { // what is in doubt stays it
			rcpt.State, rcpt.Reply = Spared, res.Reply.String()
			continue
		}
		rcpt.InDoubt = f != nil && (res.InDoubt || rcpt.InDoubt && len(res.Recipients) == 0) // not even asked about
		if f == nil {
			rcpt.State, rcpt.Reply = Accepted, res.Reply.String()
			rcpt.Blind = rcpt.Notify.Wants(mail.NotifySuccess) && !res.Reports
			continue
		}
		rcpt.Reply = words(f)
		if alone && tooMany(f) {
			f.Kind = fault.Permanent
		}
		if f.Kind == fault.Permanent && (f.RetryAfter == 0 || !first) {
			rcpt.State = Refused
			if hint == "" {
				hint = fault.HintOf(f)
			}
			continue
		}
		if worst == nil || severity(f.Kind) > severity(worst.Kind) {
			worst = f
		}
	}
	return worst, hint
}

// goesOn reports whether the next part goes at once: some are left that were not
// tried, or that the server wants in a message of their own. It got somewhere, so this
// comes to an end.
func (m *Message) goesOn(part []*Recipient, res smtp.Result, worst *fault.Error) bool {
	left := 0
	for _, r := range m.Recipients {
		if r.State == Waiting {
			left++
		}
	}
	for _, r := range part {
		if r.State == Waiting {
			left--
		}
	}
	if left > 0 && (res.Accepted || worst == nil) {
		return true
	}
	return res.Accepted && worst != nil && (tooMany(worst) || worst.Reply != nil && worst.Reply.Enhanced == "4.5.3")
}

// tooMany reports whether a recipient is over the limit of recipients of one message.
func tooMany(f *fault.Error) bool {
	return f.Reply != nil && f.Reply.Stage == smtp.StageRCPT && f.Reply.Enhanced == "5.5.3"
}

// failureFor finds what kept one recipient from getting the message.
func failureFor(rcpt Recipient, res smtp.Result, err error) *fault.Error {
	for _, r := range res.Recipients {
		if r.Err != nil && r.Address == rcpt.Address {
			return asFault(r.Err)
		}
	}
	switch {
	case err != nil:
		return asFault(err)
	case !res.Accepted: // nobody was taken, so nothing was sent; this one was not asked about
		return fault.New(fault.Temporary, "deliver", "the server took no recipient")
	}
	return nil
}

// unspoken is an error from before a server was told of the message: nobody can have
// refused that, whatever is wrong with the database, a password or a certificate.
func unspoken(err error) error {
	f := fault.As(err)
	if f == nil || f.Kind != fault.Permanent && f.Kind != fault.Invalid {
		return err
	}
	waits := *f
	waits.Kind = fault.Temporary
	return &waits
}

func asFault(err error) *fault.Error {
	if f := fault.As(err); f != nil {
		return f
	}
	return &fault.Error{Kind: fault.KindOf(err), Op: "deliver", Err: err}
}

// severity orders the reasons to wait: the one that asks most of people wins.
func severity(k fault.Kind) int {
	switch k {
	case fault.NeedsSignIn, fault.NeedsAdmin:
		return 3
	case fault.Quota:
		return 2
	case fault.Throttled:
		return 1
	}
	return 0
}

// words is a failure as the queue page shows it.
func words(f *fault.Error) string {
	text := oneLine(f.Error())
	if f.Ambiguous {
		text = "the answer was cut off, so the message may have been sent already: " + text
	}
	return text
}

// conclude ends a message nobody waits for any more.
func (m *Message) conclude(now time.Time) {
	m.State, m.Done, m.NotBefore = Delivered, now, time.Time{}
	var refused []string
	for _, r := range m.Recipients {
		if r.State == Spared {
			m.State, m.Reason = Simulated, r.Reply
		}
		if r.State == Refused {
			refused = append(refused, r.Address.String()+": "+r.Reply)
		}
	}
	if len(refused) == 0 {
		return
	}
	m.State, m.Kind = Failed, fault.Permanent.String()
	m.Reason = refused[0]
	if len(refused) > 1 || len(refused) < len(m.Recipients) {
		m.Reason = fmt.Sprintf("%d of %d recipients refused; %s", len(refused), len(m.Recipients), refused[0])
	}
}

// abandon gives up on the recipients that still wait.
func (m *Message) abandon(last *fault.Error, now time.Time) {
	for i := range m.Recipients {
		if r := &m.Recipients[i]; r.State == Waiting {
			r.State = Refused
		}
	}
	m.State, m.Done, m.NotBefore, m.Kind = Failed, now, time.Time{}, last.Kind.String()
	m.Reason = strings.Join([]string{"given up after " + now.Sub(m.Accepted).Round(time.Hour).String(), words(last)}, "; last: ")
}
