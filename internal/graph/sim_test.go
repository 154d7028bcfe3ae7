package graph_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"postern/internal/graph"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/sim365/exchange"
	simulated "postern/internal/sim365/graph"
	"postern/internal/sim365/world"
)

// post is a client for scan@contoso.com at a simulated Graph.
type post struct {
	t      *testing.T
	world  *world.World
	user   world.User
	app    world.App
	scopes []string
	token  secret.Text
	fresh  int // how often a new one was asked for
	box    *graph.Mailbox
}

func newPost(t *testing.T, change ...func(*graph.Config)) *post {
	t.Helper()
	p := &post{t: t, world: world.New(), scopes: []string{"Mail.Send", "Mail.ReadWrite"}}
	tenant := p.world.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	p.user = p.world.AddUser(world.User{TenantID: tenant.ID, UPN: "scan@contoso.com"})
	for _, name := range []string{"a", "b", "c"} {
		p.world.AddUser(world.User{TenantID: tenant.ID, UPN: name + "@contoso.com"})
	}
	p.app = p.world.AddApp(world.App{HomeTenant: tenant.ID})
	servers, err := exchange.Start(p.world, exchange.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.Close)
	server := httptest.NewTLSServer(simulated.Handler(p.world, servers))
	t.Cleanup(server.Close)
	cfg := graph.Config{
		Base: server.URL, Spool: t.TempDir(),
		CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	}
	for _, f := range change {
		f(&cfg)
	}
	client, err := graph.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.issue()
	p.box = client.Mailbox(address("scan@contoso.com"), func(_ context.Context, fresh bool) (secret.Text, error) {
		if fresh {
			p.fresh++
			p.issue()
		}
		return p.token, nil
	})
	return p
}

// issue makes the token that is used from now on.
func (p *post) issue() {
	p.token = secret.New(p.world.IssueAccess(world.Token{TenantID: p.user.TenantID, ClientID: p.app.ClientID, Resource: world.GraphResource,
		Scopes: p.scopes, UserID: p.user.ObjectID, UPN: p.user.UPN}).Raw)
}

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func envelope(to ...string) mail.Envelope {
	env := mail.Envelope{ID: "0123", From: address("scan@contoso.com")}
	for _, s := range to {
		env.To = append(env.To, address(s))
	}
	return env
}

// letter reads a message as the relay hands it over.
func letter(t *testing.T, raw string, to ...string) *graph.Letter {
	t.Helper()
	l, err := graph.Read(envelope(to...), int64(len(raw)), strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (p *post) send(raw string, to ...string) error {
	p.t.Helper()
	_, err := p.box.Send(p.t.Context(), letter(p.t, raw, to...))
	return err
}

// got are the messages that reached an address from outside of it.
func (p *post) got(to string) []string {
	var all []string
	for _, m := range p.world.AllMessages() {
		if m.Mailbox == to && m.Folder != "Sent Items" {
			all = append(all, string(m.Raw))
		}
	}
	return all
}

// reached are the addresses that mail went to, in order.
func (p *post) reached() []string {
	var all []string
	for _, m := range p.world.AllMessages() {
		if m.Folder != "Sent Items" {
			all = append(all, m.Mailbox)
		}
	}
	slices.Sort(all)
	return all
}

// bytesOf is content that no codec can shorten, n octets of it.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func contains(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }
