package handover

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
	"postern/internal/webhook"
)

// headerDelivery names the delivery, beside the headers of every webhook.
const headerDelivery = "Postern-Delivery"

// Webhook describes a receiver of signed POST requests.
type Webhook struct {
	URL            string `json:"url" yaml:"url"`
	Format         Format `json:"format,omitempty" yaml:"format,omitempty"`                   // json by default
	LimitMB        int    `json:"limit_mb,omitempty" yaml:"limit_mb,omitempty"`               // of json: all files of a delivery; 25 by default
	TimeoutSeconds int    `json:"timeout_seconds,omitempty" yaml:"timeout_seconds,omitempty"` // for the whole request; 300 by default
	CA             string `json:"ca,omitempty" yaml:"ca,omitempty"`                           // PEM of the receiver's authority
	LinkLocal      bool   `json:"link_local,omitempty" yaml:"link_local,omitempty"`           // may be at an address where clouds keep their machines' credentials
}

// Format is how a delivery is put into a request.
type Format string

// The formats.
const (
	FormatJSON      Format = "json"      // one document, the files in it in base64
	FormatMultipart Format = "multipart" // multipart/form-data: the notice, then each file as it is
)

// hook is a target behind a URL.
type hook struct {
	spec   Webhook
	key    secret.Text
	safe   SafeName
	now    func() time.Time
	net    outbound.Network
	client *http.Client
}

const callWebhook = "call webhook"

func newWebhook(spec Webhook, with With) (Target, error) {
	u, err := url.Parse(spec.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, callWebhook, "the address is not usable").WithHint("write https://HOST/PATH, without name and password: requests are signed")
	}
	switch spec.Format {
	case "":
		spec.Format = FormatJSON
	case FormatJSON, FormatMultipart:
	default:
		return nil, fault.New(fault.Invalid, callWebhook, "%q is no format", spec.Format).WithHint("allowed: json, multipart")
	}
	if spec.LimitMB <= 0 {
		spec.LimitMB = 25
	}
	if !spec.LinkLocal {
		if err := webhook.CheckHost(u.Hostname()); err != nil { // a proxy would not ask us
			return nil, err
		}
	}
	way, err := with.Network.Transport(spec.CA)
	if err != nil {
		return nil, err
	}
	if !spec.LinkLocal {
		webhook.Guard(way)
	}
	client := &http.Client{Transport: way, CheckRedirect: stayThere}
	return &hook{spec: spec, key: with.Key, safe: with.Name, now: with.Now, net: with.Network, client: client}, nil
}

// stayThere follows redirects only to the same host, and only those that keep the
// request as it is: the signature says nothing of the address.
func stayThere(next *http.Request, before []*http.Request) error {
	first := before[0]
	if len(before) > 3 || next.Method != first.Method || next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// Deliver sends the delivery, once. The receiver tells a repeated one by its key.
func (w *hook) Deliver(ctx context.Context, d Delivery) (string, error) {
	b, err := w.body(d)
	if err != nil {
		return "", err
	}
	return w.send(ctx, d.ID, b)
}

// Check sends a signed notice with "test": true and no files.
func (w *hook) Check(ctx context.Context) error {
	id := "check-" + strconv.FormatInt(w.now().UnixNano(), 36)
	n := notice{Version: 1, Delivery: id, Test: true, Files: []noticeFile{}}
	_, err := w.send(ctx, id, body{format: w.spec.Format, notice: n})
	return err
}

// send signs in a first pass over the body and sends in a second, so that a large file
// is never in memory.
func (w *hook) send(ctx context.Context, id string, b body) (string, error) {
	if w.key.Empty() {
		return "", fault.New(fault.NeedsAdmin, callWebhook, "there is no key to sign with").
			WithHint("set a long random one, and give the same to the receiver")
	}
	ctx, cancel := context.WithTimeout(ctx, seconds(w.spec.TimeoutSeconds, 5*time.Minute))
	defer cancel()
	sign := webhook.NewSigner(w.key, w.now())
	size := new(counter)
	if err := b.writeTo(ctx, io.MultiWriter(sign, size)); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.spec.URL, nil)
	if err != nil {
		return "", fault.Wrap(fault.Invalid, callWebhook, err)
	}
	bodies := &streams{ctx: ctx, body: b}
	defer bodies.wait()
	req.GetBody = func() (io.ReadCloser, error) { return bodies.next(), nil }
	req.Body, req.ContentLength = bodies.next(), int64(*size)
	req.Header.Set("Content-Type", b.contentType())
	req.Header.Set("User-Agent", "Postern")
	req.Header.Set(headerDelivery, headerSafe(id))
	req.Header.Set(webhook.HeaderID, headerSafe(id))
	req.Header.Set(webhook.HeaderSignature, sign.Header())
	resp, err := w.client.Do(req)
	if err != nil {
		return "", w.lost(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return w.answer(resp)
}

// answer keeps the receiver's words, and says what its status asks for.
func (w *hook) answer(resp *http.Response) (string, error) {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4*maxWords)) // the status has decided already
	text := bounded(secret.Scrub(string(said), w.key))
	status := strconv.Itoa(resp.StatusCode)
	if resp.StatusCode/100 == 2 {
		return bounded(status + " " + text), nil
	}
	text = strings.Join(strings.Fields(text), " ")
	e := &fault.Error{Kind: fault.Temporary, Op: callWebhook, Reply: &fault.Reply{Protocol: "http", Stage: "POST", Code: status, Text: text}}
	switch code := resp.StatusCode; {
	case code/100 == 3:
		e.Kind = fault.NeedsAdmin
		return "", e.WithHint("it redirects elsewhere, or in a way that would drop the request: set url to the address it is to be")
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), w.now())
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound,
		code == http.StatusMethodNotAllowed, code == http.StatusGone, code == http.StatusProxyAuthRequired:
		e.Kind = fault.NeedsAdmin
		return "", e.WithHint("look at url and at the key: the receiver does not take requests there, or not with that signature")
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusConflict, code == http.StatusLocked:
	case code/100 == 4:
		e.Kind = fault.Permanent
		return "", e.WithHint("the receiver refuses this message; ask whoever keeps it, then process the message anew")
	}
	return "", e
}

// lost classifies a request without an answer. If it may have arrived, it says so.
func (w *hook) lost(err error) error {
	if refused := fault.As(err); refused != nil && refused.Kind != fault.Unknown {
		return refused
	}
	var request *url.Error
	if errors.As(err, &request) { // its words hold the address, and that may hold a token
		err = &url.Error{Op: request.Op, URL: secret.Address(request.URL), Err: request.Err}
	}
	classified := w.net.Unreachable(callWebhook, err)
	var failed *net.OpError
	if e := fault.As(classified); e != nil {
		e.Ambiguous = !errors.As(err, &failed) || failed.Op != "dial"
		if errors.Is(err, context.DeadlineExceeded) {
			return e.WithHint("the receiver did not answer in time: look there, or raise timeout_seconds; it must answer before it works long")
		}
	}
	return classified
}

// retryAfter reads the header, which is seconds or a date (RFC 9110 §10.2.3); at most a day.
func retryAfter(value string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 20); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), 24*time.Hour)
}

func (w *hook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// headerSafe is an id as a header may hold it: what is not plain becomes its digest.
func headerSafe(id string) string {
	if id != "" && len(id) <= 200 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@+=") == "" {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
