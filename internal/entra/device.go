package entra

import (
	"context"
	"errors"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// DeviceCode is a sign-in that goes on in another browser (RFC 8628 section 3.2).
type DeviceCode struct {
	Code     secret.Text   // device_code, for polling
	UserCode string        // what the person types
	Page     string        // verification_uri, where
	Message  string        // the provider's own instruction
	Interval time.Duration // between two polls
	Expires  time.Time
}

// What a poll comes back with while the person is not done.
var (
	ErrPending  = errors.New("the sign-in is not finished yet")
	ErrSlowDown = errors.New("polled too fast: add five seconds to the interval")
)

// BeginDevice asks for a device code; the scopes may be of one resource only.
func (c *Client) BeginDevice(ctx context.Context, r Registration, scopes []string) (DeviceCode, error) {
	return DeviceCode{}, fault.New(fault.Unknown, "ask for a device code", "not built yet: %v %v %v", ctx, r.Tenant, scopes)
}

// PollDevice asks once whether the person is done: [ErrPending] and [ErrSlowDown]
// mean not yet. The id token is verified, without a nonce, which this grant has not.
func (c *Client) PollDevice(ctx context.Context, r Registration, d DeviceCode) (Tokens, error) {
	return Tokens{}, fault.New(fault.Unknown, "poll for the sign-in", "not built yet: %v %v %v", ctx, r.Tenant, d.UserCode)
}
