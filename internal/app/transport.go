package app

import (
	"context"
	"sync"

	"postern/internal/fault"
	"postern/internal/graph"
	"postern/internal/outbound"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/vault"
)

// sender chooses among the transports of each account.
func (a *App) sender(network outbound.Network, doubts relay.Doubts) relay.Sender {
	boxes := &mailboxes{App: a, network: network, clients: map[place]*graph.Client{}}
	return &relay.Transports{
		Ways:    boxes.way,
		SMTP:    &relay.SMTP{Routes: routes{a}, Tokens: tokens{a.Vault}, HelloName: a.hostname()},
		Graph:   &relay.Graph{Mailboxes: boxes, Doubts: doubts, Working: a.Vault.Worked, Now: a.Store.Now},
		Detours: a.Store, Doubts: doubts, Now: a.Store.Now, Log: a.log.With("room", "relay"),
	}
}

// Detour says by which transport an account sends in place of its first choice;
// fault.NotFound when by none.
func (a *App) Detour(ctx context.Context, account string) (relay.Detour, error) {
	return a.Store.Detour(ctx, account, a.Store.Now())
}

// mailboxes opens Graph for accounts. The accounts of an app share a client, because
// they share its limit.
type mailboxes struct {
	*App
	network outbound.Network

	mu      sync.Mutex
	clients map[place]*graph.Client
}

// place is one app registration at one Graph.
type place struct{ clientID, base, ca string }

// way tells what an account may send by, and was told to.
func (m *mailboxes) way(ctx context.Context, name string) (relay.Way, error) {
	acct, reg, err := m.account(ctx, name)
	if err != nil {
		return relay.Way{}, err
	}
	way := relay.Way{Fixed: relay.Transport(acct.Transport), SMTP: acct.May(vault.Send) || acct.May(vault.HVE), Graph: acct.May(vault.Graph), HVE: acct.May(vault.HVE)}
	if way.Graph {
		c, err := m.client(reg)
		if err != nil {
			return relay.Way{}, err
		}
		way.Large = c.Request()
	}
	if acct.May(vault.HVE) { // its servers have rules of their own, so that nothing stands in for them
		way.Graph = way.Fixed == relay.OverGraph
		way.SMTP = !way.Graph
	}
	return way, nil
}

// Mailbox is part of [relay.Mailboxes].
func (m *mailboxes) Mailbox(ctx context.Context, name string) (*graph.Mailbox, error) {
	acct, reg, err := m.account(ctx, name)
	if err != nil {
		return nil, err
	}
	if !acct.May(vault.Graph) {
		return nil, fault.New(fault.NeedsAdmin, "send", "account %q is not for Graph", name).
			WithHint("add graph to its purposes, apply, and sign it in again")
	}
	c, err := m.client(reg)
	if err != nil {
		return nil, err
	}
	return c.Mailbox(acct.Mailbox, func(ctx context.Context, fresh bool) (secret.Text, error) {
		return m.Vault.Token(ctx, name, vault.Graph, fresh)
	}), nil
}

func (m *mailboxes) client(reg vault.App) (*graph.Client, error) {
	at := place{reg.ClientID, reg.Cloud.Graph, reg.Cloud.CA}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.clients[at]; ok {
		return c, nil
	}
	c, err := graph.New(graph.Config{Base: at.base, CA: at.ca, Network: m.network, Spool: m.Config.DataDir})
	if err == nil {
		m.clients[at] = c
	}
	return c, err
}
