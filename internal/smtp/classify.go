package smtp

import (
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
)

// fault classifies a refusal by its codes alone: Microsoft changes the words
// (reference: the table of Exchange Online's submission replies).
func (r reply) fault(stage string) *fault.Error {
	kind, after := r.class(stage)
	return &fault.Error{Kind: kind, Op: "smtp " + stage, RetryAfter: after, Reply: r.told(stage)}
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
	if kind, after, ok := classByEnhanced(r.enhanced); ok {
		return kind, after
	}
	switch {
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
	case r.enhanced == "5.2.2": // the recipient's mailbox is full; after the message it is our own
		return fault.Permanent, true
	case r.enhanced == "5.5.3": // too many in one message: those before it are taken, this one comes with the next
		return fault.Temporary, true
	}
	return fault.Unknown, false
}

func classByEnhanced(enhanced string) (kind fault.Kind, after time.Duration, ok bool) {
	switch enhanced {
	case "5.7.3":
		return fault.NeedsSignIn, 0, true
	case "5.5.127": // HVE: the token ends too soon
		return fault.NeedsSignIn, 0, true
	case "5.7.139", "5.7.30", "5.7.57", "5.7.4", "5.1.8", "5.2.2", "5.5.124", "4.7.66":
		return fault.NeedsAdmin, 0, true
	case "5.1.90", "5.7.232", "5.7.233":
		return fault.Quota, 0, true
	case "5.2.121", "5.2.122":
		return fault.Temporary, waitReceiveRate, true
	case "4.3.2":
		return fault.Throttled, 0, true
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
