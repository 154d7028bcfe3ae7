package store_test

import (
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/store"
)

func TestDevices(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		failed(t, s.PutDevice(ctx, printer()), fault.Invalid, `account "scan"`)
		ok(t, s.PutApp(ctx, contoso()))
		ok(t, s.PutAccount(ctx, scanAccount()))
		failed(t, second(s.Device(ctx, "printer")), fault.NotFound)
		failed(t, s.DeleteDevice(ctx, "printer"), fault.NotFound)

		before := time.Now().Truncate(time.Millisecond)
		ok(t, s.PutDevice(ctx, printer()))
		have, err := s.Device(ctx, "printer")
		ok(t, err)
		if have.Created.Before(before) || have.Created.After(time.Now()) {
			t.Errorf("created %v", have.Created)
		}
		want := printer()
		want.Created = have.Created
		got(t, want)(have, nil)

		want.PasswordHash, want.Senders, want.Disabled = "other", nil, true
		put := want
		put.Created = t0
		ok(t, s.PutDevice(ctx, put))
		got(t, want)(s.Device(ctx, "printer"))
		got(t, []door.Device{want})(s.Devices(ctx))
		ok(t, s.SwitchDevice(ctx, "printer", true))
		want.Disabled = false
		got(t, want)(s.Device(ctx, "printer"))
		ok(t, s.SetDevicePassword(ctx, "printer", "third"))
		want.PasswordHash = "third"
		got(t, want)(s.Device(ctx, "printer"))
		failed(t, s.SwitchDevice(ctx, "nobody", true), fault.NotFound)
		failed(t, s.SetDevicePassword(ctx, "nobody", "x"), fault.NotFound)
		ok(t, s.DeleteDevice(ctx, "printer"))
		got(t, []door.Device(nil))(s.Devices(ctx))
	})
}
