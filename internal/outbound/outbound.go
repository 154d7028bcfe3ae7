// Package outbound says how web requests leave this machine: through which proxy,
// past it to whom, and which certificate authorities are believed. It makes no
// request itself, and mail servers are not its business.
package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Network is the way out.
type Network struct {
	// Proxy is http://, https:// or socks5:// with host, port and, where it wants
	// them, name and password; "" leaves it to HTTPS_PROXY and NO_PROXY.
	Proxy secret.Text
	// Direct lists who is reached past the proxy, as NO_PROXY does: hosts, domains
	// (".contoso.com"), addresses and networks, comma separated. This machine always is.
	Direct string
	// CA is a PEM bundle believed beside the system's.
	CA string
}

// Roots returns the system's authorities and those of the PEM bundles; nil, which
// crypto/tls takes for the system's alone, when the bundles are empty.
func Roots(bundles ...string) (*x509.CertPool, error) {
	var pool *x509.CertPool
	for _, pem := range bundles {
		if pem == "" {
			continue
		}
		if pool == nil {
			var err error
			if pool, err = x509.SystemCertPool(); err != nil {
				pool = x509.NewCertPool()
			}
		}
		if !pool.AppendCertsFromPEM([]byte(pem)) {
			return nil, fault.New(fault.NeedsAdmin, "read the CA bundle", "it holds no certificate in PEM").
				WithHint("give a file with certificates between BEGIN CERTIFICATE and END CERTIFICATE")
		}
	}
	return pool, nil
}

// Transport makes requests by this way. ca is one more PEM bundle, "" for none.
func (n Network) Transport(ca string) (*http.Transport, error) {
	pool, err := Roots(n.CA, ca)
	if err != nil {
		return nil, err
	}
	settings, name := n.settings()
	scheme, err := checkProxy(settings.HTTPSProxy, name)
	if err != nil {
		return nil, err
	}
	proxy := settings.ProxyFunc()
	return &http.Transport{
		Proxy:           func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		// net/http would offer HTTP/2 to a TLS proxy too, and then not speak it.
		ForceAttemptHTTP2:      scheme != "https",
		OnProxyConnectResponse: n.connected,
		TLSHandshakeTimeout:    10 * time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4,
	}, nil
}

// settings are the proxy and whom it is not for, and the name of where that is set.
func (n Network) settings() (settings *httpproxy.Config, name string) {
	if !n.Proxy.Empty() {
		return &httpproxy.Config{HTTPProxy: n.Proxy.Reveal(), HTTPSProxy: n.Proxy.Reveal(), NoProxy: n.Direct}, "the setting proxy"
	}
	settings = httpproxy.FromEnvironment()
	settings.NoProxy += "," + n.Direct
	return settings, "HTTPS_PROXY"
}

// checkProxy refuses an address that httpproxy would pass over in silence, sending
// past the proxy what was to go through it. The address may hold a password: it is
// never quoted.
func checkProxy(address, name string) (scheme string, err error) {
	if address == "" {
		return "", nil
	}
	if !strings.Contains(address, "://") { // HTTPS_PROXY may be written so
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return "", fault.New(fault.NeedsAdmin, "find the proxy", "%s is not usable", name).
			WithHint("write it as http://, https:// or socks5://[name:password@]host:port")
	}
	return u.Scheme, nil
}
