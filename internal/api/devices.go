package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/fetch"
	"postern/internal/secret"
)

// WantedDevice is a device as somebody would have it, in the words of documents.
type WantedDevice struct {
	Account   string   `json:"account" doc:"Whose mailbox it sends through."`
	Senders   []string `json:"senders,omitempty" doc:"Addresses it may send as beside the account's mailbox."`
	From      string   `json:"from,omitempty" enum:"refuse,rewrite" doc:"What becomes of another sender; left out: refuse."`
	Networks  []string `json:"networks,omitempty" doc:"Where it may come from; left out: anywhere."`
	NoLogin   bool     `json:"no_login,omitempty" doc:"Needs no login from its networks, at listed_listen."`
	MaxSize   string   `json:"max_size,omitempty" doc:"10MB; left out: max_message."`
	PerMinute int      `json:"per_minute,omitempty" doc:"Messages; left out: no cap."`
	Doors     []string `json:"doors,omitempty" doc:"smtp, imap, pop3; left out: smtp."`
	Mailboxes []string `json:"mailboxes,omitempty" doc:"What it may also read, at imap and pop3."`
	Disabled  bool     `json:"disabled,omitempty"`
}

// Device is one that is there.
type Device struct {
	Name string `json:"name"`
	WantedDevice
	Created  time.Time `json:"created,omitzero"`
	Password string    `json:"password,omitempty" doc:"One that was just made: it is shown this once."`
}

type deviceInput struct {
	Device string `path:"device" maxLength:"128"`
}

type putDeviceInput struct {
	Device string `path:"device" maxLength:"128"`
	Body   struct {
		WantedDevice
		Password *string `json:"password,omitempty" writeOnly:"true" doc:"Left out: the one that is kept stays; a new device gets one made."`
	}
}

type devicesOutput struct {
	Body struct {
		Devices []Device `json:"devices"`
	}
}

type deviceOutput struct{ Body Device }

func (s *server) deviceRoutes(a huma.API) {
	const one = "/devices/{device}"
	huma.Register(a, s.operation(a, http.MethodGet, "/devices", "list-devices", "List devices: programs and machines with a local password", door.MayReadAccounts), s.devices)
	huma.Register(a, s.operation(a, http.MethodGet, one, "show-device", "Show a device and what it may do", door.MayReadAccounts), s.showDevice)
	huma.Register(a, s.operation(a, http.MethodPut, one, "put-device", "Make a device, or change it to this", door.MayWriteAccounts), s.putDevice)
	huma.Register(a, s.operation(a, http.MethodPost, one+"/password", "renew-device-password", "Make a device a new password; the old one is good no more", door.MayWriteAccounts), s.renewPassword)
	remove := s.operation(a, http.MethodDelete, one, "delete-device", "Delete a device: it is let in no more; what it handed in goes on its way", door.MayWriteAccounts)
	remove.DefaultStatus = http.StatusNoContent
	huma.Register(a, remove, s.deleteDevice)
}

// deviceOf is a device in the words of documents.
func deviceOf(v door.Device) Device {
	d := declare.DeviceOf(v)
	size := ""
	if d.MaxSize > 0 {
		text, _ := d.MaxSize.MarshalText() // never fails
		size = string(text)
	}
	return Device{Name: d.Name, Created: v.Created, WantedDevice: WantedDevice{
		Account: d.Account, Senders: d.Senders, From: d.From, Networks: d.Networks, NoLogin: d.NoLogin, MaxSize: size,
		PerMinute: d.PerMinute, Doors: d.Doors, Mailboxes: d.Mailboxes, Disabled: d.Disabled,
	}}
}

func (s *server) devices(ctx context.Context, _ *struct{}) (*devicesOutput, error) {
	all, err := s.Identities.Devices(ctx)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := new(devicesOutput)
	out.Body.Devices = make([]Device, len(all))
	for i, d := range all {
		out.Body.Devices[i] = deviceOf(d)
	}
	return out, nil
}

// showDevice answers how a device is, beside a password that was just made for it.
func (s *server) showDevice(ctx context.Context, in *deviceInput) (*deviceOutput, error) {
	return s.deviceWith(ctx, in.Device, secret.Text{})
}

func (s *server) deviceWith(ctx context.Context, name string, made secret.Text) (*deviceOutput, error) {
	d, err := s.Identities.Device(ctx, name)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &deviceOutput{deviceOf(d)}
	out.Body.Password = made.Reveal()
	return out, nil
}

func (s *server) putDevice(ctx context.Context, in *putDeviceInput) (*deviceOutput, error) {
	b := in.Body
	want := declare.Device{Name: in.Device, Account: b.Account, Senders: b.Senders, From: b.From, Networks: b.Networks, NoLogin: b.NoLogin,
		PerMinute: b.PerMinute, Doors: b.Doors, Mailboxes: b.Mailboxes, Disabled: b.Disabled}
	if b.MaxSize != "" {
		var size fetch.Size
		if err := size.UnmarshalText([]byte(b.MaxSize)); err != nil {
			return nil, s.problem(ctx, invalid("max_size", "%w", err))
		}
		want.MaxSize = size
	}
	if b.Password != nil {
		want.Password = &declare.SecretRef{Value: secret.New(*b.Password)}
	}
	done, err := s.Identities.ApplyAs(ctx, who(ctx), declare.Document{Devices: []declare.Device{want}})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.deviceWith(ctx, in.Device, done[0].Password)
}

func (s *server) renewPassword(ctx context.Context, in *deviceInput) (*deviceOutput, error) {
	made, err := s.Identities.NewDevicePassword(ctx, who(ctx), in.Device)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.deviceWith(ctx, in.Device, made)
}

func (s *server) deleteDevice(ctx context.Context, in *deviceInput) (*struct{}, error) {
	if err := s.Identities.DeleteDevice(ctx, who(ctx), in.Device); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil //nolint:nilnil // huma's way to say 204
}
