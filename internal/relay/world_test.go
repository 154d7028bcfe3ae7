package relay_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// setting is a relay with a store in memory, and an upstream that does what the
// test says. Everything runs in a synctest bubble, so waits cost nothing.
type setting struct {
	t       *testing.T
	history *history
	store   *memory
	relay   *relay.Relay
	events  *lockedWriter

	mu       sync.Mutex
	openAs   func(n int) error                                                        // n counts from 1
	sendAs   func(ctx context.Context, n int, env mail.Envelope) (smtp.Result, error) // n counts from 1
	reporter func(failed relay.Message) (string, mail.Address, bool)
	opened   int
	sent     int
	paused   map[string]string
	limits   mail.Limits
	read     map[string]string // what was sent, by the message's id

	end func()
}

func newSetting(t *testing.T) *setting {
	s := &setting{t: t, history: &history{}, events: &lockedWriter{}, paused: make(map[string]string), read: make(map[string]string)}
	s.store = newMemory(s.history)
	s.openAs = func(int) error { return nil }
	s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) { return taken(), nil }
	s.relay = s.build("holder-1")
	return s
}

func (s *setting) build(holder string) *relay.Relay { return s.buildWith(holder, s) }

func (s *setting) buildWith(holder string, sender relay.Sender) *relay.Relay {
	return relay.New(relay.Config{
		Store: s.store, Sender: sender, Accounts: s, Holder: holder, Hostname: "gate.example", Resend: 10 * time.Minute,
		Limits:   func(string) mail.Limits { return s.limits },
		Events:   slog.New(slog.NewTextHandler(s.events, nil)),
		Reporter: func(_ context.Context, m relay.Message) (string, mail.Address, bool) { return s.report(m) },
	})
}

func (s *setting) report(m relay.Message) (account string, from mail.Address, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reporter == nil {
		return "", mail.Address{}, false
	}
	return s.reporter(m)
}

// run starts the relay; it stops at end, or at the latest with the test.
func (s *setting) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.relay.Run(ctx) }()
	s.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	s.t.Cleanup(s.end)
}

func (s *setting) accept(account string, to ...string) string {
	s.t.Helper()
	return s.submit(s.submission(account, to...), "Subject: hush hush\n\ntext\n")
}

func (s *setting) submission(account string, to ...string) relay.Submission {
	s.t.Helper()
	sub := relay.Submission{Device: "scanner", Account: account, From: mail.Address{Local: account, Domain: "contoso.com"}, RemoteAddr: "192.0.2.7:4711"}
	for _, a := range to {
		parsed, err := mail.ParseAddress(a)
		if err != nil {
			s.t.Fatal(err)
		}
		sub.To = append(sub.To, parsed)
	}
	return sub
}

func (s *setting) submit(sub relay.Submission, text string) string {
	s.t.Helper()
	id, err := s.relay.Accept(context.Background(), sub, strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *setting) message(id string) relay.Message {
	s.t.Helper()
	m, err := s.store.Message(context.Background(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// after lets d pass and everything come to rest.
func (s *setting) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *setting) Open(ctx context.Context, account string) (relay.Upstream, error) {
	s.mu.Lock()
	s.opened++
	n, as := s.opened, s.openAs
	s.mu.Unlock()
	s.history.add("open " + account)
	if err := as(n); err != nil {
		return nil, err
	}
	return &pipe{s: s, usable: true}, nil
}

func (s *setting) Paused(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for account := range s.paused {
		out = append(out, account)
	}
	return out, nil
}

func (s *setting) Pause(_ context.Context, account string, kind fault.Kind, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused[account] = reason
	s.history.add("pause " + account + " " + kind.String())
	return nil
}

func (s *setting) Working(_ context.Context, account string) error {
	s.history.add("working " + account)
	return nil
}

func (s *setting) resume(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.paused, account)
}

// pipe is an upstream connection.
type pipe struct {
	s      *setting
	usable bool
}

func (p *pipe) Send(ctx context.Context, env mail.Envelope, _ int64, body io.Reader, _ relay.Ours) (smtp.Result, error) {
	p.s.mu.Lock()
	p.s.sent++
	n, as := p.s.sent, p.s.sendAs
	p.s.mu.Unlock()
	p.s.history.add("send")
	text, err := io.ReadAll(body)
	if err != nil {
		return smtp.Result{}, err
	}
	p.s.mu.Lock()
	p.s.read[env.ID] = string(text)
	p.s.mu.Unlock()
	res, err := as(ctx, n, env)
	if f := fault.As(err); f != nil && f.Reply == nil {
		p.usable = false
	}
	if res.Accepted {
		p.s.history.add("taken")
	}
	return res, err
}

func (p *pipe) Usable() bool { return p.usable }

func (p *pipe) Close(context.Context) error {
	p.s.history.add("quit")
	return nil
}

func (p *pipe) Abort() { p.s.history.add("abort") }

func taken(refused ...smtp.RecipientReply) smtp.Result {
	return smtp.Result{Accepted: true, Recipients: refused, Reply: &fault.Reply{Protocol: "smtp", Code: "250", Enhanced: "2.0.0", Text: "OK"}}
}

// told is a refusal by the server.
func told(kind fault.Kind, code, enhanced string) *fault.Error {
	return &fault.Error{Kind: kind, Op: "smtp x", Reply: &fault.Reply{Protocol: "smtp", Code: code, Enhanced: enhanced, Text: "words"}}
}

// inOrder checks that the lines appear in this order, others in between.
func (h *history) inOrder(t *testing.T, lines ...string) {
	t.Helper()
	all := h.all()
	rest := all
	for _, l := range lines {
		i := slices.Index(rest, l)
		if i < 0 {
			t.Fatalf("%q does not follow; history: %q", l, all)
		}
		rest = rest[i+1:]
	}
}

type lockedWriter struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
