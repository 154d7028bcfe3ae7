package app

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"postern/internal/alert"
	"postern/internal/certificate"
	"postern/internal/fault"
	"postern/internal/store"
	"postern/internal/vault"
)

// acmeKeep is where certificates lie: what is secret in the vault, the rest in the
// database beside it, for all nodes.
type acmeKeep struct {
	*vault.Vault
	*store.Store
}

// newIssuer builds what gets certificates over ACME; own serves until there is one.
func (a *App) newIssuer(own certificateFor) (*certificate.Issuer, error) {
	network, err := a.network()
	if err != nil {
		return nil, err
	}
	by, err := network.Transport("")
	if err != nil {
		return nil, err
	}
	return certificate.New(certificate.Config{
		Directory: a.Config.AcmeDirectory, Email: a.Config.AcmeEmail, Hosts: a.Config.AcmeHosts, ByHTTP: !a.Config.AcmeListen.Off(),
		Keep: acmeKeep{a.Vault, a.Store}, Fallback: own, Holder: a.holder, Now: a.Store.Now, Log: a.log.With("room", "acme"),
		Client: &http.Client{Transport: by, Timeout: time.Minute},
	}), nil
}

// acmeTrouble looks whether the authority refuses a certificate.
func (a *App) acmeTrouble(context.Context) ([]alert.Condition, error) {
	issuer := a.issuer.Load()
	if issuer == nil {
		return nil, nil
	}
	c := alert.Condition{Key: "acme/" + a.hostname()}
	if why := issuer.Told(); why != nil {
		c.State = "failing"
		c.News = alert.News{Event: alert.Certificate, Why: why.Error(), Next: fault.HintOf(why),
			What: "there is no new certificate by ACME for " + strings.Join(a.Config.AcmeHosts, ", ") + "; the one there is serves on"}
	}
	return []alert.Condition{c}, nil
}

// openWeb opens the listeners of the pages, and that of the authority's questions.
func (a *App) openWeb(ctx context.Context) (w webListeners, err error) {
	for _, l := range []struct {
		key, address string
		at           *net.Listener
	}{
		{"web_listen", a.Config.WebListen.String(), &w.plain},
		{"https_listen", a.Config.HTTPSListen.String(), &w.tls},
		{"acme_listen", a.Config.AcmeListen.String(), &w.acme},
	} {
		if *l.at, err = listen(ctx, net.ListenConfig{}, l.key, l.address); err != nil {
			return w, errors.Join(err, w.close())
		}
	}
	return w, nil
}

// webListeners are those of HTTP; nil where it does not listen.
type webListeners struct{ plain, tls, acme net.Listener }

func (w webListeners) close() error {
	return errors.Join(closeListener(w.plain), closeListener(w.tls), closeListener(w.acme))
}

// webTLS shows what the doors show.
func (a *App) webTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1", "acme-tls/1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return (*a.shows.Load())(hello) }}
}
