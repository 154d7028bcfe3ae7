package api

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

// taken remembers what it was given.
type taken struct {
	s    relay.Submission
	body string
}

func (t *taken) Accept(_ context.Context, s relay.Submission, body io.Reader) (string, error) {
	b, err := io.ReadAll(body)
	t.s, t.body = s, string(b)
	return "id", err
}

func TestWhatADeviceMay(t *testing.T) {
	t.Parallel()
	box, second, boss := mail.Address{Local: "scan", Domain: "c.example"}, mail.Address{Local: "second", Domain: "c.example"}, mail.Address{Local: "boss", Domain: "c.example"}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	lan := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct {
		name   string
		d      door.Device
		h      Handed
		recent int
		kind   fault.Kind
		from   mail.Address
	}{
		{"nothing said", door.Device{}, Handed{}, 0, fault.Unknown, box},
		{"its second sender", door.Device{}, Handed{From: second}, 0, fault.Unknown, second},
		{"named in the header", door.Device{}, Handed{Named: []mail.Address{boss, second}}, 0, fault.Unknown, second},
		{"somebody else", door.Device{}, Handed{From: boss}, 0, fault.Denied, mail.Address{}},
		{"somebody else, rewritten", door.Device{Policy: door.Policy{Rewrite: true}}, Handed{From: boss}, 0, fault.Unknown, box},
		{"disabled", door.Device{Disabled: true}, Handed{}, 0, fault.Denied, mail.Address{}},
		{"from its network", door.Device{Policy: door.Policy{Networks: lan}}, Handed{RemoteAddr: "192.0.2.7:99"}, 0, fault.Unknown, box},
		{"from another network", door.Device{Policy: door.Policy{Networks: lan}}, Handed{RemoteAddr: "198.51.100.7:99"}, 0, fault.Denied, mail.Address{}},
		{"on this machine", door.Device{Policy: door.Policy{Networks: lan}}, Handed{}, 0, fault.Unknown, box},
		{"often", door.Device{Policy: door.Policy{PerMinute: 3}}, Handed{}, 2, fault.Unknown, box},
		{"too often", door.Device{Policy: door.Policy{PerMinute: 3}}, Handed{}, 3, fault.Throttled, mail.Address{}},
		{"to nobody", door.Device{}, Handed{To: []mail.Address{}}, 0, fault.Invalid, mail.Address{}},
		{"to 10,000", door.Device{}, Handed{To: slices.Repeat([]mail.Address{boss}, 10_000)}, 0, fault.Unknown, box},
		{"to too many", door.Device{}, Handed{To: slices.Repeat([]mail.Address{boss}, 10_001)}, 0, fault.Invalid, mail.Address{}},
		{"too large", door.Device{Policy: door.Policy{MaxSize: 3}}, Handed{}, 0, fault.Invalid, mail.Address{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got taken
			in := Intake{Relay: &got, MaxSize: 100, Now: func() time.Time { return now },
				Account: func(context.Context, string) (door.Account, error) { return door.Account{Mailbox: box}, nil },
				Recent: func(_ context.Context, f relay.Filter) (all []relay.Message, _ error) {
					for range min(c.recent, f.Limit) {
						all = append(all, relay.Message{Accepted: now.Add(-20 * time.Second)})
					}
					return all, nil
				}}
			turned := 0
			in.TurnedAway = func() { turned++ }
			c.d.Name, c.d.Account, c.d.Senders = "d", "a", []mail.Address{second}
			if c.h.To == nil {
				c.h.To = []mail.Address{boss}
			}
			c.h.Device, c.h.Body = c.d, strings.NewReader("text")
			_, err := in.Accept(t.Context(), c.h)
			if fault.KindOf(err) != c.kind || (err == nil) != (c.kind == fault.Unknown) || err == nil && got.s.From != c.from {
				t.Errorf("%v, from %v", err, got.s.From)
			}
			if forGood := c.kind == fault.Denied || c.kind == fault.Invalid; forGood != (turned == 1) {
				t.Errorf("%d were counted as turned away", turned)
			}
			if errors.Is(err, fault.Throttled) && fault.As(err).RetryAfter != 40*time.Second {
				t.Errorf("wait %v", fault.As(err).RetryAfter)
			}
		})
	}
}
