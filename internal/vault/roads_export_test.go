package vault

import (
	"context"
	"time"

	"postern/internal/entra"
)

// RightPerson is who may sign in to an account.
func RightPerson(a Account, app App, id entra.Identity) error { return rightPerson(a, app, id) }

// Every lets tests poll at another pace than the provider asks for.
func (d DeviceSignIn) Every(interval time.Duration) DeviceSignIn {
	d.interval = interval
	return d
}

// Pace is how a poll answers to what it is told, one after the other.
func Pace(interval time.Duration, told ...error) (waits []time.Duration, again bool) {
	p := pace{interval: interval}
	for _, err := range told {
		var wait time.Duration
		wait, again = p.after(err)
		waits = append(waits, wait)
	}
	return waits, again
}

// RadarPass lets tests turn the radar once; Watch does so until ctx ends.
func (v *Vault) RadarPass(ctx context.Context) { v.radarPass(ctx) }
func (v *Vault) Watch(ctx context.Context)     { v.watch(ctx) }
