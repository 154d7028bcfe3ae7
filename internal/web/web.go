// Package web serves Postern's pages: the accounts and their sign-in, the OAuth
// callback, the people who may look and change, health. Pages are made on the server and work without
// JavaScript; nothing is loaded from elsewhere.
//
// It decides nothing and never calls Microsoft while rendering: a sick account
// must not take the page with it. Pages are behind a login and each asks for a role;
// the callback and one-time links need none, for a sign-in's state is single use and bound to
// the browser that began it.
package web

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"postern/internal/declare"
	"postern/internal/people"
	"postern/internal/vault"
)

//go:embed pages
var pages embed.FS

// CallbackPath is where Microsoft sends the browser back to; registered
// applications name it to the last slash.
const CallbackPath = "/register_microsoft_graph_api/"

// Vault is what the pages need of the vault.
type Vault interface {
	Apps(ctx context.Context) ([]vault.App, error)
	App(ctx context.Context, name string) (vault.App, error)
	Accounts(ctx context.Context) ([]vault.Account, error)
	Describe(ctx context.Context, account string) (vault.Description, error)
	Radar(ctx context.Context) ([]vault.Expiry, error)
	RedirectURI() string
	// Aside is a certificate that was made for an app and waits to be used; zero without.
	Aside(ctx context.Context, app string) (c vault.Shown, pem string, err error)
	SignIns
}

// Identities are the changes of accounts and app registrations that are no document's.
// Each is written down with who made it.
type Identities interface {
	// HoldAccount pauses an account, or lets it go on; RenameAccount renames it with all
	// that refers to it.
	HoldAccount(ctx context.Context, who, account string, held bool) error
	RenameAccount(ctx context.Context, who, account, to string) error
	Disconnect(ctx context.Context, who, account string) error
	DeleteAccount(ctx context.Context, who, account string) error
	DeleteApp(ctx context.Context, who, name string) error
	NewCertificate(ctx context.Context, who, app string, life time.Duration) (pem, thumbprint string, err error)
	UseCertificate(ctx context.Context, who, app string) error
	// LastFound is what the last connection checks of an account found; of all when it is "".
	LastFound(ctx context.Context, account string) ([]Checked, error)
}

// Checked is what the last connection check of an account for one purpose found.
type Checked struct {
	Account, Purpose string
	At               time.Time
	Good             bool
	Headline         string
}

// SignIns are the ways to begin a sign-in and to finish it.
type SignIns interface {
	LookAtLink(ctx context.Context, token string) (vault.Link, vault.Account, error)
	BeginSignIn(ctx context.Context, account, browser string) (authorizeURL string, err error)
	BeginConsent(ctx context.Context, account, browser string) (consentURL string, err error)
	// FinishSignIn names in its result whose sign-in it was also when it fails, as far
	// as that is known to be this browser's.
	FinishSignIn(ctx context.Context, values url.Values, browser string) (vault.Result, error)
	BeginDevice(ctx context.Context, account string) (vault.DeviceSignIn, error)
	AwaitDevice(ctx context.Context, d vault.DeviceSignIn) (vault.Result, error)
}

// Links are the one-time addresses under which somebody signs a mailbox in, or an
// administrator agrees. Who made one and who used it is written down, the address is not.
type Links interface {
	NewLink(ctx context.Context, who, account string, consent bool) (address string, err error)
	OpenLink(ctx context.Context, who, token string) (vault.Link, error)
}

// Config builds the handler. All fields are required.
type Config struct {
	Vault      Vault
	Identities Identities
	Links      Links
	PublicURL  string
	Version    string
	Node       string // of several: a mark of its own, a dot and its host; "" for the only one
	People     *people.Registry
	// Audits reads the audit log, the newest line first.
	Audits     func(ctx context.Context, f people.Lines) ([]people.Line, error)
	Ready      func(ctx context.Context) error
	Pretending func(ctx context.Context) (string, error) // whose mail goes to nobody, in words; "" when everybody's goes; nil: nobody pretends
	Overview   Overview
	Devices    Devices
	Alerts     Alerts
	Settings   Settings
	// Apply makes what a document says, and writes down who wanted it.
	Apply     func(ctx context.Context, who string, doc declare.Document) ([]declare.Change, error)
	Queue     Queue
	QueueActs QueueActs
	Explain   Explainer
	Tasks     Tasks
	TaskActs  TaskActs
	Checks    Checks
	Readers   Readers
	Log       *slog.Logger
}

// Server is the handler of all pages. [Server.Close] ends what it does on its own.
type Server struct {
	Config
	handler http.Handler
	views   *template.Template
	devices *devices
	bulks   *works[bulk]
	waits   *waits
	tries   *works[trial]
	checks  *works[checkRun]
	origin  *url.URL // of PublicURL
	key     [32]byte // proves that a finished page belongs to the browser that asks for it
	now     func() time.Time
}

// New builds the handler.
func New(cfg Config) (*Server, error) {
	s := &Server{Config: cfg, devices: newDevices(time.Now), waits: newWaits(time.Now), bulks: newWorks[bulk](cfg.Node, time.Now), tries: newWorks[trial](cfg.Node, time.Now), checks: newWorks[checkRun](cfg.Node, time.Now), now: time.Now}
	_, _ = rand.Read(s.key[:]) // never fails since Go 1.24
	var err error
	if s.views, err = template.New("").Funcs(s.words()).ParseFS(pages, "pages/*.html"); err != nil {
		return nil, fmt.Errorf("read the page templates: %w", err)
	}
	if s.origin, err = url.Parse(cfg.PublicURL); err != nil || s.origin.Host == "" {
		return nil, fmt.Errorf("public URL %q is no address", cfg.PublicURL)
	}
	same := http.NewCrossOriginProtection()
	same.AddInsecureBypassPattern("POST " + CallbackPath + "{$}")                          // the provider's page posts; it only leads to the GET
	if err := same.AddTrustedOrigin(s.origin.Scheme + "://" + s.origin.Host); err != nil { // a proxy may change Host
		return nil, fmt.Errorf("trust the public URL: %w", err)
	}
	s.handler = s.headers(same.Handler(s.routes()))
	return s, nil
}

// routes are all pages. What is not behind the guard is open to anybody.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, p := range s.openPlaces() {
		mux.Handle(p.pattern, p.do)
	}
	for _, p := range s.places() {
		mux.Handle(p.pattern, s.protect(p.least, p.do))
	}
	mux.HandleFunc("/", s.missing)
	return mux
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Close ends what is under way in the background, and waits for it.
func (s *Server) Close() {
	s.devices.close()
	s.bulks.close()
	s.tries.close()
	s.checks.close()
}

// headers are the same on every answer.
func (s *Server) headers(next http.Handler) http.Handler {
	// A form's answer may lead on to any provider, all of which speak HTTPS, or to
	// the public URL.
	policy := "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; " +
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

// health says ok as long as the process answers. Whoever reads on learns whether it
// only pretends to send.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintln(w, "ok")
	if whose, err := s.pretending(r.Context()); err == nil && whose != "" {
		_, _ = fmt.Fprintln(w, "simulate: on")
	}
}

func (s *Server) pretending(ctx context.Context) (string, error) {
	if s.Pretending == nil {
		return "", nil
	}
	return s.Pretending(ctx)
}

func (s *Server) readiness(w http.ResponseWriter, r *http.Request) {
	if err := s.Ready(r.Context()); err != nil {
		s.Log.WarnContext(r.Context(), "not ready", "error", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	s.health(w, r)
}

// asset serves a file that every page loads. Its address carries its digest (see
// [Server.words]), so a browser keeps it until there is another.
func (s *Server) asset(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
		http.ServeFileFS(w, r, pages, "pages/"+name)
	}
}

func (s *Server) missing(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusNotFound, "message.html", message{Title: "There is no such page", Next: "Go to " + s.PublicURL + "/."})
}
