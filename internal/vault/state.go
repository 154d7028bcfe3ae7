package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fault"
)

// paused reports whether the account waits for somebody.
func (a Account) paused() bool { return a.State == NeedsSignIn || a.State == NeedsAdmin }

// waits reports whether a failure passes by itself, so that nobody need act.
func waits(k fault.Kind) bool {
	switch k {
	case fault.Unknown, fault.Temporary, fault.Throttled, fault.Quota, fault.Conflict:
		return true
	}
	return false
}

// refused answers in the provider's place while its refusal stands: asking again
// would only bring the same answer, and repeated often enough a worse one. A person
// who asks is let through; so is the one who probes; and what somebody signed in or
// entered after the refusal has not been refused.
func (v *Vault) refused(n need, g Grant) error {
	a := n.account
	switch {
	case n.want == Asked || !a.paused() || a.By != Provider,
		g.SignedInAt.After(a.Since), a.PasswordSet.After(a.Since),
		a.State == NeedsAdmin && !v.now().Before(a.ProbeAt):
		return nil
	}
	return v.standing(a, n.app)
}

// standing is an account's pause as an error.
func (v *Vault) standing(a Account, app App) error {
	kind := fault.NeedsSignIn
	if a.State == NeedsAdmin {
		kind = fault.NeedsAdmin
	}
	return &fault.Error{Kind: kind, Op: "paused", Err: errors.New(a.Reason), Hint: v.advice(a, app)}
}

// advice is what to do about a pause: what the catalogue says of the number in its
// reason, which is help for people and decides nothing.
func (v *Vault) advice(a Account, app App) string {
	fix := ""
	if row, _, ok := v.explain(a, app, &fault.Reply{Protocol: catalogue.OAuth, Text: a.Reason}); ok {
		fix = row.Fix
	}
	return a.next(a.State, fix)
}

// Advice is what to do about an account's pause.
func (v *Vault) Advice(ctx context.Context, a Account) (string, error) {
	app, err := v.store.App(ctx, a.App)
	return v.advice(a, app), err
}

// next names the step out of a pause; fix is what Microsoft's answer asks for, if known.
func (a Account) next(s State, fix string) string {
	command := "postern check " + a.Name
	switch {
	case s == NeedsSignIn && a.Method == Delegated:
		command = "postern signin " + a.Name
	case s == NeedsSignIn:
		command = "postern accounts password " + a.Name
	}
	if fix == "" {
		return command
	}
	return fix + " (" + command + ")"
}

// failed lets the account's state follow a refusal, while the claim is still ours, so
// that nobody else asks before the pause is there to see. A grant that somebody has
// put in the place of the refused one was not refused: then it is errOthersTurn.
func (v *Vault) failed(ctx context.Context, n need, g Grant, began time.Time, err error) error {
	t := Transition{To: NeedsSignIn, By: Provider, Reason: err.Error(), At: began}
	switch fault.KindOf(err) {
	case fault.NeedsSignIn:
	case fault.NeedsAdmin:
		t.To, t.ProbeAt = NeedsAdmin, v.now().Add(probeEvery)
	default:
		return err
	}
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	if _, replaced := v.replaced(keep, g); replaced {
		return errOthersTurn
	}
	changed, serr := v.store.SetState(keep, n.account.Name, t)
	if serr != nil {
		return errors.Join(err, serr)
	}
	if now, replaced := v.replaced(keep, g); replaced { // between the look and the pause
		lift := Transition{To: Active, By: Provider, At: v.now()}
		if len(now.Refresh) == 0 && len(now.Access) == 0 {
			lift.To, lift.By = New, Person
		}
		if _, serr := v.store.SetState(keep, n.account.Name, lift); serr != nil {
			return serr
		}
		return errOthersTurn
	}
	if changed {
		v.announce(ctx, n.account, t, fault.HintOf(err))
	}
	return err
}

// replaced reports whether somebody else has committed a grant in place of g.
func (v *Vault) replaced(ctx context.Context, g Grant) (Grant, bool) {
	now, err := v.store.Grant(ctx, g.Account)
	return now, err == nil && now.Generation != g.Generation
}

// enter records a state, and tells of its change once.
func (v *Vault) enter(ctx context.Context, acct Account, by Party, s State, reason string, probe time.Time) error {
	before, err := v.store.Account(ctx, acct.Name)
	if err != nil || (s == Active && before.State == Active && by != Person) {
		return err
	}
	t := Transition{To: s, By: by, Reason: reason, At: v.now(), ProbeAt: probe}
	changed, err := v.store.SetState(ctx, acct.Name, t)
	if err == nil && changed {
		v.announce(ctx, before, t, before.next(s, ""))
	}
	return err
}

// Refused takes down that a mail server refused the account, for a login or for what
// it tried to do. A pause on the provider's word stays the provider's: without a
// token no server was asked.
func (v *Vault) Refused(ctx context.Context, account string, kind fault.Kind, reason string) error {
	acct, err := v.store.Account(ctx, account)
	if err != nil || (acct.paused() && acct.By == Provider) || (acct.State == New && acct.Method == Delegated) {
		return err
	}
	if kind == fault.NeedsSignIn && acct.Method != Application { // an app cannot sign in again
		return v.enter(ctx, acct, Server, NeedsSignIn, reason, time.Time{})
	}
	return v.enter(ctx, acct, Server, NeedsAdmin, reason, v.now().Add(probeEvery))
}

// Worked takes down that a mail server took a login. It says nothing of what the
// provider refused: the login may have been with a token from before.
func (v *Vault) Worked(ctx context.Context, account string) error {
	acct, err := v.store.Account(ctx, account)
	if err != nil || acct.State == Active || (acct.paused() && acct.By == Provider) {
		return err
	}
	return v.enter(ctx, acct, Server, Active, "", time.Time{})
}

// announce logs a change of state, and alerts whoever must hear of a pause and of
// its end.
func (v *Vault) announce(ctx context.Context, before Account, t Transition, next string) {
	who := fmt.Sprintf("account %s (%s)", before.Name, before.Mailbox)
	switch t.To {
	case New:
	case Active:
		v.log.InfoContext(ctx, "account works", "account", before.Name, "mailbox", before.Mailbox.String())
		if before.Reason != "" { // it was paused, or somebody has mended it since
			v.tell(ctx, Alert{Kind: "account_works", Subject: before.Name, Text: who + " works again"})
		}
	default:
		v.log.WarnContext(ctx, "account paused", "account", before.Name, "mailbox", before.Mailbox.String(), "state", string(t.To), "reason", t.Reason)
		v.tell(ctx, Alert{Kind: "account_paused", Subject: before.Name, Text: who + " is paused: " + t.Reason, Next: next})
	}
}

// tell passes an alert on, when somebody listens.
func (v *Vault) tell(ctx context.Context, a Alert) {
	if v.alert != nil {
		a.At = v.now()
		v.alert(ctx, a)
	}
}
