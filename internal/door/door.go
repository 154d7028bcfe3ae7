// Package door is where programs knock: the listeners, their TLS, and the local
// logins of devices. It answers in the device's protocol and hands complete
// submissions to the relay; it keeps no mail itself.
package door

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Device is a program or machine that may submit mail through one account.
type Device struct {
	Name         string // its login name
	Account      string
	PasswordHash string         // argon2id, PHC string
	Senders      []mail.Address // may be used as sender beside the account's mailbox
	Policy       Policy
	Disabled     bool
	Created      time.Time // set by the store when first put
}

// Policy is what a device may do. The zero value: log in from anywhere, send as the
// account or one of its senders only, as large and as often as the door allows.
type Policy struct {
	// Networks it may come from; empty is anywhere.
	Networks []netip.Prefix `json:"networks,omitempty"`
	// NoLogin lets it submit without a login from its Networks, at a door that allows
	// that: for machines that cannot log in. Networks must not be empty.
	NoLogin bool `json:"no_login,omitempty"`
	// Rewrite replaces a sender it may not use by the account's mailbox, in envelope
	// and From header; replies go to what stood there. Without it such mail is refused.
	Rewrite   bool  `json:"rewrite,omitempty"`
	MaxSize   int64 `json:"max_size,omitempty"`   // octets of a message; 0: the door's
	PerMinute int   `json:"per_minute,omitempty"` // messages; 0: no cap

	Doors     []string       `json:"doors,omitempty"`     // that it opens; none: smtp
	Mailboxes []mail.Address `json:"mailboxes,omitempty"` // that it reads beside its account's
}

// From reports whether an address is in one of the networks, or there are none.
func (p Policy) From(addr netip.Addr) bool {
	if len(p.Networks) == 0 {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, n := range p.Networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// Check says what is wrong with a policy.
func (p Policy) Check() error {
	switch {
	case p.NoLogin && len(p.Networks) == 0:
		return fault.New(fault.Invalid, "device policy", "without a login it must name the networks it may come from").
			WithHint("networks: [192.0.2.7/32]")
	case p.MaxSize < 0 || p.PerMinute < 0:
		return fault.New(fault.Invalid, "device policy", "max_size and per_minute cannot be below 0")
	}
	for _, d := range p.Doors {
		if !slices.Contains(AllDoors(), d) {
			return fault.New(fault.Invalid, "device policy", "%q is not a door; allowed: %s", d, strings.Join(AllDoors(), ", "))
		}
	}
	for _, n := range p.Networks {
		if p.NoLogin && n.Bits() == 0 {
			return fault.New(fault.Invalid, "device policy", "%s is the whole world: that would be an open relay", n)
		}
	}
	return nil
}

// Devices keeps them. Missing is fault.NotFound.
type Devices interface {
	Devices(ctx context.Context) ([]Device, error)
	Device(ctx context.Context, name string) (Device, error)
	PutDevice(ctx context.Context, d Device) error // insert or replace; Created is kept
	DeleteDevice(ctx context.Context, name string) error
}
