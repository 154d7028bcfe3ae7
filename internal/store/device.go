package store

import (
	"context"
	"database/sql"
	"time"

	"postern/internal/door"
)

func scanDevice(r *sql.Rows) (door.Device, error) {
	var d door.Device
	var doc string
	var created int64
	if err := r.Scan(&doc, &created); err != nil {
		return d, err
	}
	err := decode(doc, &d)
	d.Created = fromMillis(created)
	return d, err
}

// Devices lists devices by name.
func (s *Store) Devices(ctx context.Context) ([]door.Device, error) {
	return many(ctx, s.db, "devices", scanDevice, `SELECT doc, created FROM device ORDER BY name`)
}

// Device reads one device.
func (s *Store) Device(ctx context.Context, name string) (door.Device, error) {
	return one(ctx, s.db, "device", name, scanDevice, `SELECT doc, created FROM device WHERE name = $1`, name)
}

// PutDevice inserts or replaces; when it was made is kept.
func (s *Store) PutDevice(ctx context.Context, d door.Device) error {
	created := d.Created
	if created.IsZero() {
		created = time.Now()
	}
	d.Created = time.Time{}
	doc, err := encode(d)
	if err != nil {
		return err
	}
	return s.write(ctx, "keep device "+d.Name, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO device (name, account, doc, created) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name) DO UPDATE SET account = excluded.account, doc = excluded.doc`, d.Name, d.Account, doc, millis(created))
		return dangling(err, "account", d.Account)
	})
}

// DeleteDevice removes it.
func (s *Store) DeleteDevice(ctx context.Context, name string) error {
	return s.remove(ctx, "device", name, `DELETE FROM device WHERE name = $1`)
}
