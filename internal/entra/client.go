package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"postern/internal/fault"
	"postern/internal/outbound"
)

// What bounds a conversation with a provider.
const (
	requestTimeout = 30 * time.Second
	maxBody        = 1 << 20
	maxRedirects   = 3
	metadataLife   = time.Hour
)

// Client talks to any number of clouds. It remembers their public metadata and
// keys for an hour, and nothing of anybody's. It is safe for concurrent use.
type Client struct {
	now     func() time.Time
	network outbound.Network

	mu       sync.Mutex
	clients  map[string]*http.Client // by CA bundle
	metadata map[place]metadata
}

// place is whose metadata it is, and whom to trust for it.
type place struct{ url, ca string }

// metadata is what discovery told (OpenID Connect Discovery 1.0 section 3).
type metadata struct {
	Issuer    string `json:"issuer"`
	Authorize string `json:"authorization_endpoint"`
	Token     string `json:"token_endpoint"`
	JWKS      string `json:"jwks_uri"`
	Device    string `json:"device_authorization_endpoint"` // RFC 8628 section 4; not everybody has one

	keys oidc.KeySet
	read time.Time
}

// New builds a Client. now is the clock that judges id tokens and expiry; network
// is the way its requests take.
func New(now func() time.Time, network outbound.Network) *Client {
	return &Client{now: now, network: network, clients: map[string]*http.Client{}, metadata: map[place]metadata{}}
}

// http returns the client that trusts a CA bundle.
func (c *Client) http(ca string) (*http.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hc, ok := c.clients[ca]; ok {
		return hc, nil
	}
	transport, err := c.network.Transport(ca)
	if err != nil {
		return nil, err
	}
	hc := &http.Client{Timeout: requestTimeout, CheckRedirect: sameHost, Transport: bounded{transport}}
	c.clients[ca] = hc
	return hc, nil
}

// sameHost keeps requests where they were sent: a form with a client secret in it
// must not follow a redirect to somebody else.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	if from := via[0].URL; req.URL.Scheme != from.Scheme || req.URL.Host != from.Host {
		return errors.New("refused a redirect to another host")
	}
	return nil
}

// bounded limits what is read of any answer, so that a peer cannot fill memory,
// whoever does the reading.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}

// answered makes an error of any answer but a 200, so that keys which cannot be
// had just now are told from a token that no key fits.
type answered struct{ next http.RoundTripper }

func (a answered) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the keys were answered with status %d", resp.StatusCode), resp.Body.Close())
	}
	return resp, nil
}

// discover returns a registration's endpoints, from memory when read within the hour.
func (c *Client) discover(ctx context.Context, r Registration) (metadata, *http.Client, error) {
	if err := r.Validate(); err != nil {
		return metadata{}, nil, err
	}
	address, err := r.metadataURL()
	if err != nil {
		return metadata{}, nil, err
	}
	hc, err := c.http(r.Cloud.CA)
	if err != nil {
		return metadata{}, nil, err
	}
	at := place{address, r.Cloud.CA}
	c.mu.Lock()
	m, ok := c.metadata[at]
	c.mu.Unlock()
	if ok && c.now().Sub(m.read) < metadataLife {
		return m, hc, nil
	}
	m, err = c.fetchMetadata(ctx, hc, address)
	if err != nil {
		return metadata{}, nil, err
	}
	c.mu.Lock()
	c.metadata[at] = m
	c.mu.Unlock()
	return m, hc, nil
}

func (c *Client) fetchMetadata(ctx context.Context, hc *http.Client, address string) (metadata, error) {
	const op, stage = "read the provider's metadata", "discovery"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return metadata{}, fault.Wrap(fault.Invalid, op, err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		return metadata{}, c.network.Unreachable(op, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	if resp.StatusCode != http.StatusOK {
		return metadata{}, refusal(op, stage, resp, c.now())
	}
	var m metadata
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		return metadata{}, fault.New(fault.Temporary, op, "the answer of %s is no JSON: is a proxy in between?", req.URL.Host)
	}
	endpoints := map[string]string{"authorization_endpoint": m.Authorize, "token_endpoint": m.Token, "jwks_uri": m.JWKS}
	if m.Device != "" {
		endpoints["device_authorization_endpoint"] = m.Device
	}
	for what, endpoint := range endpoints {
		if err := checkHTTPS(what, endpoint); err != nil {
			return metadata{}, fault.Wrap(fault.Temporary, op, err)
		}
	}
	if strings.TrimSpace(m.Issuer) == "" {
		return metadata{}, fault.New(fault.Temporary, op, "it names no issuer")
	}
	m.read = c.now()
	// The key set outlives this request and fetches again when it meets a new key.
	forKeys := *hc
	forKeys.Transport = answered{hc.Transport}
	m.keys = oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), &forKeys), m.JWKS)
	return m, nil
}
