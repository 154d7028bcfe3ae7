// Package login is the simulated Microsoft Entra: metadata, keys, the sign-in
// pages a browser drives (with or without JavaScript), the token endpoint with
// its grants, device codes and admin consent, for any number of tenants.
//
// It follows Microsoft's parameters, error values, AADSTS numbers and texts. It
// does not hold users or issue access tokens itself (package world does), keeps
// no grant beyond its own life, and is no guide to how to keep secrets: it shows
// the second factor on the page.
//
// Two endpoints are not Microsoft's: /introspect and /tokeninfo stand in for what
// Exchange does inside, so that other mail servers (Dovecot's oauth2 passdb) can
// accept the simulator's tokens. See [Server.introspect].
package login

import (
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"postern/internal/sim365/world"
)

// Config is what a Server needs beside the world.
type Config struct {
	Authority      string        // where it is reached, "https://localhost:8443"
	DeviceInterval time.Duration // how often devices may poll; 0 means Microsoft's 5 s
	Log            *slog.Logger  // nil discards
}

// Server answers for login.microsoftonline.com. It is an http.Handler.
type Server struct {
	world  *world.World
	config Config
	pages  *template.Template
	routes *http.ServeMux

	mu       sync.Mutex
	flows    map[string]*flow            // interactive sign-ins under way
	sessions map[string]map[string]login // cookie → object id → how they signed in
	codes    map[string]*code
	refresh  map[string]*grant
	devices  map[string]*device // by device code
}

// New builds a Server.
func New(w *world.World, c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.DeviceInterval == 0 {
		c.DeviceInterval = 5 * time.Second
	}
	c.Authority = strings.TrimRight(c.Authority, "/")
	s := &Server{
		world: w, config: c, pages: parsePages(),
		flows:    map[string]*flow{},
		sessions: map[string]map[string]login{},
		codes:    map[string]*code{},
		refresh:  map[string]*grant{},
		devices:  map[string]*device{},
	}
	s.routes = s.mux()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	w.Header().Set("Date", s.world.Now().UTC().Format(http.TimeFormat)) // by the clock that tokens are dated with
	s.routes.ServeHTTP(w, r)
}

func (s *Server) mux() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.discovery)
	m.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.keys)
	m.HandleFunc("GET /{tenant}/oauth2/v2.0/authorize", s.authorize)
	m.HandleFunc("POST /{tenant}/oauth2/v2.0/authorize", s.authorize)
	m.HandleFunc("GET /{tenant}/oauth2/v2.0/logout", s.logout)
	m.HandleFunc("/{tenant}/oauth2/v2.0/token", s.token)
	m.HandleFunc("/{tenant}/oauth2/v2.0/devicecode", s.deviceCode)
	m.HandleFunc("GET /{tenant}/oauth2/deviceauth", s.devicePage)
	m.HandleFunc("POST /{tenant}/oauth2/deviceauth", s.devicePage)
	m.HandleFunc("GET /{tenant}/v2.0/adminconsent", s.adminConsent)
	m.HandleFunc("GET /{tenant}/adminconsent", s.adminConsent)
	m.HandleFunc("POST /{tenant}/signin/{step}", s.step)
	m.HandleFunc("GET /error", s.explain)
	m.HandleFunc("GET /introspect", s.introspect)
	m.HandleFunc("POST /introspect", s.introspect)
	m.HandleFunc("GET /tokeninfo", s.introspect)
	return m
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store, no-cache")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the peer is gone: nobody to tell
}
