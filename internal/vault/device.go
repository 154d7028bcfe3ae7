package vault

import (
	"context"
	"time"

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

	code     secret.Text
	interval time.Duration
}

// BeginDevice asks the provider for a code.
func (v *Vault) BeginDevice(ctx context.Context, account string) (DeviceSignIn, error) {
	return DeviceSignIn{}, fault.New(fault.Unknown, "sign in by device code", "not built yet: %v %s", ctx, account)
}

// AwaitDevice polls until the person is done, declined or too late, or ctx ends. It
// checks and keeps the grant as FinishSignIn does.
func (v *Vault) AwaitDevice(ctx context.Context, d DeviceSignIn) (Result, error) {
	return Result{}, fault.New(fault.Unknown, "sign in by device code", "not built yet: %v %s %v %v", ctx, d.Account, d.code, d.interval)
}
