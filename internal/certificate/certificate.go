// Package certificate keeps a certificate of an ACME authority (RFC 8555), Let's Encrypt
// for one, ready for the doors and the pages: one for all hostnames, because old machines
// do not say which one they mean. Several nodes on one database share it: one of them
// renews, all of them answer the authority's questions.
//
// Whatever fails, it hands a certificate out: the one it has, also past its end, or else
// the caller's own. It opens no listener.
package certificate

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Keep is what lasts, for all nodes. KeptSecret is empty when there is nothing; Setting
// is fault.NotFound then.
type Keep interface {
	KeptSecret(ctx context.Context, name string) (secret.Text, error)
	KeepSecret(ctx context.Context, name string, clear secret.Text) error
	Setting(ctx context.Context, key string) ([]byte, error)
	PutSetting(ctx context.Context, key string, value []byte) error
	TakeTurn(ctx context.Context, name, holder string, now, until time.Time) (bool, error)
}

// Get chooses a certificate, as [tls.Config] wants it.
type Get = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// Config builds an [Issuer]. Directory, Hosts, Keep and Fallback are required.
type Config struct {
	Directory string // the authority's
	Email     string // where it writes to; "" for nowhere
	Hosts     []string
	ByHTTP    bool // prove by http-01, at [Issuer.Challenges]; else by tls-alpn-01, where Get answers
	Keep      Keep
	Fallback  Get // while there is no certificate
	Client    *http.Client
	Holder    string // this process, unlike any other
	Now       func() time.Time
	Log       *slog.Logger
	Every     time.Duration // between two looks; 1 min
}

// Where things are kept.
const (
	keptAccount     = "acme/account"
	keptCertificate = "acme/certificate"
	setChallenges   = "acme.challenges"
	turn            = "acme.turn"
)

// Bounds of the issuer.
const (
	issueFor   = 5 * time.Minute
	keepFor    = 30 * time.Second
	retryLeast = time.Minute
	retryMost  = time.Hour
	failsMost  = 3 // tries in a row that fail before somebody is told, while there is a certificate
)

// Issuer has a certificate, and renews it.
type Issuer struct {
	cfg Config

	mu      sync.Mutex
	current *tls.Certificate
	kept    string // what current was read from
	fails   int
	why     error
	retryAt time.Time
}

// New builds an issuer; [Issuer.Run] makes it work.
func New(cfg Config) *Issuer {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Every <= 0 {
		cfg.Every = time.Minute
	}
	return &Issuer{cfg: cfg}
}

// Run looks and renews until ctx ends. It returns nil.
func (i *Issuer) Run(ctx context.Context) error {
	for {
		if err := i.RunOnce(ctx); err != nil && ctx.Err() == nil {
			i.cfg.Log.WarnContext(ctx, "no new certificate by ACME; the one there is serves on", "hosts", strings.Join(i.cfg.Hosts, ","), "error", err)
		}
		wait := time.NewTimer(i.next())
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
	}
}

// next is how long to wait for the next look: until a certificate that lives for seconds
// only, as those of tests do, is due too.
func (i *Issuer) next() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.current == nil || i.why != nil {
		return i.cfg.Every
	}
	leaf := i.current.Leaf
	left := leaf.NotAfter.Sub(i.cfg.Now()) - leaf.NotAfter.Sub(leaf.NotBefore)/3
	return min(max(left, time.Second), i.cfg.Every)
}

// RunOnce reads what another node may have renewed, and renews what is due.
func (i *Issuer) RunOnce(ctx context.Context) error {
	if err := i.Read(ctx); err != nil {
		return err
	}
	now := i.cfg.Now()
	if !i.due(now) {
		return nil
	}
	mine, err := i.cfg.Keep.TakeTurn(ctx, turn, i.cfg.Holder, now, now.Add(issueFor))
	if err != nil || !mine {
		return err
	}
	if err := i.Read(ctx); err == nil && i.due(now) { // nobody was faster
		err = i.renew(ctx)
		i.ended(err, now)
	} else if err != nil {
		return err
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
	defer cancel()
	_, err = i.cfg.Keep.TakeTurn(late, turn, i.cfg.Holder, now, now)
	return errors.Join(i.Trouble(), err)
}

// due reports whether it is time to renew: a third of the life is left, or less; or the
// hostnames are other ones; or there is none.
func (i *Issuer) due(now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now.Before(i.retryAt) {
		return false
	}
	c := i.current
	if c == nil || !slices.Equal(sorted(c.Leaf.DNSNames), sorted(i.cfg.Hosts)) {
		return true
	}
	return c.Leaf.NotAfter.Sub(now) <= c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/3
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

// ended notes how a try ended, and when the next one may be.
func (i *Issuer) ended(err error, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.why = err
	if err == nil {
		i.fails, i.retryAt = 0, time.Time{}
		return
	}
	i.fails++
	wait := min(retryLeast<<min(i.fails-1, 10), retryMost)
	if f := fault.As(err); f != nil {
		wait = max(wait, f.RetryAfter)
	}
	i.retryAt = now.Add(wait)
}

// Trouble is why the last try failed; nil when it did not.
func (i *Issuer) Trouble() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.why
}

// Told is Trouble that somebody must hear of: there is no certificate, or it could not
// be renewed several times.
func (i *Issuer) Told() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.why != nil && (i.fails >= failsMost || i.current == nil || i.cfg.Now().After(i.current.Leaf.NotAfter)) {
		return i.why
	}
	return nil
}

// Certificate is part of [tls.Config]: it answers the authority's questions, and
// everybody else with the certificate.
func (i *Issuer) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return i.answer(hello)
	}
	i.mu.Lock()
	current := i.current
	i.mu.Unlock()
	if current != nil {
		return current, nil
	}
	return i.cfg.Fallback(hello)
}

// Read takes over the certificate that is kept, if it is another one. Run does so too;
// before it, doors that open show the right one at once.
func (i *Issuer) Read(ctx context.Context) error {
	text, err := i.cfg.Keep.KeptSecret(ctx, keptCertificate)
	if err != nil || text.Empty() {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if text.Reveal() == i.kept {
		return nil
	}
	c, err := tls.X509KeyPair([]byte(text.Reveal()), []byte(text.Reveal()))
	if err != nil { // it is renewed
		i.cfg.Log.ErrorContext(ctx, "the certificate that is kept cannot be read", "error", err)
		return nil
	}
	if i.current, i.kept = &c, text.Reveal(); i.why != nil && !i.soon(&c) { // another node was luckier
		i.why, i.fails, i.retryAt = nil, 0, time.Time{}
	}
	return nil
}

func (i *Issuer) soon(c *tls.Certificate) bool {
	return c.Leaf.NotAfter.Sub(i.cfg.Now()) <= c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/3
}

// challenge is a question of the authority's that is open.
type challenge struct {
	Host   string `json:"host"`
	Token  string `json:"token"`
	Answer string `json:"answer"`
}

// challenges are the open ones, whichever node asked for the certificate.
func (i *Issuer) challenges(ctx context.Context) (all []challenge, err error) {
	text, err := i.cfg.Keep.Setting(ctx, setChallenges)
	if errors.Is(err, fault.NotFound) || err == nil && len(text) == 0 {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all, err
}

// Challenges answers http-01 (RFC 8555 section 8.3), and nothing else.
func (i *Issuer) Challenges() http.Handler {
	const at = "/.well-known/acme-challenge/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+at+"{token}", func(w http.ResponseWriter, r *http.Request) {
		all, err := i.challenges(r.Context())
		if err != nil {
			i.cfg.Log.WarnContext(r.Context(), "the authority's question was not answered", "error", err)
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		for _, c := range all {
			if c.Token == r.PathValue("token") {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = w.Write([]byte(c.Answer))
				return
			}
		}
		http.NotFound(w, r)
	})
	return mux
}

// answer makes the certificate of tls-alpn-01 (RFC 8737).
func (i *Issuer) answer(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(hello.Context(), keepFor)
	defer cancel()
	all, err := i.challenges(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if strings.EqualFold(c.Host, hello.ServerName) {
			client, err := i.client(ctx)
			if err != nil {
				return nil, err
			}
			made, err := client.TLSALPN01ChallengeCert(c.Token, c.Host)
			return &made, err
		}
	}
	return nil, fault.New(fault.NotFound, "answer the authority", "nobody asked for a certificate for %q", hello.ServerName)
}
