package exchange

import (
	"context"

	"postern/internal/sim365/world"
)

// garbage is no line of any mail protocol.
const garbage = "\x16\x03\x01\x00\x05\xff\xfe<html><body>502 Bad Gateway</body></html>"

// place is where in a dialogue something may go wrong. The stages are
//
//	smtp, hve   greeting ehlo starttls auth mail rcpt data (also BDAT) dot rset noop quit unknown
//	pop3        greeting capa user auth list (STAT LIST UIDL) fetch (RETR TOP) store (DELE) rset noop quit
//	imap        greeting auth select (also EXAMINE), else the command in lower case without UID
//
// A fault for one mailbox strikes once the client has named it; at auth that is
// when the credentials have come.
type place struct{ where, stage, mailbox string }

// step does one step's work and returns its answer, unless a fault is armed for
// the place. errHangUp says that the connection is to be closed without another word.
func (s *Servers) step(ctx context.Context, w *wire, at place, work func() string) (string, error) {
	f, ok := s.world.Strike(at.where, at.stage, at.mailbox)
	if !ok {
		return work(), nil
	}
	s.cfg.Log.InfoContext(ctx, "fault", "where", at.where, "stage", at.stage, "kind", string(f.Kind), "id", f.ID)
	switch f.Kind {
	case world.FaultReply:
		return f.Code, nil
	case world.FaultSlow:
		if !pause(ctx, f.Delay) {
			return "", errHangUp
		}
		return work(), nil
	case world.FaultDrop:
		return "", errHangUp
	case world.FaultDropAfter:
		work()
		return "", errHangUp
	case world.FaultHalfClose:
		w.halfClose()
		return "", errHangUp
	case world.FaultGarbage:
		return garbage, nil
	}
	return work(), nil // a fault of another protocol
}
