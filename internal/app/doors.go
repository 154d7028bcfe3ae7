package app

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"postern/internal/certificate"
	"postern/internal/door"
)

// Addresses are where the server listens; "" where it does not.
type Addresses struct {
	Web, HTTPS, SMTP, SMTPS, Listed, Legacy string
	IMAP, IMAPS, POP3, POP3S                string
}

// openDoor is an SMTP door with its listener.
type openDoor struct {
	*door.SMTP
	key      string
	listener net.Listener
}

// readAgain is how soon a door sees that a device or an account was changed.
const readAgain = time.Second

// openDoors opens every SMTP door that is configured, or none.
func (a *App) openDoors(ctx context.Context, logins *door.Logins) (doors []openDoor, err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				err = errors.Join(err, d.listener.Close())
			}
			doors = nil
		}
	}()
	certificate := *a.shows.Load()
	rates := door.NewRates()
	modern := &tls.Config{GetCertificate: certificate, MinVersion: tls.VersionTLS12}
	for _, want := range []struct {
		key, address string
		cfg          door.SMTPConfig
	}{
		{"smtp_listen", a.Config.SMTPListen.String(), door.SMTPConfig{TLS: modern}},
		{"smtps_listen", a.Config.SMTPSListen.String(), door.SMTPConfig{TLS: modern, Implicit: true}},
		{"listed_listen", a.Config.ListedListen.String(), door.SMTPConfig{TLS: modern, Listed: true}},
		{"legacy_listen", a.Config.LegacyListen.String(), door.SMTPConfig{TLS: legacyTLS(certificate)}},
	} {
		// A device connects for each message and is never waited for long: probes of the
		// system, four calls to set up, would find nothing that our deadlines do not.
		l, err := listen(ctx, net.ListenConfig{KeepAlive: -1}, want.key, want.address)
		if err != nil {
			return doors, err
		}
		if l == nil {
			continue
		}
		want.cfg.Logins, want.cfg.Relay, want.cfg.Account, want.cfg.Seen, want.cfg.TurnedAway, want.cfg.Keep = logins, a.Relay, a.accountOf, a.seen, a.turnAway, readAgain
		want.cfg.Rates = rates
		want.cfg.Hostname, want.cfg.MaxSize, want.cfg.Log = a.hostname(), int64(a.Config.MaxMessage), a.log.With("room", "smtp_door", "listener", want.key)
		d, err := door.NewSMTP(want.cfg)
		if err != nil {
			return doors, errors.Join(err, l.Close())
		}
		doors = append(doors, openDoor{d, want.key, l})
	}
	return doors, nil
}

// legacyTLS speaks what machines of twenty years ago speak. It is on a listener of
// its own, so that nobody else's connection can be talked down to it.
func legacyTLS(certificate certificateFor) *tls.Config {
	var all []uint16
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, s := range list {
			all = append(all, s.ID)
		}
	}
	return &tls.Config{GetCertificate: certificate, MinVersion: tls.VersionTLS10, CipherSuites: all} //nolint:gosec // that is what it is for
}

// seen counts logins by device and TLS version, and says who still needs an old one.
func (a *App) seen(device string, version uint16) {
	a.counters.logins.WithLabelValues(device, tls.VersionName(version)).Inc()
	if version < tls.VersionTLS12 {
		a.legacy.add(device, tls.VersionName(version))
		a.log.Warn("a device still needs the legacy listener", "device", device, "tls", tls.VersionName(version))
	}
}

// turnAway counts what a door refused for good.
func (a *App) turnAway() { a.turned.Add(1) }

func (a *App) addresses(w webListeners, doors []openDoor, bridges []bridgeDoor) Addresses {
	all := Addresses{Web: address(w.plain), HTTPS: address(w.tls)}
	for _, d := range doors {
		switch at := address(d.listener); d.key {
		case "smtp_listen":
			all.SMTP = at
		case "smtps_listen":
			all.SMTPS = at
		case "listed_listen":
			all.Listed = at
		case "legacy_listen":
			all.Legacy = at
		}
	}
	for _, d := range bridges {
		switch at := address(d.listener); d.key {
		case "imap_listen":
			all.IMAP = at
		case "imaps_listen":
			all.IMAPS = at
		case "pop3_listen":
			all.POP3 = at
		case "pop3s_listen":
			all.POP3S = at
		}
	}
	return all
}

// certificateFor chooses what a door shows.
type certificateFor = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// certificate is what the doors show.
func (a *App) certificate() (certificateFor, error) {
	get, err := a.ownCertificate()
	if err == nil && len(a.Config.AcmeHosts) > 0 {
		var issuer *certificate.Issuer
		if issuer, err = a.newIssuer(get); err == nil {
			a.issuer.Store(issuer)
			get = issuer.Certificate
		}
	}
	if err == nil {
		a.shows.Store(&get)
	}
	return get, err
}

// ownCertificate is the operator's, followed when its files are replaced, or one of our own.
func (a *App) ownCertificate() (certificateFor, error) {
	if a.Config.TLSCert != "" {
		return door.Reloaded(a.Config.TLSCert, a.Config.TLSKey, func(err error) {
			a.log.Error("the renewed certificate cannot be used; the last good one stays", "error", err)
		})
	}
	own, err := door.SelfSigned(a.Config.DataDir, []string{a.hostname(), "localhost"})
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &own, nil }, err
}
