// Package api is the way in for programs that do not speak SMTP: the HTTP API, and
// what the send and sendmail commands share with it. It composes messages out of
// fields, holds programs to what their device may do, and hands over to the relay.
//
// It keeps nothing and decides nothing about the queue: the relay's Operator does, as
// it does for pages and commands. It sets no cookie and allows no other origin.
package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/sync/semaphore"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
)

// Prefix is where the API lives, MetricsPath where Prometheus asks.
const (
	Prefix      = "/api/"
	MetricsPath = "/metrics"
)

const base = Prefix + "v1"

// Config builds the handler. All fields are required.
type Config struct {
	Intake     Intake
	Tokens     door.Tokens
	Queue      Queue
	Operator   relay.Operator
	Explain    func(ctx context.Context, msgs []relay.Message) error // says why waiting messages wait
	Identities Identities                                            // accounts and devices
	Tasks      Tasks
	Fetch      fetch.Operator
	// TestAlert really sends one alert, by a saved route or by values that are not saved.
	TestAlert func(ctx context.Context, saved string, values alert.Route, signWith secret.Text) (check.Report, error)
	Audits    func(ctx context.Context, f people.Lines) ([]people.Line, error)
	People    func(ctx context.Context) ([]people.User, error)
	Metrics   http.Handler // at MetricsPath
	Version   string
	Now       func() time.Time
	Log       *slog.Logger
}

// Queue is what the API reads of the store. Missing is fault.NotFound.
type Queue interface {
	Body(ctx context.Context, id string) (io.ReadCloser, error)
	Message(ctx context.Context, id string) (relay.Message, error)
	Messages(ctx context.Context, f relay.Filter) ([]relay.Message, error)
	// Search is Messages for about as long as its patience lasts; next is where to go on.
	Search(ctx context.Context, f relay.Filter, patience time.Duration) (found []relay.Message, next string, err error)
	// HandedIn is the message that came under a key, and the digest of what was handed in.
	HandedIn(ctx context.Context, owner, key string, now time.Time) (message string, sum []byte, err error)
}

type server struct {
	Config
	guesses *guesses
	memory  *semaphore.Weighted // octets of JSON letters that are held at once
}

// New builds the handler of everything under [Prefix], and of [MetricsPath].
func New(cfg Config) http.Handler {
	s := &server{Config: cfg, memory: semaphore.NewWeighted(lettersAtOnce),
		guesses: &guesses{now: cfg.Now, by: map[guesser]tally{}}}
	mux := http.NewServeMux()
	s.routes(humago.New(mux, s.humaConfig()))
	mux.HandleFunc(Prefix, s.missing)
	mux.HandleFunc("GET "+MetricsPath, s.metrics)
	return headers(patient(mux))
}

func (s *server) humaConfig() huma.Config {
	c := huma.DefaultConfig("Postern", s.Version)
	c.Info.Description = "Send mail through a Microsoft 365 account, look after the queue, accounts and devices, and after what is fetched. Make a token with: postern tokens create NAME"
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = base+"/openapi", "", ""
	c.CreateHooks = nil // no links to schemas in answers
	c.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	c.NoFormatFallback = false
	c.RejectUnknownQueryParameters = true // a filter that is misspelt must not match everything
	c.Transformers = append(c.Transformers, asProblem)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "A token of postern tokens create."}}
	return c
}

func (s *server) routes(a huma.API) {
	huma.Register(a, s.sendOperation(a), s.send)
	a.OpenAPI().Paths[base+"/messages"].Post.RequestBody = sendBody(a)
	huma.Register(a, s.operation(a, http.MethodGet, "/messages", "list-messages", "List messages, the oldest first", door.MayReadQueue), s.list)
	huma.Register(a, s.operation(a, http.MethodGet, "/messages/{id}", "show-message", "Show a message and what became of it", door.MayReadQueue), s.show)
	body := s.operation(a, http.MethodGet, "/messages/{id}/body", "download-message", "Download a message that is kept: waiting or failed", door.MayReadQueue)
	body.Responses["200"] = &huma.Response{Description: "The message", Content: map[string]*huma.MediaType{rfc822: {Schema: &huma.Schema{Type: "string"}}}}
	huma.Register(a, body, s.body)
	for act, does := range map[relay.Action]string{
		relay.Retry:   "Try a message again now",
		relay.Hold:    "Keep a waiting message back",
		relay.Release: "Let a held message go",
	} {
		op := s.operation(a, http.MethodPost, "/messages/{id}/"+string(act), string(act)+"-message", does, door.MayWriteQueue)
		huma.Register(a, op, s.act(act))
	}
	for act, does := range map[relay.Action]string{
		relay.Retry:   "Try the chosen messages again now",
		relay.Hold:    "Keep the chosen messages back",
		relay.Release: "Let the chosen messages go",
		relay.Delete:  "Delete the chosen messages for good",
	} {
		op := s.operation(a, http.MethodPost, "/messages/"+string(act), string(act)+"-messages", does+", a page of them", door.MayWriteQueue)
		huma.Register(a, op, s.actOnAll(act))
	}
	huma.Register(a, s.operation(a, http.MethodPost, "/alerts/test", "test-alert", "Really send one test alert, and say stage by stage what came of it", door.MayAdmin), s.testAlert)
	s.accountRoutes(a)
	s.deviceRoutes(a)
	s.fetchRoutes(a)
	s.peopleRoutes(a)
	remove := s.operation(a, http.MethodDelete, "/messages/{id}", "delete-message", "Delete a message for good", door.MayWriteQueue)
	remove.DefaultStatus = http.StatusNoContent
	huma.Register(a, remove, s.remove)
}

// operation is what all have in common.
func (s *server) operation(a huma.API, method, path, id, summary string, scope door.Scope) huma.Operation {
	problem := &huma.Response{Description: "What went wrong", Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: huma.SchemaFromType(a.OpenAPI().Components.Schemas, problemType)},
	}}
	return huma.Operation{
		OperationID: id, Method: method, Path: base + path, Summary: summary, Description: "Scope: " + string(scope),
		Security: []map[string][]string{{"token": {}}}, Middlewares: huma.Middlewares{s.guarded(scope)},
		Responses: map[string]*huma.Response{"default": problem, "401": problem},
	}
}

func (s *server) missing(w http.ResponseWriter, r *http.Request) {
	(&Problem{Title: http.StatusText(http.StatusNotFound), Status: http.StatusNotFound, Kind: fault.NotFound.String(),
		Detail: r.Method + " " + r.URL.Path + " is nothing that can be done here", Hint: "read " + base + "/openapi.json"}).write(w)
}

// patience is how long a client may be silent while it sends or reads.
const patience = time.Minute

// patient gives a large message the time it needs, as long as it moves: the server's
// own limits are for whole requests.
func patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := &moving{ReadCloser: r.Body, ResponseWriter: w, control: http.NewResponseController(w)}
		r.Body = readMoving{m}
		next.ServeHTTP(m, r)
	})
}

// moving puts the deadlines off with every octet.
type moving struct {
	io.ReadCloser
	http.ResponseWriter
	control *http.ResponseController
}

// Write is that of the response.
func (m *moving) Write(p []byte) (int, error) {
	_ = m.control.SetWriteDeadline(time.Now().Add(patience)) // where it cannot be set, there is none
	return m.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (m *moving) Unwrap() http.ResponseWriter { return m.ResponseWriter }

type readMoving struct{ m *moving }

// Read is that of the request's body.
func (r readMoving) Read(p []byte) (int, error) {
	until := time.Now().Add(patience)
	_ = r.m.control.SetReadDeadline(until)
	_ = r.m.control.SetWriteDeadline(until)
	return r.m.ReadCloser.Read(p)
}

// Close is that of the request's body.
func (r readMoving) Close() error { return r.m.ReadCloser.Close() }
