// Package web serves Postern's pages: the accounts and their sign-in, the OAuth
// callback, health and metrics. Pages are made on the server and work without
// JavaScript; nothing is loaded from elsewhere.
//
// It decides nothing and never calls Microsoft while rendering: a sick account
// must not take the page with it. Accounts are behind one password; the callback
// and one-time links need none, for a sign-in's state is single use and bound to
// the browser that began it.
package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"postern/internal/secret"
	"postern/internal/vault"
)

//go:embed pages
var pages embed.FS

// CallbackPath is where Microsoft sends the browser back to; registered
// applications name it to the last slash.
const CallbackPath = "/register_microsoft_graph_api/"

// Vault is what the pages need of the vault.
type Vault interface {
	Accounts(ctx context.Context) ([]vault.Account, error)
	Describe(ctx context.Context, account string) (vault.Description, error)
	RedirectURI() string
	NewLink(ctx context.Context, account string) (address string, err error)
	LookAtLink(ctx context.Context, token string) (vault.Link, vault.Account, error)
	OpenLink(ctx context.Context, token string) (vault.Link, error)
	BeginSignIn(ctx context.Context, account, browser string) (authorizeURL string, err error)
	FinishSignIn(ctx context.Context, values url.Values, browser string) (vault.Result, error)
}

// Config builds the handler. All fields but Metrics are required.
type Config struct {
	Vault        Vault
	PublicURL    string
	Version      string
	Authenticate func(ctx context.Context, user string, password secret.Text) bool
	Ready        func(ctx context.Context) error
	Metrics      http.Handler // behind the same password
	Log          *slog.Logger
}

type server struct {
	Config
	views  *template.Template
	guard  *guard
	origin *url.URL // of PublicURL
	key    [32]byte // proves that a finished page belongs to the browser that asks for it
}

// New builds the handler.
func New(cfg Config) (http.Handler, error) {
	views, err := template.New("").Funcs(template.FuncMap{"when": when, "steps": nextStep}).ParseFS(pages, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the page templates: %w", err)
	}
	origin, err := url.Parse(cfg.PublicURL)
	if err != nil || origin.Host == "" {
		return nil, fmt.Errorf("public URL %q is no address", cfg.PublicURL)
	}
	s := &server{Config: cfg, views: views, origin: origin, guard: newGuard(cfg.Authenticate, time.Now)}
	_, _ = rand.Read(s.key[:]) // never fails since Go 1.24
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.readiness)
	mux.HandleFunc("GET /signin/{token}", s.showLink)
	mux.HandleFunc("POST /signin/{token}", s.takeLink)
	mux.HandleFunc("GET "+CallbackPath+"{$}", s.callback)
	mux.HandleFunc("POST "+CallbackPath+"{$}", s.posted)
	mux.HandleFunc("GET /postern.css", s.style)
	mux.Handle("GET /{$}", s.guard.protect(s.accounts))
	mux.Handle("POST /accounts/{name}/signin", s.guard.protect(s.begin))
	if cfg.Metrics != nil {
		mux.Handle("GET /metrics", s.guard.protect(cfg.Metrics.ServeHTTP))
	}
	mux.HandleFunc("/", s.missing)
	same := http.NewCrossOriginProtection()
	same.AddInsecureBypassPattern("POST " + CallbackPath + "{$}")                      // the provider's page posts; it only leads to the GET
	if err := same.AddTrustedOrigin(origin.Scheme + "://" + origin.Host); err != nil { // a proxy may change Host
		return nil, fmt.Errorf("trust the public URL: %w", err)
	}
	return s.headers(same.Handler(mux)), nil
}

// headers are the same on every answer.
func (s *server) headers(next http.Handler) http.Handler {
	// A form's answer may lead on to any provider, all of which speak HTTPS, or to
	// the public URL.
	policy := "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; " +
		"form-action 'self' https: " + s.origin.Scheme + "://" + s.origin.Host
	next = http.MaxBytesHandler(next, 1<<20)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		// Addresses here carry codes and one-time tokens. Not no-referrer: with that,
		// browsers send our own forms with “Origin: null”, which reads as cross-site.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") }

func (s *server) readiness(w http.ResponseWriter, r *http.Request) {
	if err := s.Ready(r.Context()); err != nil {
		s.Log.WarnContext(r.Context(), "not ready", "error", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	s.health(w, r)
}

func (s *server) style(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=300")
	http.ServeFileFS(w, r, pages, "pages/postern.css")
}

func (s *server) missing(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusNotFound, "message.html", message{Title: "There is no such page", Next: "Go to the accounts page at " + s.PublicURL + "/."})
}

// show renders a page whole before the first octet leaves, so that a template
// that fails cannot leave half a page.
func (s *server) show(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.views.ExecuteTemplate(&b, name, data); err != nil {
		s.Log.ErrorContext(r.Context(), "a page could not be made", "page", name, "error", err)
		http.Error(w, "the page could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2 January 2006, 15:04 UTC")
}
