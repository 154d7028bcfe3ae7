package door

import (
	"context"
	"errors"
	"slices"
	"strings"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// The doors a device may open with its one password.
const (
	DoorSMTP = "smtp"
	DoorIMAP = "imap"
	DoorPOP3 = "pop3"
)

// AllDoors lists them.
func AllDoors() []string { return []string{DoorSMTP, DoorIMAP, DoorPOP3} }

// Opens reports whether a device may use a door. One that names none may send, which
// is all that devices could do before there were others.
func (p Policy) Opens(door string) bool {
	if len(p.Doors) == 0 {
		return door == DoorSMTP
	}
	return slices.Contains(p.Doors, door)
}

// Opening is a login at a door behind which mailboxes are read.
type Opening struct {
	Door     string
	User     string // a device, a mailbox it may open, or device+mailbox
	Password secret.Text
	Remote   string // the host
	// Mailbox tells whose mailbox an account is.
	Mailbox func(ctx context.Context, account string) (mail.Address, error)
}

// mostTried bounds the hashes that one login may cost, where several devices open the
// mailbox that it names.
const mostTried = 4

// candidate is a device that a login may mean, and the mailbox it asks for.
type candidate struct {
	device  Device
	mailbox mail.Address
}

// Open returns the device that signs in and the mailbox it asks for. What is wrong
// about name, password or right is always the same fault.Denied, as late as Check's.
func (l *Logins) Open(ctx context.Context, o Opening) (Device, mail.Address, error) {
	meant, err := l.meant(ctx, o)
	if err != nil {
		return Device{}, mail.Address{}, err
	}
	name := o.User
	if len(meant) > 0 {
		name = meant[0].device.Name // under whatever names it is tried
	}
	locked, known := l.locked(name, o.Remote)
	known = known || slices.ContainsFunc(meant, func(c candidate) bool { return l.knows(c.device.Name, o.Remote) })
	if locked && !known {
		return Device{}, mail.Address{}, errTooMany()
	}
	for _, c := range meant {
		ok, err := l.verify(ctx, c.device.Name, c.device.PasswordHash, o.Password, o.Remote, locked)
		if err != nil {
			return Device{}, mail.Address{}, err
		}
		if ok {
			return c.device, c.mailbox, nil
		}
	}
	if locked {
		return Device{}, mail.Address{}, errTooMany()
	}
	if len(meant) == 0 {
		if _, err := l.verify(ctx, name, l.decoy, o.Password, o.Remote, false); err != nil {
			return Device{}, mail.Address{}, err
		}
	}
	if err := wait(ctx, l.blame(name, o.Remote)); err != nil {
		return Device{}, mail.Address{}, fault.Wrap(fault.Temporary, "check login", err)
	}
	return Device{}, mail.Address{}, fault.New(fault.Denied, "check login", "the name or the password is wrong, or the device may not open that")
}

// meant lists the devices a user name may stand for: the one that has the name, those
// that may open the mailbox which the name is, and the one in front of a plus sign.
func (l *Logins) meant(ctx context.Context, o Opening) ([]candidate, error) {
	all, err := l.all.renew("", func() ([]Device, error) { return l.devices.Devices(ctx) })
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, d := range all {
		if len(found) == mostTried {
			break
		}
		if d.Disabled || d.PasswordHash == "" || !d.Policy.Opens(o.Door) {
			continue
		}
		asked, is := asks(d.Name, o.User)
		if !is {
			continue
		}
		own, err := o.Mailbox(ctx, d.Account)
		if errors.Is(err, fault.NeedsAdmin) {
			continue // its account is gone
		}
		if err != nil {
			return nil, err
		}
		if box, may := d.mayOpen(own, asked); may {
			found = append(found, candidate{d, box})
		}
	}
	return found, nil
}

// asks reports whether a user name may mean a device, and which mailbox it asks for;
// none is the device's own.
func asks(device, user string) (asked mail.Address, is bool) {
	if user == device {
		return mail.Address{}, true
	}
	box := user
	if rest, prefixed := strings.CutPrefix(user, device+"+"); prefixed {
		box = rest
	}
	asked, err := mail.ParseAddress(box)
	return asked, err == nil
}

// mayOpen reports whether a mailbox is the device's own or among its others.
func (d Device) mayOpen(own, asked mail.Address) (mail.Address, bool) {
	if asked.Null() || asked.Same(own) {
		return own, true
	}
	for _, other := range d.Policy.Mailboxes {
		if asked.Same(other) {
			return other, true
		}
	}
	return mail.Address{}, false
}

// StillOpens is Still for many sessions at once: all of them are answered from one look
// at the devices. It also is fault.Denied when the door or the mailbox was withdrawn.
func (l *Logins) StillOpens(ctx context.Context, d Device, door string, own, box mail.Address) error {
	all, err := l.all.get("", func() ([]Device, error) { return l.devices.Devices(ctx) })
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(now Device) bool { return now.Name == d.Name })
	if i >= 0 {
		now := all[i]
		_, may := now.mayOpen(own, box)
		if may && !now.Disabled && now.PasswordHash == d.PasswordHash && now.Account == d.Account && now.Policy.Opens(door) {
			return nil
		}
	}
	return fault.New(fault.Denied, "check login", "the device was removed, disabled, given another password, or may no longer open this mailbox")
}
