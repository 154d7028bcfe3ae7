package imap

import (
	"context"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/fault"
)

const (
	// A server may hang up after half an hour (RFC 2177), and a firewall forgets a
	// silent connection much sooner; a new IDLE also finds out that the peer is gone.
	idleRound  = 9 * time.Minute
	idleRounds = 3
	// farewell is how long ending an IDLE may take when nobody waits for more.
	farewell = 5 * time.Second
)

// Watch waits with IDLE (RFC 2177) and returns nil when messages arrived since the
// folder in use was last searched, at the latest after 27 minutes. When ctx ends first
// the connection stays good.
func (s *Source) Watch(ctx context.Context) error {
	if !s.Can().Watch {
		return fault.New(fault.NeedsAdmin, "imap IDLE", "the server cannot tell when mail arrives").
			WithHint("give the task an interval instead")
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for range idleRounds {
		if again, err := s.idle(ctx); err != nil || !again {
			return err
		}
	}
	return nil
}

// idle is one round; again tells that nothing was heard in it.
func (s *Source) idle(ctx context.Context) (again bool, err error) {
	cmd, err := s.startIdle(ctx)
	if err != nil {
		return false, err
	}
	round := time.NewTimer(idleRound)
	defer round.Stop()
	select {
	case <-ctx.Done():
	case <-s.c.news:
	case <-s.c.c.Closed():
	case <-round.C:
		again = true
	}
	parting, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	defer s.c.conn.Begin(parting)()
	err = cmd.Close()
	if ended := cmd.Wait(); err == nil {
		err = ended
	}
	if err != nil {
		return false, s.c.failed(ctx, "IDLE", err)
	}
	return again, context.Cause(ctx)
}

func (s *Source) startIdle(ctx context.Context) (*imapclient.IdleCommand, error) {
	defer s.c.conn.Begin(ctx)()
	if s.c.open.name != s.name {
		if _, err := s.c.enter(ctx, s.name, false); err != nil {
			return nil, err
		}
	}
	cmd, err := s.c.c.Idle()
	if err != nil {
		return nil, s.c.failed(ctx, "IDLE", err)
	}
	return cmd, nil
}

// listen makes go-imap tell of messages that arrive. It must not wait: the client's
// own goroutine calls it.
func listen(news chan<- struct{}) *imapclient.UnilateralDataHandler {
	return &imapclient.UnilateralDataHandler{Mailbox: func(data *imapclient.UnilateralDataMailbox) {
		if data.NumMessages == nil {
			return
		}
		select {
		case news <- struct{}{}:
		default:
		}
	}}
}
