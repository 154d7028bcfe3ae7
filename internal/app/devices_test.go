package app

import (
	"testing"

	"postern/internal/door"
	"postern/internal/vault"
)

// Making a password takes a while. Who switches the device off meanwhile has it off.
func TestANewPasswordSwitchesNothingOn(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.put("hosts", "scan", vault.AppPassword, "abcdefghijklmnop", vault.Send)
	s.must(s.Store.PutDevice(t.Context(), door.Device{Name: "printer", Account: "scan", PasswordHash: "x"}))
	made := make(chan error, 1)
	for range 5 {
		s.must(s.SwitchDevice(t.Context(), "test", "printer", true))
		go func() {
			_, err := s.NewDevicePassword(t.Context(), "test", "printer")
			made <- err
		}()
		s.must(s.SwitchDevice(t.Context(), "test", "printer", false))
		s.must(<-made)
		d, err := s.Store.Device(t.Context(), "printer")
		s.must(err)
		if !d.Disabled || d.PasswordHash == "x" {
			t.Fatalf("it is let in again: %+v", d)
		}
	}
}
