package vault

import (
	"fmt"
	"slices"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fault"
)

// loopQuiet is how long Entra is left alone when it is throttled by its own word for
// it and names no time: a client that loops (AADSTS50196) must stay away for minutes.
const loopQuiet = 5 * time.Minute

// judge says what a refusal asks for. HTTP status and OAuth error value have decided
// between waiting and pausing; the number that Entra adds may choose, by its row in
// the catalogue, who must act on a pause or whether it was none. byPassword marks a
// refused password: it is never one to try again by itself.
func (v *Vault) judge(n need, err error, byPassword bool) error {
	e := fault.As(err)
	if e == nil {
		return err
	}
	row, numbered, known := v.explain(n.account, n.app, e.Reply)
	kind, after := e.Kind, e.RetryAfter
	if !waits(kind) {
		kind = pausing(kind)
		if again := byPassword && row.Class == catalogue.Temporary; numbered && !again {
			kind = refined(kind, row.Class)
		}
		if kind == fault.NeedsSignIn && n.account.Method == Application { // nobody can sign in to it
			kind = fault.NeedsAdmin
		}
	}
	if kind == fault.Throttled && after == 0 && numbered && row.Class == catalogue.Throttled {
		after = loopQuiet
	}
	out := *e
	out.Kind, out.RetryAfter = kind, after
	if known && !waits(e.Kind) {
		// Outside is what it means, inside are the peer's own words.
		said := &fault.Error{Kind: kind, Op: "Microsoft says", Err: e.Err, Reply: e.Reply}
		out.Reply, out.Err, out.Hint = nil, fmt.Errorf("%s %w", row.Meaning, said), row.Fix
	}
	switch {
	case kind == fault.NeedsSignIn:
		out.Hint = n.account.next(NeedsSignIn, out.Hint)
	case out.Hint == "" && kind == fault.NeedsAdmin:
		out.Hint = n.account.next(NeedsAdmin, "")
	}
	return &out
}

// pausing makes one of the two kinds that pause an account of any kind that does not
// pass by itself.
func pausing(k fault.Kind) fault.Kind {
	if k == fault.NeedsSignIn || k == fault.Denied {
		return fault.NeedsSignIn
	}
	return fault.NeedsAdmin
}

// refined is the kind a class of the catalogue stands for, where it is one of those
// that the number may choose among.
func refined(k fault.Kind, c catalogue.Class) fault.Kind {
	switch c {
	case catalogue.NeedsSignIn:
		return fault.NeedsSignIn
	case catalogue.NeedsAdmin:
		return fault.NeedsAdmin
	case catalogue.Throttled:
		return fault.Throttled
	case catalogue.Temporary:
		return fault.Temporary
	}
	return k
}

// explain finds the catalogue's row for an answer of Entra's; numbered says that it
// is the row of the answer's own number.
func (v *Vault) explain(a Account, app App, r *fault.Reply) (row catalogue.Entry, numbered, known bool) {
	if v.catalogue == nil || r == nil || r.Protocol != catalogue.OAuth {
		return row, false, false
	}
	row, known = v.catalogue.Lookup(catalogue.Query{Protocol: r.Protocol, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text})
	numbered = known && r.Enhanced != "" && slices.Contains(row.Match.AADSTS, r.Enhanced)
	row = row.Fill(map[string]string{
		"mailbox": a.Mailbox.String(), "domain": a.Mailbox.Domain, "tenant": app.Tenant, "client_id": app.ClientID,
	})
	return row, numbered, known
}
