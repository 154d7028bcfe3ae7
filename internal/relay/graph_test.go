package relay_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/graph"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sim365/exchange"
	simulated "postern/internal/sim365/graph"
	"postern/internal/sim365/world"
	"postern/internal/smtp"
)

// office365 is a Graph sender for scan@contoso.com at a simulated Graph, with a clock
// and a memory of doubts that the test holds.
type office365 struct {
	t      *testing.T
	world  *world.World
	sender *relay.Graph
	box    *graph.Mailbox

	mu      sync.Mutex
	now     time.Time
	doubts  map[string]time.Time
	broken  error // of the memory
	working int
}

func newOffice365(t *testing.T) *office365 {
	t.Helper()
	o := &office365{t: t, world: world.New(), now: time.Now(), doubts: map[string]time.Time{}}
	tenant := o.world.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	user := o.world.AddUser(world.User{TenantID: tenant.ID, UPN: "scan@contoso.com"})
	reg := o.world.AddApp(world.App{HomeTenant: tenant.ID})
	servers, err := exchange.Start(o.world, exchange.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.Close)
	server := httptest.NewTLSServer(simulated.Handler(o.world, servers))
	t.Cleanup(server.Close)
	client, err := graph.New(graph.Config{Base: server.URL, Spool: t.TempDir(), Request: 10_000,
		CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))})
	if err != nil {
		t.Fatal(err)
	}
	token := o.world.IssueAccess(world.Token{TenantID: tenant.ID, ClientID: reg.ClientID, Resource: world.GraphResource,
		Scopes: []string{"Mail.Send", "Mail.ReadWrite"}, UserID: user.ObjectID, UPN: user.UPN})
	o.box = client.Mailbox(mail.Address{Local: "scan", Domain: "contoso.com"}, func(context.Context, bool) (secret.Text, error) {
		return secret.New(token.Raw), nil
	})
	o.sender = &relay.Graph{Mailboxes: o, Doubts: o, Now: o.clock, Working: func(context.Context, string) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.working++
		return nil
	}}
	return o
}

func (o *office365) Mailbox(context.Context, string) (*graph.Mailbox, error) { return o.box, nil }

func (o *office365) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func (o *office365) later(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func (o *office365) Doubt(_ context.Context, id string) (time.Time, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.doubts[id], o.broken
}

func (o *office365) BeginDoubt(_ context.Context, id string, at time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.doubts[id] = at
	return o.broken
}

func (o *office365) EndDoubt(_ context.Context, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.doubts, id)
	return o.broken
}

// doubtful reports whether a message's fate is written down as open.
func (o *office365) doubtful() bool {
	at, _ := o.Doubt(context.Background(), "m1")
	return !at.IsZero()
}

// try sends the message once, as a process that has just come up would.
func (o *office365) try(body string) (smtp.Result, *fault.Error) {
	o.t.Helper()
	return o.tryAs("m1", body)
}

// tryAs sends the message that the queue knows by an id; all have one Message-ID.
func (o *office365) tryAs(id, body string) (smtp.Result, *fault.Error) {
	o.t.Helper()
	up, err := o.sender.Open(o.t.Context(), "scan")
	if err != nil {
		o.t.Fatal(err)
	}
	raw := "From: scan@contoso.com\r\nTo: boss@contoso.com\r\nMessage-ID: <m1@test.example>\r\n\r\n" + body
	env := mail.Envelope{ID: id, From: mail.Address{Local: "scan", Domain: "contoso.com"}, To: []mail.Address{{Local: "boss", Domain: "elsewhere.example"}}}
	res, err := up.Send(o.t.Context(), env, int64(len(raw)), strings.NewReader(raw), relay.Unqueued)
	if err == nil && (!res.Accepted || res.Reply == nil) || err != nil && res.Accepted {
		o.t.Fatalf("%+v with error %v", res, err)
	}
	return res, fault.As(err)
}

func (o *office365) sent() int { return o.world.Count("graph_message") }

func (o *office365) arm(stage string, kind world.FaultKind, code string, times int) {
	o.world.Arm(world.Fault{Where: "graph", Stage: stage, Kind: kind, Code: code, Times: times})
}

func TestGraphTakesAMessage(t *testing.T) {
	t.Parallel()
	o := newOffice365(t)
	if res, err := o.try("text"); err != nil || res.Reply.Code != "202" {
		t.Fatalf("%+v, %v", res, err)
	}
	if o.sent() != 1 || o.working != 1 || !o.doubtful() {
		t.Errorf("sent %d, working %d, doubtful %v", o.sent(), o.working, o.doubtful())
	}
	// The process died before it wrote that down.
	if res, err := o.try("text"); err != nil || res.Reply.Text != "found in Sent Items" || o.sent() != 1 {
		t.Errorf("a second try: %+v, %v, sent %d", res, err, o.sent())
	}
}

func TestGraphRefusesAMessage(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]struct {
		kind  fault.Kind
		again time.Duration
		hint  string
	}{
		"ErrorAccessDenied": {kind: fault.NeedsAdmin},
		"ErrorSendAsDenied": {fault.Permanent, mail.SendAsAgain, mail.SendAsHint}, // once more, as over SMTP
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			o := newOffice365(t)
			o.arm("send", world.FaultReply, "403 "+code+" no", 1)
			if _, err := o.try("text"); err == nil || err.Kind != want.kind || err.RetryAfter != want.again || err.Hint != want.hint || o.doubtful() || o.working != 0 {
				t.Errorf("got %+v, doubtful %v, working %d", err, o.doubtful(), o.working)
			}
			if _, err := o.try("text"); err != nil || o.sent() != 1 || o.world.Count("graph_lookup") != 0 {
				t.Errorf("a second try: %v, sent %d after %d looks", err, o.sent(), o.world.Count("graph_lookup"))
			}
		})
	}
}

func TestAnswersThatAreLost(t *testing.T) {
	t.Parallel()
	t.Run("after the work, and found at once", func(t *testing.T) {
		t.Parallel()
		o := newOffice365(t)
		o.arm("after send", world.FaultStatus, "504", 1)
		if _, err := o.try("text"); err != nil || o.sent() != 1 {
			t.Errorf("%v, sent %d", err, o.sent())
		}
	})
	t.Run("after the work, and found later", func(t *testing.T) {
		t.Parallel()
		o := newOffice365(t)
		o.arm("after send", world.FaultDrop, "", 1)
		o.arm("lookup", world.FaultStatus, "503", 1)
		if _, err := o.try("text"); err == nil || !err.Ambiguous || err.Hint == "" {
			t.Fatalf("got %+v", err)
		}
		if _, err := o.try("text"); err != nil || o.sent() != 1 {
			t.Errorf("%v, sent %d", err, o.sent())
		}
	})
	t.Run("before the work", func(t *testing.T) {
		t.Parallel()
		o := newOffice365(t)
		o.arm("send", world.FaultStatus, "504", 1)
		if _, err := o.try("text"); err == nil || !err.Ambiguous {
			t.Fatalf("got %+v", err)
		}
		o.later(10 * time.Second)
		if _, err := o.try("text"); err == nil || err.Kind != fault.Temporary || err.RetryAfter != 20*time.Second || o.sent() != 0 {
			t.Fatalf("too early: %+v, sent %d", err, o.sent())
		}
		o.later(20 * time.Second)
		if _, err := o.try("text"); err != nil || o.sent() != 1 {
			t.Errorf("%v, sent %d", err, o.sent())
		}
	})
	t.Run("and nobody may look", func(t *testing.T) {
		t.Parallel()
		o := newOffice365(t)
		o.arm("after send", world.FaultStatus, "504", 1)
		o.arm("lookup", world.FaultReply, "403 ErrorAccessDenied no", -1)
		if _, err := o.try("text"); err == nil || !err.Ambiguous {
			t.Fatalf("got %+v", err)
		}
		for range 3 {
			o.later(time.Hour)
			if _, err := o.try("text"); err == nil || err.Kind != fault.Temporary || !strings.Contains(err.Error(), "may have been sent") || o.sent() != 1 {
				t.Fatalf("got %v, sent %d", err, o.sent())
			}
		}
	})
	t.Run("and a message that went before has the same Message-ID", func(t *testing.T) {
		t.Parallel()
		o := newOffice365(t)
		if _, err := o.try("text"); err != nil || o.sent() != 1 {
			t.Fatalf("%v, sent %d", err, o.sent())
		}
		another := mail.NewID(time.Now().Add(10 * time.Minute))
		o.arm("send", world.FaultStatus, "504", 1)
		if _, err := o.tryAs(another, "another text"); err == nil || !err.Ambiguous {
			t.Fatalf("the first was taken for the second: %+v", err)
		}
		o.later(time.Minute)
		if _, err := o.tryAs(another, "another text"); err != nil || o.sent() != 2 {
			t.Errorf("%v, sent %d", err, o.sent())
		}
	})
	t.Run("and a draft is left", func(t *testing.T) {
		t.Parallel()
		o := newOffice365(t)
		o.arm("send", world.FaultStatus, "504", 1)
		large := strings.Repeat("text\r\n", 5000)
		if _, err := o.try(large); err == nil || !err.Ambiguous {
			t.Fatalf("got %+v", err)
		}
		o.later(time.Minute)
		if _, err := o.try(large); err != nil || o.sent() != 1 {
			t.Errorf("%v, sent %d", err, o.sent())
		}
		if made, gone := o.world.Count("graph_draft"), o.world.Count("graph_draft_gone"); made != 2 || gone != 2 {
			t.Errorf("%d drafts made, %d gone", made, gone)
		}
	})
	t.Run("and nothing is sent that cannot be noted", func(t *testing.T) {
		t.Parallel()
		o := newOffice365(t)
		o.broken = errors.New("database is away")
		if _, err := o.try("text"); err == nil || err.Kind != fault.Temporary || o.sent() != 0 {
			t.Errorf("%v, sent %d", err, o.sent())
		}
	})
}

// A token proves nothing, so an account that Graph refuses never counts as working.
func TestRefusedByGraphIsPausedOnce(t *testing.T) {
	t.Parallel()
	o := newOffice365(t)
	s := newSetting(t)
	r := relay.New(relay.Config{Store: s.store, Sender: o.sender, Accounts: s, Poll: time.Millisecond})
	s.relay = r
	o.arm("send", world.FaultReply, "404 MailboxNotEnabledForRESTAPI no", -1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	id := s.accept("scan", "boss@elsewhere.example")
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); s.message(id).Kind == "" && time.Now().Before(deadline); <-tick.C {
		continue
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if m := s.message(id); m.State != relay.Queued || m.Kind != "needs_admin" || !strings.Contains(m.Reason, "MailboxNotEnabledForRESTAPI") {
		t.Errorf("got %+v", m)
	}
	if all := s.history.all(); slices.Contains(all, "working scan") || !slices.Contains(all, "pause scan needs_admin") {
		t.Errorf("history %q", all)
	}
}

// settling is a store that knows doubts, as the real one does.
type settling struct {
	*memory
	doubts *office365
}

func (s settling) FinishMessage(ctx context.Context, holder string, m relay.Message, spent relay.Spent) error {
	err := s.memory.FinishMessage(ctx, holder, m, spent)
	if err == nil && spent.Taken {
		err = s.doubts.EndDoubt(ctx, m.ID)
	}
	return err
}

// What became of a part can be found out only for that part: those behind it wait, and
// nobody gets it twice.
func TestPartInDoubtIsNotPassedOver(t *testing.T) {
	t.Parallel()
	o := newOffice365(t)
	s := newSetting(t)
	s.limits = mail.Limits{RecipientsPerMessage: 2}
	s.relay = relay.New(relay.Config{Store: settling{s.store, o}, Sender: o.sender, Accounts: s, Poll: time.Millisecond, Lease: time.Hour,
		Now: o.clock, Limits: func(string) mail.Limits { return s.limits }})
	o.arm("after send", world.FaultDrop, "", 1) // the first part goes out, and nobody hears of it
	o.arm("lookup", world.FaultStatus, "503", 1)
	s.run()
	id := s.accept("scan", people(6)...)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); s.message(id).State != relay.Delivered && time.Now().Before(deadline); <-tick.C {
		if s.message(id).Attempts > 0 {
			o.later(time.Second)
		}
	}
	s.end()
	if m := s.message(id); m.State != relay.Delivered || o.sent() != 3 {
		t.Errorf("%d messages sent for 3 parts; %+v", o.sent(), m)
	}
}
