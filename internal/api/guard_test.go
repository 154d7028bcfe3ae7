package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/relay"
)

// oneToken knows one, of a device.
type oneToken struct {
	tokens
	t door.Token
}

func (o oneToken) Token(context.Context, string) (door.Token, error) { return o.t, nil }
func (oneToken) UseToken(context.Context, string, time.Time) error   { return nil }

// oneDevice is all identities there are.
type oneDevice struct {
	Identities
	d   door.Device
	err error
}

func (o oneDevice) Device(context.Context, string) (door.Device, error) { return o.d, o.err }

// nothing waits in the queue.
type nothing struct{ Queue }

func (nothing) Messages(context.Context, relay.Filter) ([]relay.Message, error) { return nil, nil }

// A device that is switched off, is gone or comes from elsewhere reads no mail with its
// token either.
func TestATokenMayWhatItsDeviceMay(t *testing.T) {
	t.Parallel()
	made, text, err := door.NewToken("n", "printer", []door.Scope{door.MayReadQueue}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	office := door.Policy{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	for name, c := range map[string]struct {
		devices oneDevice
		status  int
	}{
		"good":           {oneDevice{d: door.Device{Name: "printer", Policy: office}}, http.StatusOK},
		"switched off":   {oneDevice{d: door.Device{Name: "printer", Policy: office, Disabled: true}}, http.StatusForbidden},
		"from elsewhere": {oneDevice{d: door.Device{Name: "printer", Policy: door.Policy{Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}}}, http.StatusForbidden},
		"gone":           {oneDevice{err: fault.New(fault.NotFound, "read", "none")}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := New(Config{Tokens: oneToken{t: made}, Identities: c.devices, Queue: nothing{}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
				Explain: func(context.Context, []relay.Message) error { return nil }})
			if w := get(h, "/api/v1/messages", text.Reveal(), "192.0.2.1:1"); w.Code != c.status {
				t.Errorf("%d, want %d: %s", w.Code, c.status, w.Body)
			}
		})
	}
}
