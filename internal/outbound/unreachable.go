package outbound

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"postern/internal/fault"
)

// Unreachable classifies a request that got no answer, and says where to look: at
// the proxy when it is the one that failed, and at it too when it is on the way.
func (n Network) Unreachable(op string, err error) error {
	e := &fault.Error{Kind: fault.Temporary, Op: op, Err: err}
	if errors.Is(err, context.Canceled) || fault.HintOf(err) != "" {
		return e
	}
	var request *url.Error
	target, proxy := "the host", ""
	if errors.As(err, &request) {
		if u, perr := url.Parse(request.URL); perr == nil && u.Host != "" {
			target, proxy = u.Host, n.proxyFor(u)
		}
	}
	var failed *net.OpError
	switch at := errors.As(err, &failed); {
	case proxy == "":
		return e.WithHint("this machine must reach %s over HTTPS: look at DNS, firewall, proxy and CA", target)
	case at && failed.Op == "proxyconnect":
		return e.WithHint("%s does not answer as one: does it run, is that its address, and is its certificate known (ca_file)?", proxy)
	case at && strings.Contains(failed.Op, "socks"):
		return e.WithHint("%s refused: look at its name and password, and whether it may reach %s", proxy, target)
	}
	return e.WithHint("this machine must reach %s over HTTPS: look at %s, which is on the way, at firewall and CA", target, proxy)
}

// proxyFor names the proxy that is used for an address and where it is set, without
// its password; "" when there is none.
func (n Network) proxyFor(target *url.URL) string {
	settings, name := n.settings()
	proxy, err := settings.ProxyFunc()(target)
	if err != nil || proxy == nil {
		return ""
	}
	return named(proxy, name)
}

func named(proxy *url.URL, setting string) string {
	return "the proxy " + proxy.Scheme + "://" + proxy.Host + " (" + setting + ")"
}

// connected hears what a proxy says to CONNECT (http.Transport.OnProxyConnectResponse).
func (n Network) connected(_ context.Context, proxy *url.URL, req *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	_, name := n.settings()
	who := named(proxy, name)
	e := fault.New(fault.Temporary, "connect through the proxy", "it answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch {
	case resp.StatusCode != http.StatusProxyAuthRequired:
		return e.WithHint("ask whoever keeps %s to let this machine reach %s", who, req.Host)
	case proxy.User == nil:
		return e.WithHint("%s wants a name and a password: write it as %s://name:password@%s", who, proxy.Scheme, proxy.Host)
	}
	return e.WithHint("%s does not take its name or password: correct them", who)
}
