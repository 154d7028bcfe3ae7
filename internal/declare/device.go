package declare

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"postern/internal/door"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/secret"
)

func (a Applier) device(d Device) (step, error) {
	want := door.Device{Name: d.Name, Account: d.Account, Disabled: d.Disabled}
	for _, s := range d.Senders {
		addr, err := mail.ParseAddress(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("senders: %w", err)
		}
		want.Senders = append(want.Senders, addr)
	}
	var err error
	if want.Policy, err = d.policy(); err != nil {
		return nil, err
	}
	var clear *secret.Text
	if d.Password != nil {
		s, err := d.Password.Read(a.Getenv)
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		if len(s.Reveal()) < 8 {
			return nil, errors.New("password: at least 8 characters are needed")
		}
		clear = &s
	}
	return func(ctx context.Context) (Change, error) {
		c := Change{Kind: "device", Name: d.Name}
		have, err := a.Devices.Device(ctx, d.Name)
		want := want
		want.PasswordHash, want.Created = have.PasswordHash, have.Created
		fits := have.PasswordHash != "" && (clear == nil || a.Passwords.Verify(have.PasswordHash, *clear))
		same := func() bool { return fits && reflect.DeepEqual(want, have) }
		return c.put(err, same, func() error {
			if !fits {
				fresh := clear
				if fresh == nil {
					p := a.Passwords.New()
					fresh, c.Password = &p, p
				}
				hash, err := a.Passwords.Hash(*fresh)
				if err != nil {
					return err
				}
				want.PasswordHash = hash
			}
			return a.Devices.PutDevice(ctx, want)
		})
	}, nil
}

// policy reads what the device may do.
func (d Device) policy() (door.Policy, error) {
	p := door.Policy{NoLogin: d.NoLogin, MaxSize: int64(d.MaxSize), PerMinute: d.PerMinute}
	switch d.From {
	case "", "refuse":
	case "rewrite":
		p.Rewrite = true
	default:
		return p, fmt.Errorf("from: %q is not known; allowed: refuse, rewrite", d.From)
	}
	for _, text := range d.Networks {
		n, err := network(strings.TrimSpace(text))
		if err != nil {
			return p, fmt.Errorf("networks: %q is no network; allowed: 192.0.2.0/24, 192.0.2.7, 2001:db8::/32", text)
		}
		p.Networks = append(p.Networks, n)
	}
	for _, text := range d.Mailboxes {
		box, err := mail.ParseAddress(strings.TrimSpace(text))
		if err != nil {
			return p, fmt.Errorf("mailboxes: %w", err)
		}
		p.Mailboxes = append(p.Mailboxes, box)
	}
	p.Doors = d.Doors
	return p, p.Check()
}

// network reads a network, or an address that stands for itself alone.
func network(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// DeviceOf writes a device down, without its password.
func DeviceOf(v door.Device) Device {
	d := Device{Name: v.Name, Account: v.Account, Disabled: v.Disabled, NoLogin: v.Policy.NoLogin,
		MaxSize: fetch.Size(v.Policy.MaxSize), PerMinute: v.Policy.PerMinute}
	if v.Policy.Rewrite {
		d.From = "rewrite"
	}
	for _, s := range v.Senders {
		d.Senders = append(d.Senders, s.String())
	}
	for _, n := range v.Policy.Networks {
		d.Networks = append(d.Networks, n.String())
	}
	d.Doors = v.Policy.Doors
	for _, box := range v.Policy.Mailboxes {
		d.Mailboxes = append(d.Mailboxes, box.String())
	}
	return d
}
