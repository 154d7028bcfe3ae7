package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"postern/internal/sim365"
	"postern/internal/sim365/world"
)

// fetchFar is the run over a long way, from the simulated Exchange.
func (b *bench) fetchFar(ctx context.Context) error {
	sim, err := sim365.Start(ctx, sim365.Options{})
	if err != nil {
		return err
	}
	defer sim.Stop()
	contoso := sim.Contoso()
	sim.World.UpdateApp(contoso.App.ClientID, func(a *world.App) { a.AdminConsent[contoso.Tenant.ID] = true })
	for i := range distantMessages {
		if err := sim.Deliver(contoso.Invoices.UPN, letter(i)); err != nil {
			return err
		}
	}
	far, err := distant(ctx, net.JoinHostPort("127.0.0.1", fmt.Sprint(sim.IMAP().Port)))
	if err != nil {
		return err
	}
	ca := filepath.Join(b.work, "sim.pem")
	if err := os.WriteFile(ca, []byte(sim.CAPEM()), 0o644); err != nil { //nolint:gosec // a peer runs as another user
		return err
	}
	ours := b.posternFetch(distantMessages, fmt.Sprintf(`
apps:
  - name: sim
    tenant: %s
    client_id: %s
    secret: {env: BENCH_SECRET}
    cloud: custom
    custom: {authority: %q, imap: {host: localhost, port: %d, tls: implicit}, ca: {file: %s}}
accounts:
  - {name: box, app: sim, mailbox: %s, sign_in: application, purposes: [imap]}
`, contoso.Tenant.ID, contoso.App.ClientID, sim.Authority(), far, ca, contoso.Invoices.UPN), contoso.App.Secret)
	token := sim.World.IssueAccess(world.Token{
		TenantID: contoso.Tenant.ID, ClientID: contoso.App.ClientID, Resource: world.ExchangeResource,
		Scopes: []string{"IMAP.AccessAsUser.All"}, UserID: contoso.Invoices.ObjectID, UPN: contoso.Invoices.UPN,
	}).Raw
	theirs := getmail(ctx, distantMessages, fmt.Sprintf("server = localhost\nport = %d\nusername = %s\nuse_xoauth2 = true\npassword_command = (\"echo\", \"%s\")\nca_certs = %s\n",
		far, contoso.Invoices.UPN, token, ca))
	for range distantRounds {
		us, err := b.fetchRound(ctx, ours)
		if err != nil {
			return err
		}
		them, err := b.fetchRound(ctx, theirs)
		if err != nil {
			return err
		}
		b.add("fetch_far_postern_per_s", "1/s", us.perSecond)
		b.add("fetch_far_getmail6_per_s", "1/s", them.perSecond)
		b.add("fetch_far_ratio", "x", us.perSecond/them.perSecond)
	}
	return nil
}

// distant is a port on loopback behind which another one lies far away: whatever is
// sent arrives later by half the round trip.
func distant(ctx context.Context, addr string) (port int, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = near.Close() }()
				if pause(ctx, distance) != nil { // the handshake of TCP
					return
				}
				far, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
				if err != nil {
					return
				}
				defer func() { _ = far.Close() }()
				go carry(ctx, far, near)
				carry(ctx, near, far)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// cargo is under way until it is due.
type cargo struct {
	bytes []byte
	due   time.Time
}

// carry takes along everything, late.
func carry(ctx context.Context, to io.WriteCloser, from io.Reader) {
	way := make(chan cargo, 10_000)
	go func() {
		defer close(way)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			way <- cargo{buf[:n], time.Now().Add(distance / 2)}
		}
	}()
	defer func() { _ = to.Close() }()
	for c := range way {
		if pause(ctx, time.Until(c.due)) != nil {
			return
		}
		if _, err := to.Write(c.bytes); err != nil {
			return
		}
	}
}
