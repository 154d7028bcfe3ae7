package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync/atomic"

	"postern/internal/fault"
	"postern/internal/secret"
)

// call is one request.
type call struct {
	stage  string // what it is for, as replies and errors name it
	method string
	url    string
	kind   string           // Content-Type
	size   int64            // octets of body
	body   func() io.Reader // from its beginning each time; nil: none
	pieces string           // Content-Range
	want   []int            // the statuses that mean success
	into   any              // what the answer's JSON is read into; nil: nothing
	acts   bool             // when the answer is lost, something may have been done
}

// inJSON puts v into the request.
func (k call) inJSON(v any) (call, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return k, fault.Wrap(fault.Permanent, k.op(), err)
	}
	k.kind, k.size, k.body = "application/json", int64(len(b)), func() io.Reader { return bytes.NewReader(b) }
	return k, nil
}

func (k call) op() string { return "graph " + k.stage }

// do makes a call as the mailbox. A refused token is replaced once, on the spot: it may
// have been revoked while it was cached, and a request that was not let in did nothing.
func (m *Mailbox) do(ctx context.Context, k call) (fault.Reply, error) {
	var reply fault.Reply
	for _, fresh := range []bool{false, true} {
		token, err := m.token(ctx, fresh)
		if err != nil {
			return reply, err
		}
		if reply, err = m.once(ctx, k, token); !errors.Is(err, fault.NeedsSignIn) || fresh {
			return reply, err
		}
	}
	return reply, nil
}

// once makes a call. An empty token sends none.
func (c *Client) once(ctx context.Context, k call, token secret.Text) (fault.Reply, error) {
	select {
	case c.gate <- struct{}{}:
		defer func() { <-c.gate }()
	case <-ctx.Done():
		return fault.Reply{}, fault.Wrap(fault.Temporary, k.op(), ctx.Err())
	}
	var sent progress
	req, err := k.request(ctx, &sent)
	if err != nil {
		return fault.Reply{}, fault.Wrap(fault.Permanent, k.op(), err)
	}
	if !token.Empty() {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	resp, err := c.web.Do(req)
	if err != nil {
		return fault.Reply{}, c.lost(k, &sent, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if !slices.Contains(k.want, resp.StatusCode) {
		return fault.Reply{}, refusal(k, resp, b)
	}
	if k.into != nil {
		if err == nil {
			err = json.Unmarshal(b, k.into)
		}
		if err != nil {
			return fault.Reply{}, &fault.Error{Kind: fault.Temporary, Op: k.op(), Err: err, Ambiguous: k.acts}
		}
	}
	return k.told(resp, ""), nil
}

// request builds the HTTP request and lets sent see how far it gets.
func (k call) request(ctx context.Context, sent *progress) (*http.Request, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, k.method, k.url, nil)
	if err != nil {
		return nil, err
	}
	if k.body != nil {
		sent.hasBody = k.size > 0
		req.ContentLength = k.size
		req.GetBody = func() (io.ReadCloser, error) { return sent.body(k.body(), k.size), nil }
		req.Body = sent.body(k.body(), k.size)
		req.Header.Set("Content-Type", k.kind)
	}
	if k.pieces != "" {
		req.Header.Set("Content-Range", k.pieces)
	}
	return req, nil
}

// progress knows whether a request may have reached the server whole. It errs on the
// side of yes.
type progress struct {
	hasBody   bool
	connected atomic.Bool
	drained   atomic.Bool
}

func (p *progress) whole() bool { return p.connected.Load() && (!p.hasBody || p.drained.Load()) }

func (p *progress) body(r io.Reader, size int64) io.ReadCloser {
	return io.NopCloser(&counted{r: r, left: size, p: p})
}

// counted tells when the last octet was handed out.
type counted struct {
	r    io.Reader
	left int64
	p    *progress
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.left -= int64(n); c.left <= 0 {
		c.p.drained.Store(true)
	}
	return n, err
}

// lost classifies a request that got no answer. The address is shown without its
// query: that of an upload is a key to it.
func (c *Client) lost(k call, sent *progress, err error) error {
	if request, ok := errors.AsType[*url.Error](err); ok {
		if u, perr := url.Parse(request.URL); perr == nil {
			u.RawQuery, u.User = "", nil
			request.URL = u.String()
		}
	}
	err = c.cfg.Network.Unreachable(k.op(), err)
	if f := fault.As(err); f != nil && k.acts && sent.whole() {
		f.Ambiguous = true
	}
	return err
}
