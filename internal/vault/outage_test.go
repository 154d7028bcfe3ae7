package vault_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
	"postern/internal/vault"
)

// post is a mail server that wants a token for each connection, and what the relay
// must know of accounts, as package app puts it together.
type post struct {
	*stand
	mu    sync.Mutex
	taken map[string]int // by Message-ID
}

func (p *post) Open(ctx context.Context, account string) (relay.Upstream, error) {
	c, err := p.vault.Credential(ctx, account, vault.Send, vault.Cached)
	if err != nil {
		return nil, err
	}
	if _, err := p.world.CheckToken(c.Token.Reveal()); err != nil {
		return nil, fault.New(fault.NeedsSignIn, "smtp AUTH", "535 5.7.3: %w", err)
	}
	return slot{p}, nil
}

func (p *post) Paused(ctx context.Context) (paused []string, err error) {
	all, err := p.vault.Accounts(ctx)
	for _, a := range all {
		if a.State != vault.Active {
			paused = append(paused, a.Name)
		}
	}
	return paused, err
}

func (p *post) Pause(ctx context.Context, account string, kind fault.Kind, reason string) error {
	return p.vault.Refused(ctx, account, kind, reason)
}

func (p *post) Working(ctx context.Context, account string) error {
	return p.vault.Worked(ctx, account)
}

// slot takes one message.
type slot struct{ p *post }

func (s slot) Send(_ context.Context, _ mail.Envelope, _ int64, body io.Reader, _ relay.Ours) (smtp.Result, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return smtp.Result{}, err
	}
	_, subject, _ := strings.Cut(string(b), "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.taken[subject]++
	return smtp.Result{Accepted: true, Reply: &fault.Reply{Protocol: "smtp", Code: "250", Text: "OK"}}, nil
}

func (slot) Usable() bool                { return false }
func (slot) Close(context.Context) error { return nil }
func (slot) Abort()                      {}

// The token endpoint is down for an hour, on a clock of our own: mail waits, nobody is
// asked to sign in, nobody is alarmed, and afterwards everything goes out by itself.
func TestAnHourWithoutTokenEndpoint(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]http.HandlerFunc{
		"503":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"hang up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			p := &post{stand: newStandOn(t, db).explained(), taken: map[string]int{}}
			p.world.TokenLife = time.Hour
			p.signIn()
			r := relay.New(relay.Config{Store: db, Sender: p, Accounts: p, Now: p.clock, Poll: 2 * time.Millisecond, Holder: "host/1/A"})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()

			accepted := 0
			minutes := func(n int, hand bool) {
				for range n {
					if hand {
						accepted++
						p.hand(r, accepted)
					}
					p.vault.Pass(t.Context())
					p.settle(db)
					p.wantState(vault.Active)
					p.pass(time.Minute)
				}
			}
			minutes(45, true)
			p.answer(down)
			began := p.asked.Load()
			minutes(60, true)
			if n := p.asked.Load() - began; n < 5 || n > 200 {
				t.Errorf("asked %d times in an hour without an answer", n)
			}
			if counts, err := db.Counts(t.Context()); err != nil || counts[relay.Queued] < 30 {
				t.Errorf("%v, %v: mail should be waiting", counts, err)
			}
			p.answer(nil)
			minutes(70, false) // the longest wait between two tries of a message

			for i := range accepted {
				if n := p.taken[fmt.Sprintf("no. %d", i+1)]; n != 1 {
					t.Errorf("message %d arrived %d times", i+1, n)
				}
			}
			if counts, err := db.Counts(t.Context()); err != nil || counts[relay.Delivered] != accepted {
				t.Errorf("%v of %d, %v", counts, accepted, err)
			}
			p.wantAlerts()
			if strings.Contains(p.log.String(), "account paused") {
				t.Error("the account was paused")
			}
			stop()
			p.must(<-ended)
		})
	}
}

func (p *post) hand(r *relay.Relay, n int) {
	p.Helper()
	_, err := r.Accept(p.Context(), relay.Submission{
		Device: "scanner", Account: "scan", From: mail.Address{Local: "scan", Domain: "contoso.com"},
		To: []mail.Address{{Local: "eve", Domain: "contoso.com"}},
	}, strings.NewReader(fmt.Sprintf("Subject: no. %d\r\n\r\ntext\r\n", n)))
	p.must(err)
}

// settle waits until every message that is due has been tried.
func (p *post) settle(db *store.Store) {
	p.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		pending := 0
		for _, state := range []relay.State{relay.Queued, relay.Delivering} {
			all, err := db.Messages(p.Context(), relay.Filter{State: state, Limit: 1000})
			p.must(err)
			for _, m := range all {
				if m.State == relay.Delivering || !m.NotBefore.After(p.clock()) {
					pending++
				}
			}
		}
		if pending == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("%d messages are stuck", pending)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-p.Context().Done():
			return
		}
	}
}
