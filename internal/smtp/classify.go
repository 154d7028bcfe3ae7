package smtp

import (
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// fault classifies a refusal by its codes: Microsoft changes the words (reference: the
// table of Exchange Online's submission replies). Where one code stands for several
// things the name of the exception decides, which is a code too; one sentence is read,
// because nothing else tells.
func (r reply) fault(stage string) *fault.Error {
	kind, after := r.class(stage)
	f := &fault.Error{Kind: kind, Op: "smtp " + stage, RetryAfter: after, Reply: r.told(stage)}
	if r.sendAsDenied() {
		f.Hint = mail.SendAsHint
	}
	return f
}

// Waits that Microsoft's documentation names for a code.
const (
	waitServerBusy  = 5 * time.Minute  // 4.7.500–699: 5 to 60 minutes
	waitSuspicion   = 30 * time.Minute // 4.7.850–899
	waitReceiveRate = time.Hour        // 5.2.121, 5.2.122: 3,600 an hour
)

func (r reply) class(stage string) (fault.Kind, time.Duration) {
	if kind, ok := r.classOfRecipient(stage); ok {
		return kind, 0
	}
	if kind, after, ok := r.classByException(); ok {
		return kind, after
	}
	if kind, after, ok := classByEnhanced(r.enhanced); ok {
		return kind, after
	}
	switch {
	case r.code == 421: // service not available, whatever stands behind it
		return fault.Temporary, 0
	case r.enhanced == "4.3.2":
		return fault.Throttled, 0
	case r.code == 503 && r.enhanced == "5.5.1", r.code == 500 && r.enhanced == "5.3.3": // Exchange and we do not understand each other
		return fault.NeedsAdmin, 0
	case r.code == 432:
		return fault.Throttled, 0
	case r.code == 503: // our order of commands was not to its taste: no fault of the message
		return fault.Temporary, 0
	case r.code/100 != 5:
		return fault.Temporary, 0
	case r.code == 534, r.code == 535:
		return fault.NeedsSignIn, 0
	case r.code == 504, r.code == 523, r.code == 530, r.code == 538: // TLS, AUTH or the mechanism is not to be had here
		return fault.NeedsAdmin, 0
	}
	switch stage {
	case StageMAIL, StageRCPT, StageDATA, StageBody:
		return fault.Permanent, 0
	}
	return fault.NeedsAdmin, 0 // refused before any message was spoken of
}

// classOfRecipient knows the codes that mean something else when they answer RCPT TO.
func (r reply) classOfRecipient(stage string) (kind fault.Kind, ok bool) {
	switch {
	case stage != StageRCPT || r.code/100 != 5:
		return fault.Unknown, false
	case r.enhanced == "5.2.2": // the recipient's mailbox is full; after the message it is about us
		return fault.Permanent, true
	case r.enhanced == "5.5.3": // too many in one message: those before it are taken, this one comes with the next
		return fault.Temporary, true
	case (r.enhanced == "5.7.3" || r.enhanced == "5.7.4") && r.code/10 != 53: // RFC 3463 §3.8: what this one asks of a message, not what we are asked for
		return fault.Permanent, true
	}
	return fault.Unknown, false
}

// exception is the name of what went wrong inside Exchange's store, as it stands after
// the message: 5.2.0 and 5.2.2 say little more than that something did.
func (r reply) exception() string {
	_, rest, found := strings.Cut(r.text(), "STOREDRV.Submission.Exception:")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(rest, ".")
	name, _, _ = strings.Cut(name, ";")
	return strings.TrimSpace(name)
}

func (r reply) sendAsDenied() bool {
	return r.enhanced == "5.2.252" || r.enhanced == "5.7.60" || r.exception() == "SendAsDeniedException"
}

// federationDown is how Exchange says that the customer's own sign-in server is away:
// under the code of switches that are off, and no other sign of it.
const federationDown = "federated STS service was unreachable"

func (r reply) classByException() (kind fault.Kind, after time.Duration, ok bool) {
	switch name := r.exception(); {
	case r.sendAsDenied():
		return fault.Permanent, mail.SendAsAgain, true
	case name == "SubmissionQuotaExceededException":
		return fault.Quota, 0, true
	case name == "QuotaExceededException": // our own mailbox is full
		return fault.NeedsAdmin, 0, true
	case r.enhanced == "5.7.139" && strings.Contains(r.text(), federationDown):
		return fault.Temporary, 0, true
	}
	return fault.Unknown, 0, false
}

func classByEnhanced(enhanced string) (kind fault.Kind, after time.Duration, ok bool) {
	switch enhanced {
	case "5.7.3":
		return fault.NeedsSignIn, 0, true
	case "5.5.127": // HVE: the token ends too soon
		return fault.NeedsSignIn, 0, true
	case "5.7.139", "5.7.30", "5.7.57", "5.7.4", "5.1.8", "5.5.124", "4.7.66":
		return fault.NeedsAdmin, 0, true
	case "5.1.90", "5.2.2", "5.7.232", "5.7.233": // 5.2.2 without an exception: Submission quota exceeded
		return fault.Quota, 0, true
	case "5.2.121", "5.2.122":
		return fault.Throttled, waitReceiveRate, true
	}
	detail, of := policyDetail(enhanced)
	switch {
	case of == '5' && (detail >= 501 && detail <= 509 || detail == 511 || detail >= 700 && detail <= 799):
		return fault.NeedsAdmin, 0, true // the sender or the tenant is blocked
	case of == '4' && detail >= 500 && detail <= 699:
		return fault.Throttled, waitServerBusy, true
	case of == '4' && detail >= 850 && detail <= 899:
		return fault.Throttled, waitSuspicion, true
	}
	return fault.Unknown, 0, false
}

// policyDetail takes x.7.n apart; ranges count as their first number.
func policyDetail(enhanced string) (detail int, class byte) {
	if len(enhanced) < 5 || enhanced[1:4] != ".7." {
		return 0, 0
	}
	first, _, _ := strings.Cut(enhanced[4:], "-")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0, 0
	}
	return n, enhanced[0]
}
