package app

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"postern/internal/config"
)

// proxied gives requests that come through a proxy of ours the address they came to it
// from, for logs, limits and locks: the last of X-Forwarded-For that is not itself such
// a proxy. What a stranger writes there counts for nothing.
func proxied(trusted config.Networks, next http.Handler) http.Handler {
	if len(trusted) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && trusted.Contains(from.Addr()) {
			r = r.Clone(r.Context())
			r.RemoteAddr = net.JoinHostPort(origin(trusted, from.Addr(), r.Header.Values("X-Forwarded-For")).String(), "0")
		}
		next.ServeHTTP(w, r)
	})
}

// origin follows the addresses back from the nearest. Where one cannot be read, nothing
// beyond it is believed.
func origin(trusted config.Networks, peer netip.Addr, headers []string) netip.Addr {
	hops := strings.Split(strings.Join(headers, ","), ",")
	for i := len(hops) - 1; i >= 0 && trusted.Contains(peer); i-- {
		hop, err := hopAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		peer = hop.Unmap()
	}
	return peer
}

// hopAddr reads an address as proxies write it: some put the port behind, as Azure's
// Application Gateway does, and brackets around IPv6.
func hopAddr(text string) (netip.Addr, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr(), nil
	}
	return netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
}
