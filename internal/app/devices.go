package app

import (
	"context"
	"maps"
	"net"
	"net/url"
	"strconv"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/secret"
	"postern/internal/web"
)

// DeleteDevice removes a device; it is let in no more, within seconds. What it handed
// in goes on its way.
func (a *App) DeleteDevice(ctx context.Context, who, name string) error {
	return a.changing(ctx, who, "delete device", declare.Key{Kind: "device", Name: name}, "", func() error { return a.Store.DeleteDevice(ctx, name) })
}

// NewDevicePassword replaces a device's password and returns the new one, this once.
func (a *App) NewDevicePassword(ctx context.Context, who, name string) (secret.Text, error) {
	fresh := door.NewPassword()
	hash, err := door.HashPassword(fresh)
	if err != nil {
		return secret.Text{}, err
	}
	return fresh, a.changing(ctx, who, "new device password", declare.Key{Kind: "device", Name: name}, "", func() error {
		return a.Store.SetDevicePassword(ctx, name, hash)
	})
}

// SwitchDevice lets a device in, or no more.
func (a *App) SwitchDevice(ctx context.Context, who, name string, on bool) error {
	return a.changing(ctx, who, "change device", declare.Key{Kind: "device", Name: name}, "", func() error {
		return a.Store.SwitchDevice(ctx, name, on)
	})
}

// deviceRoom is what the pages see of devices, once the doors are open.
type deviceRoom struct {
	*App
	doors  []openDoor
	bridge []bridgeDoor
}

// Doors are those that are open, as a machine elsewhere reaches them.
func (r deviceRoom) Doors() []web.Door {
	all := make([]web.Door, 0, len(r.doors)+len(r.bridge))
	add := func(key string, l net.Listener) {
		n, _ := strconv.Atoi(portOf(l.Addr())) // a listener's port is a number
		all = append(all, web.Door{Key: key, Host: r.reachable(), Port: n})
	}
	for _, d := range r.doors {
		add(d.key, d.listener)
	}
	for _, d := range r.bridge {
		add(d.key, d.listener)
	}
	return all
}

// reachable is the name under which machines elsewhere find this one: the configured
// one, else the one that browsers use unless they are on this machine too.
func (a *App) reachable() string {
	u, err := url.Parse(a.Config.PublicURL.String())
	if a.Config.Hostname != "" || err != nil || u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback() {
		return a.hostname()
	}
	return u.Hostname()
}

// OldTLS are the devices that logged in with an old TLS version since this process
// began, and with which.
func (r deviceRoom) OldTLS() map[string]string {
	r.legacy.mu.Lock()
	defer r.legacy.mu.Unlock()
	return maps.Clone(r.legacy.devices)
}

// TestDevice goes through a door as the device would.
func (r deviceRoom) TestDevice(ctx context.Context, name, key string, password secret.Text) (check.Report, error) {
	for _, d := range r.doors {
		if d.key == key {
			return r.App.testDevice(ctx, name, d, password)
		}
	}
	return check.Report{}, unknownDoor(key)
}
