package door_test

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
)

// counted counts the readings of devices.
type counted struct {
	*devices
	read atomic.Int32
	fail atomic.Bool
}

func (c *counted) Devices(ctx context.Context) ([]door.Device, error) {
	c.read.Add(1)
	if c.fail.Load() {
		return nil, errors.New("database is locked")
	}
	return c.devices.Devices(ctx)
}

func (c *counted) Device(ctx context.Context, name string) (door.Device, error) {
	c.read.Add(1)
	return c.devices.Device(ctx, name)
}

// What was read is good for a moment: messages do not read the device again, and its
// withdrawal is seen when the moment is over. A login is always asked for.
func TestDevicesAreReadOnceAMoment(t *testing.T) {
	t.Parallel()
	listed := door.Device{Name: "scanner", Policy: door.Policy{NoLogin: true, Networks: networks("192.0.2.0/24")}}
	synctest.Test(t, func(t *testing.T) {
		kept := &counted{devices: &devices{byID: map[string]door.Device{"scanner": listed}}}
		logins := door.NewLogins(kept, time.Millisecond, time.Second)
		in := func() bool {
			d, ok := logins.Listed(t.Context(), netip.MustParseAddr("192.0.2.7"))
			_, err := logins.Still(t.Context(), listed)
			return ok && d.Name == "scanner" && err == nil
		}
		for range 1000 {
			if !in() {
				t.Fatal("it is not let in")
			}
		}
		if got := kept.read.Load(); got != 2 {
			t.Errorf("%d readings for a thousand messages", got)
		}
		kept.fail.Store(true)
		if !in() {
			t.Error("a moment of trouble with the database shuts it out")
		}
		kept.fail.Store(false)
		_ = kept.DeleteDevice(t.Context(), "scanner")
		time.Sleep(time.Second)
		if _, ok := logins.Listed(t.Context(), netip.MustParseAddr("192.0.2.7")); ok {
			t.Error("a removed device is still listed")
		}
		if _, err := logins.Still(t.Context(), listed); !errors.Is(err, fault.Denied) {
			t.Errorf("a removed device goes on: %v", err)
		}
		_ = kept.PutDevice(t.Context(), listed)
		if _, err := logins.Still(t.Context(), listed); err != nil {
			t.Errorf("that it was missing is remembered: %v", err)
		}
	})
}

// A device that logs in with its new password is not turned away because of its old one,
// which another session has just been asked for.
func TestNewPasswordIsGoodAtOnce(t *testing.T) {
	t.Parallel()
	before, after := door.Device{Name: "scanner", PasswordHash: "old"}, door.Device{Name: "scanner", PasswordHash: "new"}
	synctest.Test(t, func(t *testing.T) {
		kept := &devices{byID: map[string]door.Device{"scanner": before}}
		logins := door.NewLogins(kept, time.Millisecond, time.Second)
		if _, err := logins.Still(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		_ = kept.PutDevice(t.Context(), after)
		if _, err := logins.Still(t.Context(), after); err != nil {
			t.Errorf("the new password: %v", err)
		}
		if _, err := logins.Still(t.Context(), before); !errors.Is(err, fault.Denied) {
			t.Errorf("the old one: %v", err)
		}
	})
}
