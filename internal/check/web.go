package check

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// Bounds of one HTTPS request.
const (
	webPatience = 20 * time.Second
	maxBody     = 64 << 10
)

// graphMetadata is what Graph tells everybody about itself.
const graphMetadata = "/v1.0/$metadata"

// signInMetadata is what a sign-in host tells everybody about itself. An authority may
// be that address itself (entra.Cloud.Authority).
func signInMetadata(cloud entra.Cloud, tenant string) string {
	authority := strings.TrimRight(cloud.Authority, "/")
	switch {
	case authority == "", strings.HasSuffix(authority, "openid-configuration"):
		return authority
	case tenant == "":
		tenant = "common"
	}
	return authority + "/" + url.PathEscape(tenant) + "/v2.0/.well-known/openid-configuration"
}

// webServer is where an https:// address leads; the zero Server for anything else.
func webServer(address string) mail.Server {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return mail.Server{}
	}
	return mail.Server{Host: u.Hostname(), Port: portOf(u), TLS: mail.Implicit}
}

func portOf(u *url.URL) int {
	if p, err := strconv.Atoi(u.Port()); err == nil {
		return p
	}
	switch {
	case strings.HasPrefix(u.Scheme, "socks5"):
		return 1080
	case u.Scheme == "http":
		return 80
	}
	return 443
}

// web is a request that leads up to a web host, and what came back.
type web struct {
	address string
	signIn  bool     // it is a sign-in host's metadata, and nothing else will do
	proxy   *url.URL // nil: directly
	answer  answer
	err     error
}

type answer struct {
	status int
	tls    *tls.ConnectionState
	skew   time.Duration // how far the host's clock is ahead of ours
	dated  bool          // it said what time it is
	body   []byte        // its first octets
}

// reachWeb leads up to a web host's answer, by the configured way.
func (c *checking) reachWeb(address string) []step {
	if err := c.aim(address); err != nil {
		return []step{{StageProxy, func(context.Context) Stage { return c.failure(err, "The way out is not usable as it is set.") }}}
	}
	if c.web.proxy == nil {
		return []step{{StageDNS, c.resolve}, {StageTCP, c.connect}, {StageTLS, c.encrypt}, {StageHTTPS, c.fetch}}
	}
	return []step{{StageDNS, c.resolve}, {StageTCP, c.connect}, {StageProxy, c.tunnel}, {StageTLS, c.tunnelled}, {StageHTTPS, c.judge}}
}

// aim finds out by which way an address is reached, and whom to trust there.
func (c *checking) aim(address string) error {
	c.web.address = address
	transport, err := c.Web.Transport(c.Cloud.CA)
	if err != nil {
		return err
	}
	c.RootCAs = transport.TLSClientConfig.RootCAs
	u, err := url.Parse(address)
	if err != nil {
		return fault.New(fault.Invalid, "check the address", "it is no web address")
	}
	if c.web.proxy, err = transport.Proxy(&http.Request{URL: u}); err != nil {
		return fault.New(fault.NeedsAdmin, "find the proxy", "its setting is not usable") // the cause may quote a password
	}
	if p := c.web.proxy; p != nil && p.User != nil {
		password, _ := p.User.Password()
		c.hide(secret.New(password))
	}
	return nil
}

// through names the proxy without its password.
func (c *checking) through() string { return c.web.proxy.Scheme + "://" + c.web.proxy.Host }

// peer is whom this machine itself connects to.
func (c *checking) peer() mail.Server {
	if c.web.proxy == nil {
		return c.Server
	}
	return mail.Server{Host: c.web.proxy.Hostname(), Port: portOf(c.web.proxy)}
}

// get asks for a public document, or with a token for one that is not. Redirects are
// answers like any other.
func (c *checking) get(ctx context.Context, address string, token secret.Text) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, webPatience)
	defer cancel()
	transport, err := c.Web.Transport(c.Cloud.CA)
	if err != nil {
		return answer{}, err
	}
	spare := make(chan net.Conn, 1) // the transport may dial later than it is waited for
	if c.dialled != nil {
		spare <- c.dialled
		c.dialled = nil
	}
	dial := c.Dial
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		select {
		case conn := <-spare:
			return conn, nil
		default:
			return dial(ctx, network, address)
		}
	}
	transport.DisableKeepAlives = true
	defer func() {
		transport.CloseIdleConnections()
		select {
		case conn := <-spare:
			_ = conn.Close()
		default:
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}, fault.New(fault.Invalid, "check the address", "it is no web address")
	}
	req.Header.Set("User-Agent", "Postern")
	if !token.Empty() {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	return c.send(transport, req)
}

func (c *checking) send(transport *http.Transport, req *http.Request) (answer, error) {
	asked := c.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // read as far as it is wanted
	a := answer{status: resp.StatusCode, tls: resp.TLS}
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		now := c.Now()
		between := asked.Add(now.Sub(asked) / 2)
		a.skew, a.dated = theirs.Add(time.Second/2).Sub(between), true // Date is cut to the second
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return a, err
}

// fetch asks the host directly, on a connection of its own.
func (c *checking) fetch(ctx context.Context) Stage {
	if c.web.answer, c.web.err = c.get(ctx, c.web.address, secret.Text{}); c.web.err != nil {
		return c.unanswered(c.web.err)
	}
	return c.judge(ctx)
}

func (c *checking) unanswered(err error) Stage {
	st := c.failure(err, c.Server.Host+" does not answer an HTTPS request.")
	if st.Next == "" {
		st.Next = fault.HintOf(c.unreachable(err))
	}
	return st
}

// unreachable has package outbound say where to look.
func (c *checking) unreachable(err error) error {
	return c.Web.Unreachable("ask "+c.Server.Host, &url.Error{Op: "Get", URL: c.web.address, Err: err})
}

// tunnel asks the host through the proxy; what the proxy itself has against it is told here.
func (c *checking) tunnel(ctx context.Context) Stage {
	c.web.answer, c.web.err = c.get(ctx, c.web.address, secret.Text{})
	if err := c.web.err; err != nil && atProxy(err) {
		st := c.failure(err, fmt.Sprintf("The proxy %s does not let this machine through to %s.", c.through(), c.Server.Address()))
		st.Next = fault.HintOf(c.unreachable(err))
		return st
	}
	return Stage{Status: OK, Summary: fmt.Sprintf("The proxy %s lets this machine through.", c.through())}
}

// atProxy reports whether a request ended at the proxy and not behind it: net/http
// names the operation so, and package outbound classifies what a proxy answers.
func atProxy(err error) bool {
	at, ok := errors.AsType[*net.OpError](err)
	return fault.As(err) != nil || ok && (at.Op == "proxyconnect" || strings.HasPrefix(at.Op, "socks"))
}

// tunnelled looks at the TLS behind the proxy.
func (c *checking) tunnelled(context.Context) Stage {
	if err := c.web.err; err != nil {
		return c.unencrypted(err)
	}
	return c.describe(*c.web.answer.tls)
}

// judge looks at what the host answered.
func (c *checking) judge(context.Context) Stage {
	a := c.web.answer
	st := Stage{Status: OK, Summary: fmt.Sprintf("%s answers HTTPS requests (status %d).", c.Server.Host, a.status)}
	switch {
	case c.web.signIn && !a.isMetadata():
		st.Status, st.Summary = Fail, fmt.Sprintf("%s answers (status %d), but not as a sign-in host does.", c.Server.Host, a.status)
		st.Next = "Check authority and tenant, and that no proxy or portal answers in its place."
	case a.status >= http.StatusInternalServerError:
		st.Status, st.Summary = Warn, fmt.Sprintf("%s answers, and is in trouble itself (status %d).", c.Server.Host, a.status)
		st.Next = "Try again later."
	}
	return st
}

// isMetadata reports whether the answer is a provider's (OpenID Connect Discovery section 3).
func (a answer) isMetadata() bool {
	var m struct {
		Token string `json:"token_endpoint"`
	}
	return a.status == http.StatusOK && json.Unmarshal(a.body, &m) == nil && m.Token != ""
}
