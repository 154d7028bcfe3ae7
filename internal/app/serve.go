package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/web"
)

// stopGrace bounds how long web requests in flight are waited for at a stop.
const stopGrace = 5 * time.Second

// Serve opens the listeners, tells ready, and runs until ctx is done or a part
// fails. It returns nil after an orderly stop.
func (a *App) Serve(ctx context.Context, ready func(Addresses)) error {
	if err := a.takeBack(ctx); err != nil {
		return err
	}
	if err := a.invite(ctx); err != nil {
		return err
	}
	pages, err := a.openWeb(ctx)
	if err != nil {
		return err
	}
	if _, err := a.certificate(); err != nil {
		return errors.Join(err, pages.close())
	}
	logins := door.NewLogins(a.Store, time.Second, readAgain)
	doors, err := a.openDoors(ctx, logins)
	if err != nil {
		return errors.Join(err, pages.close())
	}
	bridges, err := a.openBridge(ctx, logins)
	if err != nil {
		return errors.Join(err, pages.close(), closeDoors(doors))
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.watchOthers(ctx) })
	g.Go(func() error { return a.keepHouse(ctx) })
	g.Go(func() error { return a.recordActivity(ctx) })
	g.Go(func() error { return a.Vault.Run(ctx) })
	g.Go(func() error { return a.Relay.Run(ctx) })
	g.Go(func() error { return a.Fetch.Run(ctx) })
	g.Go(func() error { return a.Desk.Run(ctx) })
	g.Go(func() error { return a.watchHealth(ctx) })
	g.Go(func() error { return a.serveWeb(ctx, pages, deviceRoom{a, doors, bridges}) })
	if issuer := a.issuer.Load(); issuer != nil {
		if err := issuer.Read(ctx); err != nil {
			a.log.WarnContext(ctx, "the certificate got by ACME was not read; another one serves", "error", err)
		}
		g.Go(func() error { return issuer.Run(ctx) })
		g.Go(func() error { return a.serveHTTP(ctx, pages.acme, issuer.Challenges(), nil) })
	}
	for _, d := range doors {
		g.Go(func() error { return d.Serve(ctx, d.listener) })
	}
	a.serveBridge(ctx, g, bridges)
	ready(a.addresses(pages, doors, bridges))
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// lookForDead is how often a node looks whether another one died.
const lookForDead = 5 * time.Second

// takeBack frees what processes held when they died, so that neither a restart nor
// another node waits for their leases to end.
func (a *App) takeBack(ctx context.Context) error {
	if err := a.limits.read(ctx, a.Vault); err != nil { // nobody has before, at a start
		return err
	}
	n, err := a.Store.ReleaseDead(ctx, a.Store.Now(), a.limits.of)
	if n > 0 {
		a.log.InfoContext(ctx, "took back what a process that died had leased", "leases", n)
	}
	return err
}

// watchOthers takes back for as long as this node lives, and keeps to the clock that it
// shares with them.
func (a *App) watchOthers(ctx context.Context) error {
	tick := time.NewTicker(lookForDead)
	defer tick.Stop()
	for ahead := time.Duration(0); ; {
		ahead = a.followClock(ctx, ahead)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := a.takeBack(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "nobody looks for nodes that died", "error", err)
		}
	}
}

// followClock goes by the database's clock, and says when this machine's begins to
// differ from it.
func (a *App) followClock(ctx context.Context, before time.Duration) time.Duration {
	ahead, err := a.Store.SetClock(ctx)
	switch {
	case err != nil:
		return before // the next look succeeds, or others say that the database is away
	case (ahead == 0) != (before == 0):
		a.log.WarnContext(ctx, "this machine's clock and the database's differ; the database's decides", "database_ahead", ahead.Round(time.Millisecond).String())
	}
	return ahead
}

// listen opens what a key names; how says what its connections are like.
func listen(ctx context.Context, how net.ListenConfig, key, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil //nolint:nilnil // switched off
	}
	l, err := how.Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, os.ErrPermission):
		return nil, fault.New(fault.Invalid, key, "%w", err).
			WithHint("ports below 1024 need a privilege: run as a service with CAP_NET_BIND_SERVICE, or choose another port, such as --%s :2587", dashed(key))
	default:
		return nil, fault.New(fault.Invalid, key, "%w", err).WithHint("end the program that has this port, or choose another with --%s", dashed(key))
	}
}

func dashed(key string) string {
	b := []byte(key)
	for i := range b {
		if b[i] == '_' {
			b[i] = '-'
		}
	}
	return string(b)
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

func (a *App) hostname() string {
	if a.Config.Hostname != "" {
		return a.Config.Hostname
	}
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "localhost"
}

// serveWeb serves the pages, in the clear and over TLS.
func (a *App) serveWeb(ctx context.Context, w webListeners, devices deviceRoom) error {
	pages, closePages, err := a.webHandler(devices)
	if err != nil {
		return err
	}
	defer closePages() // a sign-in by code that waits ends before the database does
	handler := proxied(a.Config.TrustedProxies, a.withAPI(pages))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.serveHTTP(ctx, w.plain, handler, nil) })
	g.Go(func() error { return a.serveHTTP(ctx, w.tls, handler, a.webTLS()) })
	return g.Wait()
}

// serveHTTP serves until ctx ends; nowhere when there is no listener.
func (a *App) serveHTTP(ctx context.Context, l net.Listener, handler http.Handler, over *tls.Config) error {
	if l == nil {
		return nil
	}
	srv := &http.Server{
		Handler:           handler,
		TLSConfig:         over,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(a.log.With("room", "web").Handler(), slog.LevelDebug), // handshakes of strangers
	}
	served := make(chan error, 1)
	go func() {
		if over != nil {
			served <- srv.ServeTLS(l, "", "")
			return
		}
		served <- srv.Serve(l)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("web pages: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		return srv.Close()
	}
	return nil
}

// webHandler makes the pages, and what ends their work in the background.
func (a *App) webHandler(devices deviceRoom) (http.Handler, func(), error) {
	pages, err := web.New(web.Config{
		Vault: tallied{a.Vault, a}, Identities: a, Links: a, PublicURL: a.Config.PublicURL.String(), Version: a.version, Node: a.node(),
		Pretending: a.pretending, Apply: a.ApplyAs, Devices: devices, Overview: newOverviewRoom(a), Alerts: alertRoom{a}, Settings: settingsRoom{a},
		Queue: a.Store, QueueActs: a.Operator(), Explain: a, Tasks: a.Store, TaskActs: taskRoom{a.FetchOperator(), a.Vault},
		Checks: checkRoom{a}, Readers: readerRoom{a}, People: a.People, Audits: a.Store.Audits, Ready: a.Store.Ping, Log: a.log.With("room", "web"),
	})
	if err != nil {
		return nil, nil, err
	}
	return pages, pages.Close, nil
}
