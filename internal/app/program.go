package app

import (
	"context"
	"crypto/tls"
	"io"
	"time"

	"postern/internal/api"
	"postern/internal/door"
	"postern/internal/relay"
)

// TalkSMTP holds one SMTP session with a program over its pipes, as a device.
func (a *App) TalkSMTP(ctx context.Context, device string, in io.Reader, out io.Writer) error {
	d, err := a.Store.Device(ctx, device)
	if err != nil {
		return err
	}
	s, err := door.NewSMTP(door.SMTPConfig{
		Local: &d, Logins: door.NewLogins(a.Store, time.Second, readAgain), Relay: handIn{a.Intake(), d, a.Relay}, Account: a.accountOf, Keep: readAgain,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Hostname: a.hostname(), MaxSize: int64(a.Config.MaxMessage), Log: a.log.With("room", "smtp_door"),
	})
	if err != nil {
		return err
	}
	return s.Talk(ctx, in, out)
}

// handIn takes messages from a program on this machine. A door counts what a device sends
// in a minute for as long as it is open, which here is one session.
type handIn struct {
	api.Intake
	device door.Device
	relay  *relay.Relay
}

// Accept is for door.Acceptor.
func (h handIn) Accept(ctx context.Context, s relay.Submission, body io.Reader) (string, error) {
	if err := h.Pace(ctx, h.device); err != nil {
		return "", err
	}
	s.RemoteAddr, s.Via = "", "LOCAL"
	return h.relay.Accept(ctx, s, body)
}
