// Package door is where programs knock: the listeners, their TLS, and the local
// logins of devices. It answers in the device's protocol and hands complete
// submissions to the relay; it keeps no mail itself.
package door

import (
	"context"
	"time"

	"postern/internal/mail"
)

// Device is a program or machine that may submit mail through one account.
type Device struct {
	Name         string // its login name
	Account      string
	PasswordHash string         // argon2id, PHC string
	Senders      []mail.Address // may be used in MAIL FROM beside the account's mailbox
	Disabled     bool
	Created      time.Time // set by the store when first put
}

// Devices keeps them. Missing is fault.NotFound.
type Devices interface {
	Devices(ctx context.Context) ([]Device, error)
	Device(ctx context.Context, name string) (Device, error)
	PutDevice(ctx context.Context, d Device) error // insert or replace; Created is kept
	DeleteDevice(ctx context.Context, name string) error
}
