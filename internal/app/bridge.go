package app

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"postern/internal/bridge"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/secret"
	"postern/internal/vault"
)

// bridgeDoor is an IMAP or POP3 door with its listener.
type bridgeDoor struct {
	bridge.Door
	key      string
	listener net.Listener
}

// openBridge opens every IMAP and POP3 door that is configured, or none.
func (a *App) openBridge(ctx context.Context, logins *door.Logins) (doors []bridgeDoor, err error) {
	for _, want := range []struct {
		key, address string
		door         bridge.Door
	}{
		{"imap_listen", a.Config.IMAPListen.String(), bridge.Door{Protocol: bridge.IMAP}},
		{"imaps_listen", a.Config.IMAPSListen.String(), bridge.Door{Protocol: bridge.IMAP, Implicit: true}},
		{"pop3_listen", a.Config.POP3Listen.String(), bridge.Door{Protocol: bridge.POP3}},
		{"pop3s_listen", a.Config.POP3SListen.String(), bridge.Door{Protocol: bridge.POP3, Implicit: true}},
	} {
		l, err := listen(ctx, net.ListenConfig{}, want.key, want.address)
		if err != nil {
			return nil, errors.Join(err, closeBridge(doors))
		}
		if l != nil {
			doors = append(doors, bridgeDoor{want.door, want.key, l})
		}
	}
	if len(doors) == 0 {
		return nil, nil
	}
	b, err := bridge.New(bridge.Config{
		Logins: readers{a, logins}, Mailboxes: ways{a}, Register: a.Store, Holder: a.holder,
		TLS: &tls.Config{GetCertificate: *a.shows.Load(), MinVersion: tls.VersionTLS12},
		Limits: bridge.Limits{
			Sessions: int(a.Config.BridgeMost), PerMailbox: int(a.Config.BridgePerBox), PerHost: int(a.Config.BridgePerHost),
		},
		Log: a.log.With("room", "bridge"),
	})
	if err != nil {
		return nil, errors.Join(err, closeBridge(doors))
	}
	a.bridge.Store(b)
	return doors, nil
}

// serveBridge serves the doors until ctx ends.
func (a *App) serveBridge(ctx context.Context, g *errgroup.Group, doors []bridgeDoor) {
	b := a.bridge.Load()
	if b == nil {
		return
	}
	g.Go(func() error { return b.Run(ctx) })
	for _, d := range doors {
		g.Go(func() error { return b.Serve(ctx, d.listener, d.Door) })
	}
}

func closeBridge(doors []bridgeDoor) (err error) {
	for _, d := range doors {
		err = errors.Join(err, d.listener.Close())
	}
	return err
}

func closeDoors(doors []openDoor) (err error) {
	for _, d := range doors {
		err = errors.Join(err, d.listener.Close())
	}
	return err
}

// readers checks logins for the bridge: a device, and which mailbox it reads by whose
// sign-in.
type readers struct {
	*App
	logins *door.Logins
}

// Enter is part of [bridge.Logins].
func (r readers) Enter(ctx context.Context, p bridge.Protocol, user string, password secret.Text, remote netip.Addr) (bridge.Who, error) {
	mailboxOf := func(ctx context.Context, account string) (mail.Address, error) {
		acct, err := r.accountOf(ctx, account)
		return acct.Mailbox, err
	}
	d, box, err := r.logins.Open(ctx, door.Opening{Door: string(p), User: user, Password: password, Remote: remote.String(), Mailbox: mailboxOf})
	if err != nil {
		return bridge.Who{}, err
	}
	if !d.Policy.From(remote) {
		return bridge.Who{}, fault.New(fault.Denied, "check login", "%s is outside the networks of device %q", remote, d.Name).
			WithHint("The device %s may not come from %s: add that address to its networks in Postern", d.Name, remote)
	}
	own, err := mailboxOf(ctx, d.Account)
	if err != nil {
		return bridge.Who{}, err
	}
	account, err := r.opener(ctx, d, p, own, box)
	return bridge.Who{
		Device: d.Name, Account: account, Mailbox: box,
		Still: func(ctx context.Context) error { return r.logins.StillOpens(ctx, d, string(p), own, box) },
	}, err
}

// opener is whose sign-in opens a mailbox: that of the account which has it, or else the
// device's own, who then must have been given access to it by Exchange.
func (r readers) opener(ctx context.Context, d door.Device, p bridge.Protocol, own, box mail.Address) (string, error) {
	if box.Same(own) {
		return d.Account, nil
	}
	all, err := r.Vault.Accounts(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(all, func(acct vault.Account) bool { return acct.Mailbox.Same(box) && acct.May(vault.Purpose(p)) })
	if i < 0 {
		return d.Account, nil
	}
	return all[i].Name, nil
}

// ways finds the servers of mailboxes, and what signs in there.
type ways struct{ *App }

// Way is part of [bridge.Mailboxes].
func (w ways) Way(ctx context.Context, who bridge.Who, p bridge.Protocol, fresh bool) (bridge.Way, error) {
	acct, reg, err := w.account(ctx, who.Account)
	if err != nil {
		return bridge.Way{}, err
	}
	purpose, server := vault.IMAP, reg.Cloud.IMAP
	if p == bridge.POP3 {
		purpose, server = vault.POP3, reg.Cloud.POP3
	}
	if !server.Set() {
		return bridge.Way{}, fault.New(fault.NeedsAdmin, "open the mailbox", "app %q names no server for the purpose %s", reg.Name, purpose).
			WithHint("set custom.%s and apply", purpose)
	}
	want := vault.Cached
	if fresh {
		want = vault.Fresh
	}
	cred, err := w.Vault.Credential(ctx, acct.Name, purpose, want)
	if err != nil {
		return bridge.Way{}, err
	}
	pool, err := w.roots(reg.Cloud)
	if err != nil {
		return bridge.Way{}, err
	}
	login := mailbox.Login{User: cred.User, Token: cred.Token, Password: cred.Password}
	if !acct.Mailbox.Same(who.Mailbox) {
		login.User = who.Mailbox.String() // a shared one, by this account's rights
	}
	return bridge.Way{Server: mailbox.Config{Server: server, RootCAs: pool}, Login: login, Expires: cred.Expires}, nil
}

// Refused is part of [bridge.Mailboxes]. A refused password pauses the account, because
// servers count those; of a refused token nobody knows the reason, and the next login
// may try.
func (w ways) Refused(ctx context.Context, who bridge.Who, reason error) error {
	acct, err := w.Vault.Account(ctx, who.Account)
	if err != nil || acct.Method != vault.AppPassword {
		return err
	}
	return w.Vault.Refused(ctx, acct.Name, fault.NeedsSignIn, reason.Error())
}

// readerRoom is what the page of sessions needs.
type readerRoom struct{ *App }

// Sessions are those of all nodes.
func (r readerRoom) Sessions(ctx context.Context) ([]bridge.Session, error) {
	return r.Store.Sessions(ctx)
}

// EndSession ends a program's session, on whichever node it is.
func (a *App) EndSession(ctx context.Context, who, id string) error {
	if err := a.Store.EndSession(ctx, id, who); err != nil {
		return err
	}
	return a.WriteDown(ctx, who, "session end", id, "")
}
