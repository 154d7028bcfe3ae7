package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

// Intake takes messages from programs that do not speak SMTP and holds them to what
// their device may do, as the SMTP door does.
type Intake struct {
	Relay interface { // *relay.Relay
		Accept(ctx context.Context, s relay.Submission, body io.Reader) (id string, err error)
	}
	Account func(ctx context.Context, name string) (door.Account, error)
	Recent  func(ctx context.Context, f relay.Filter) ([]relay.Message, error)
	MaxSize int64
	Now     func() time.Time
	// TurnedAway hears of every message that was refused for good; nil does not.
	TurnedAway func()
}

// Handed is a message handed in.
type Handed struct {
	Device     door.Device
	From       mail.Address // the envelope's; null: the first of Named that the device may use, else its mailbox
	Named      []mail.Address
	To         []mail.Address
	Body       io.Reader
	EightBit   bool
	RemoteAddr string // "" when it was handed in on this machine
	Via        string // how, in the Received header
	Once       *relay.Once
}

// Accept is [relay.Relay.Accept] for a device.
func (in Intake) Accept(ctx context.Context, h Handed) (id string, err error) {
	id, err = in.accept(ctx, h)
	if in.TurnedAway != nil && (errors.Is(err, fault.Denied) || errors.Is(err, fault.Invalid)) {
		in.TurnedAway()
	}
	return id, err
}

func (in Intake) accept(ctx context.Context, h Handed) (id string, err error) {
	if err := in.may(ctx, h); err != nil {
		return "", err
	}
	if err := few(h.To); err != nil {
		return "", err
	}
	account, err := in.Account(ctx, h.Device.Account)
	if err != nil {
		return "", err
	}
	for _, to := range h.To {
		if err := account.Reaches(to); err != nil {
			return "", err
		}
	}
	mine := append([]mail.Address{account.Mailbox}, h.Device.Senders...)
	from, err := sender(h, mine)
	if err != nil {
		return "", err
	}
	limit := in.MaxSize
	if own := h.Device.Policy.MaxSize; own > 0 {
		limit = min(limit, own)
	}
	body := &bounded{r: h.Body, left: limit, limit: limit}
	id, err = in.Relay.Accept(ctx, relay.Submission{
		Device: h.Device.Name, Account: h.Device.Account, From: from, To: h.To, Senders: mine, Rewrite: h.Device.Policy.Rewrite,
		EightBit: h.EightBit, UTF8: true, RemoteAddr: h.RemoteAddr, Via: h.Via, Once: h.Once,
	}, body)
	if body.left < 0 { // whatever was made of it on the way
		return "", body.tooLarge()
	}
	return id, err
}

// maxRecipients of one message; a list that is longer is a mistake or an attack.
const maxRecipients = 10_000

// few wants as many recipients as a message may have.
func few(to []mail.Address) error {
	const op = "accept message"
	switch n := len(to); {
	case n == 0:
		return fault.New(fault.Invalid, op, "it has no recipient").WithHint("name at least one in to, cc or bcc")
	case n > maxRecipients:
		return fault.New(fault.Invalid, op, "%d recipients are more than the %d allowed", n, maxRecipients).WithHint("send it in several messages")
	}
	return nil
}

// may asks what does not depend on the message.
func (in Intake) may(ctx context.Context, h Handed) error {
	if err := letIn(h.Device, h.RemoteAddr); err != nil {
		return err
	}
	return in.Pace(ctx, h.Device)
}

// letIn refuses a device that is switched off, or is where it may not be; remote is ""
// for one on this machine.
func letIn(d door.Device, remote string) error {
	const op = "let the device in"
	switch {
	case d.Disabled:
		return fault.New(fault.Denied, op, "the device %s is disabled", d.Name).WithHint("enable it in the document and apply")
	case remote != "" && !d.Policy.From(addrOf(remote)):
		return fault.New(fault.Denied, op, "the device %s may not come from %s", d.Name, addrOf(remote)).WithHint("add that address to its networks")
	}
	return nil
}

// Pace holds a device to what it may send in a minute, whichever process took it.
func (in Intake) Pace(ctx context.Context, d door.Device) error {
	if d.Policy.PerMinute <= 0 {
		return nil
	}
	now := in.Now()
	minute, err := in.Recent(ctx, relay.Filter{Device: d.Name, After: mail.NewID(now.Add(-time.Minute)), Limit: d.Policy.PerMinute})
	if err != nil || len(minute) < d.Policy.PerMinute {
		return err
	}
	e := fault.New(fault.Throttled, "accept message", "the device %s may send %d messages a minute", d.Name, d.Policy.PerMinute)
	e.RetryAfter = max(time.Second, minute[0].Accepted.Add(time.Minute).Sub(now))
	return e
}

// sender is the envelope's sender: one of mine, whose first is the mailbox.
func sender(h Handed, mine []mail.Address) (mail.Address, error) {
	ours := func(a mail.Address) bool { return slices.ContainsFunc(mine, a.Same) }
	switch {
	case ours(h.From):
		return h.From, nil
	case !h.From.Null() && !h.Device.Policy.Rewrite:
		return mail.Address{}, fault.New(fault.Denied, "accept message", "the device %s may not send as %s", h.Device.Name, h.From).
			WithHint("send as %s, or add the address to the device's senders", mine[0])
	case h.From.Null():
		if i := slices.IndexFunc(h.Named, ours); i >= 0 {
			return h.Named[i], nil
		}
	}
	return mine[0], nil
}

func addrOf(remote string) netip.Addr {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// bounded ends a message that is too large.
type bounded struct {
	r     io.Reader
	left  int64
	limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, b.tooLarge()
	}
	return n, err
}

// errTooLarge is in the chain of what tooLarge says.
var errTooLarge = errors.New("too large")

func (b *bounded) tooLarge() error {
	return fault.New(fault.Invalid, "accept message", "%w: the message is larger than the %.1f MB allowed", errTooLarge, float64(b.limit)/(1<<20)).
		WithHint("send less, or raise max_message or the device's max_size")
}

// Raw is a whole message as it came, addressed by its own header where nobody else says
// to whom it goes. Bcc is taken out of it.
func (in Intake) Raw(ctx context.Context, h Handed) (id string, err error) {
	a, err := relay.ReadAddresses(h.Body)
	if err != nil {
		return "", fmt.Errorf("accept message: %w", err)
	}
	if len(h.To) == 0 {
		if h.To, err = a.To(""); err != nil {
			return "", err
		}
	}
	h.Named, h.Body, h.EightBit = a.From, a.Body, true
	return in.Accept(ctx, h)
}

// Letter sends a letter.
func (in Intake) Letter(ctx context.Context, h Handed, l Letter) (id string, err error) {
	body := l.Reader()
	defer body.Close()
	h.From, h.To, h.Body = l.From, l.To, body
	return in.Accept(ctx, h)
}
