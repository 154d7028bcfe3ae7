package store

import (
	"context"
	"time"

	"postern/internal/door"
)

const deviceColumns = `name, account, password_hash, senders, policy, disabled, created`

func scanDevice(row scanner) (d door.Device, err error) {
	err = row.Scan(&d.Name, &d.Account, &d.PasswordHash, document{&d.Senders}, document{&d.Policy}, &d.Disabled, clock{&d.Created})
	return d, err
}

// Devices is part of [door.Devices].
func (s *Store) Devices(ctx context.Context) ([]door.Device, error) {
	return list(ctx, s.db, "list devices", scanDevice, `SELECT `+deviceColumns+` FROM devices ORDER BY name`)
}

// Device is part of [door.Devices].
func (s *Store) Device(ctx context.Context, name string) (door.Device, error) {
	return one(ctx, s.db, subject{"device", name}, scanDevice, `SELECT `+deviceColumns+` FROM devices WHERE name = $1`, name)
}

// PutDevice is part of [door.Devices]. An account that is not there is fault.Invalid.
func (s *Store) PutDevice(ctx context.Context, d door.Device) error {
	const op = "save device"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if err := refers(ctx, tx, op, subject{"account", d.Account}, "accounts"); err != nil {
			return err
		}
		_, err := exec(ctx, tx, `
			INSERT INTO devices (`+deviceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (name) DO UPDATE SET account = excluded.account, password_hash = excluded.password_hash,
				senders = excluded.senders, policy = excluded.policy, disabled = excluded.disabled`,
			d.Name, d.Account, d.PasswordHash, document{d.Senders}, document{d.Policy}, d.Disabled, millis(time.Now()))
		return err
	})
}

// SetDevicePassword replaces a device's password, and nothing else of it.
func (s *Store) SetDevicePassword(ctx context.Context, name, hash string) error {
	return s.setDevice(ctx, "save device password", name, `UPDATE devices SET password_hash = $2 WHERE name = $1`, hash)
}

// SwitchDevice lets a device in or no more, and changes nothing else of it.
func (s *Store) SwitchDevice(ctx context.Context, name string, on bool) error {
	return s.setDevice(ctx, "switch device", name, `UPDATE devices SET disabled = $2 WHERE name = $1`, !on)
}

func (s *Store) setDevice(ctx context.Context, op, name, update string, value any) error {
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, update, name, value)
		if err == nil && n == 0 {
			err = subject{"device", name}.missing()
		}
		return err
	})
}

// DeleteDevice is part of [door.Devices].
func (s *Store) DeleteDevice(ctx context.Context, name string) error {
	return s.writes.do(ctx, "delete device", func(ctx context.Context, tx querier) error {
		return deleteOne(ctx, tx, subject{"device", name}, `DELETE FROM devices WHERE name = $1`)
	})
}
