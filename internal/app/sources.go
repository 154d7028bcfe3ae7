package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/mailbox/pop3"
	"postern/internal/vault"
)

// leaveAlone is for how long fetch tasks stay away from a mailbox that refused a login.
const leaveAlone = 15 * time.Minute

// sources signs fetch tasks in to mailboxes.
type sources struct {
	*App
	seats *seats
}

// Open signs in over the protocol that the task reads by.
func (s sources) Open(ctx context.Context, name string, protocol fetch.Protocol) (fetch.Source, error) {
	acct, reg, err := s.account(ctx, name)
	if err != nil {
		return nil, err
	}
	purpose, server := vault.IMAP, reg.Cloud.IMAP
	if protocol == fetch.POP3 {
		purpose, server = vault.POP3, reg.Cloud.POP3
	}
	if !acct.May(purpose) {
		return nil, fault.New(fault.NeedsAdmin, "fetch", "account %q is not for %s", name, purpose).
			WithHint("add %s to its purposes, apply, and sign it in again", purpose)
	}
	if !server.Set() {
		return nil, fault.New(fault.NeedsAdmin, "fetch", "app %q names no server for the purpose %s", reg.Name, purpose).
			WithHint("set custom.%s and apply", purpose)
	}
	pool, err := s.roots(reg.Cloud)
	if err != nil {
		return nil, err
	}
	leave, err := s.seats.take(ctx, acct.Mailbox)
	if err != nil {
		return nil, err
	}
	source, err := s.source(ctx, acct, purpose, mailbox.Config{Server: server, RootCAs: pool})
	if err != nil {
		leave()
		return nil, err
	}
	return source.until(leave), nil
}

func (s sources) source(ctx context.Context, acct vault.Account, purpose vault.Purpose, cfg mailbox.Config) (seated, error) {
	address := acct.Mailbox.String()
	if purpose == vault.POP3 {
		dial := func(ctx context.Context) (*pop3.Client, error) { return pop3.Dial(ctx, cfg) }
		again := func(ctx context.Context) (*pop3.Client, error) { return signIn(ctx, s, acct, purpose, dial) }
		source, err := pop3.Open(ctx, address, again)
		return seated{Source: source}, err
	}
	c, err := signIn(ctx, s, acct, purpose, func(ctx context.Context) (*imap.Client, error) { return imap.Dial(ctx, cfg) })
	if err != nil {
		return seated{}, err
	}
	source := c.Source(address)
	return seated{Source: source, watch: source.Watch}, nil
}

// seated is a source that has a seat at its mailbox.
type seated struct {
	fetch.Source
	watch func(context.Context) error
	leave func()
}

func (s seated) until(leave func()) fetch.Source {
	s.leave = sync.OnceFunc(leave)
	if s.watch != nil {
		return watching{s}
	}
	return s
}

// Close gives the seat to the next.
func (s seated) Close() error {
	defer s.leave()
	return s.Source.Close()
}

// watching is one that can also wait for mail.
type watching struct{ seated }

func (w watching) Watch(ctx context.Context) error { return w.watch(ctx) }

// client is a connection that somebody can sign in on.
type client interface {
	SignIn(ctx context.Context, as mailbox.Login) error
	Close() error
}

// signIn opens a mailbox. A refused token is replaced once: it may have been revoked
// while it was cached. When the server refuses all the same, its tasks leave it alone
// for a while; a refused password pauses the account, because servers count those.
func signIn[C client](ctx context.Context, s sources, acct vault.Account, purpose vault.Purpose, dial func(context.Context) (C, error)) (none C, err error) {
	var refused *fault.Error
	for _, want := range []vault.Want{vault.Cached, vault.Fresh} {
		cred, err := s.Vault.Credential(ctx, acct.Name, purpose, want)
		if err != nil {
			return none, err
		}
		c, err := dial(ctx)
		if err != nil {
			return none, err
		}
		err = c.SignIn(ctx, mailbox.Login{User: cred.User, Token: cred.Token, Password: cred.Password})
		if err == nil {
			return c, nil
		}
		if err = errors.Join(err, c.Close()); !errors.Is(err, fault.NeedsSignIn) {
			return none, err
		}
		refused = &fault.Error{Kind: fault.NeedsSignIn, Op: "fetch", Err: err, Hint: fault.HintOf(err), RetryAfter: leaveAlone}
		if acct.Method == vault.AppPassword {
			return none, errors.Join(refused, s.Vault.Refused(ctx, acct.Name, fault.NeedsSignIn, err.Error()))
		}
	}
	return none, refused
}

const (
	// mailboxSeats is how many connections fetch tasks have to one mailbox; Exchange is
	// said to allow twenty, and slows down who has many.
	mailboxSeats = 8
	// seatWait is how long a task waits for one; longer, and the next run may try.
	seatWait = time.Minute
)

// seats limits the connections of this process to each mailbox.
type seats struct {
	mu    sync.Mutex
	boxes map[mail.Address]chan struct{}
}

func (s *seats) take(ctx context.Context, box mail.Address) (leave func(), err error) {
	s.mu.Lock()
	if s.boxes == nil {
		s.boxes = make(map[mail.Address]chan struct{})
	}
	if s.boxes[box] == nil {
		s.boxes[box] = make(chan struct{}, mailboxSeats)
	}
	free := s.boxes[box]
	s.mu.Unlock()
	wait := time.NewTimer(seatWait)
	defer wait.Stop()
	select {
	case free <- struct{}{}:
		return func() { <-free }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-wait.C:
		return nil, fault.New(fault.Temporary, "fetch", "%d connections to %s are in use already", mailboxSeats, box).
			WithHint("let fewer tasks watch this mailbox at the same time")
	}
}
