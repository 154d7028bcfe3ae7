package vault

import (
	"context"
	"errors"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
)

// DeviceSignIn is a sign-in that goes on in another browser: the person opens Page
// and types UserCode (product A5).
type DeviceSignIn struct {
	Account  string
	UserCode string
	Page     string
	Message  string // the provider's own instruction
	Expires  time.Time

	app      string // that asks
	resource string // that it asks for
	code     secret.Text
	interval time.Duration
}

const byDevice = "sign in by device code"

// BeginDevice asks the provider for a code. Such a request is for one resource: that of
// the account's first purpose. Tokens for another come from the same refresh token.
func (v *Vault) BeginDevice(ctx context.Context, account string) (DeviceSignIn, error) {
	acct, app, reg, err := v.toSignIn(ctx, account)
	if err != nil {
		return DeviceSignIn{}, err
	}
	resource := resourceFor(acct, app.Cloud, acct.Purposes[0])
	d, err := v.entra.BeginDevice(ctx, reg, scopesOn(acct, app.Cloud, resource))
	if err != nil {
		return DeviceSignIn{}, v.inWords(acct, app, err)
	}
	return DeviceSignIn{
		Account: account, UserCode: d.UserCode, Page: d.Page, Message: d.Message, Expires: d.Expires,
		app: app.Name, resource: resource, code: d.Code, interval: d.Interval,
	}, nil
}

// AwaitDevice polls until the person is done, declined or too late, or ctx ends. It
// checks and keeps the grant as FinishSignIn does.
func (v *Vault) AwaitDevice(ctx context.Context, d DeviceSignIn) (Result, error) {
	acct, app, reg, err := v.toSignIn(ctx, d.Account)
	if err == nil && acct.App != d.app {
		err = changedMeanwhile(d)
	}
	if err != nil {
		return Result{}, err
	}
	t, err := v.poll(ctx, reg, d)
	if err != nil {
		return Result{}, v.inWords(acct, app, err)
	}
	// The code is used up: whoever waited may leave now, and the account may have
	// become another one while they did.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	now, err := v.delegated(keep, d.Account)
	if err == nil && now.App != d.app {
		err = changedMeanwhile(d)
	}
	if err != nil {
		return Result{}, err
	}
	return v.accept(keep, now, app, d.resource, t)
}

func changedMeanwhile(d DeviceSignIn) error {
	return fault.New(fault.Conflict, byDevice, "account %q has got another app since the code was given out", d.Account).WithHint("begin again")
}

// poll asks at the provider's pace until it has tokens or will never have any.
func (v *Vault) poll(ctx context.Context, reg entra.Registration, d DeviceSignIn) (entra.Tokens, error) {
	p := pace{interval: d.interval}
	for wait := d.interval; ; {
		if err := pauseFor(ctx, min(wait, d.Expires.Sub(v.now()))); err != nil {
			return entra.Tokens{}, fault.Wrap(fault.Temporary, byDevice, err)
		}
		if !v.now().Before(d.Expires) {
			return entra.Tokens{}, fault.New(fault.NotFound, byDevice, "nobody signed in with the code %s in time", d.UserCode).
				WithHint("begin again for a new code")
		}
		t, err := v.entra.PollDevice(ctx, reg, entra.DeviceCode{Code: d.code})
		if err == nil {
			return t, nil
		}
		var again bool
		if wait, again = p.after(err); !again {
			return entra.Tokens{}, err
		}
	}
}

// How a poll keeps its pace.
const (
	slower      = 5 * time.Second // for good, each time it is asked for (RFC 8628 section 3.5)
	longestWait = 2 * time.Minute // while the provider cannot be reached
)

// pace is how often a device may poll.
type pace struct {
	interval time.Duration
	fails    int // in a row
}

// after says how long to wait after an answer, and whether asking again is of use. One
// that is "not yet" keeps the interval; an outage doubles it until it is over.
func (p *pace) after(err error) (wait time.Duration, again bool) {
	switch {
	case errors.Is(err, entra.ErrSlowDown):
		p.interval += slower
		p.fails = 0
	case errors.Is(err, entra.ErrPending):
		p.fails = 0
	case !waits(fault.KindOf(err)):
		return 0, false
	default:
		p.fails++
	}
	wait = max(p.interval, min(p.interval<<min(p.fails, 8), longestWait))
	if e := fault.As(err); e != nil {
		wait = max(wait, e.RetryAfter)
	}
	return wait, true
}

// pauseFor waits, unless ctx ends first.
func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
