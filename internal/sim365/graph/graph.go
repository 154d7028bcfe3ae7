// Package graph is the simulated Microsoft Graph, as far as it takes MIME mail:
// POST sendMail with a base64 message as text/plain.
//
// It does not take the JSON form, drafts or upload sessions, and reads no mail. It
// keeps nothing itself: accepted mail goes to a [Keeper].
package graph

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/sim365/world"
)

// Keeper has the mailboxes. Send keeps a message in its sender's Sent Items and
// delivers the other form of it to sent.To.
type Keeper interface {
	Send(sent world.Stored, delivered []byte)
}

// Limits of sendMail.
const (
	maxRequest    = 4 << 20
	maxConcurrent = 4 // of one app on one mailbox
	retryAfter    = "10"
)

// Handler answers for graph.microsoft.com.
func Handler(w *world.World, keeper Keeper) http.Handler {
	s := &server{world: w, keeper: keeper, busy: map[string]int{}}
	m := http.NewServeMux()
	m.HandleFunc("POST /v1.0/users/{user}/sendMail", s.sendMail)
	m.HandleFunc("POST /v1.0/me/sendMail", s.sendMail)
	return m
}

type server struct {
	world  *world.World
	keeper Keeper

	mu   sync.Mutex
	busy map[string]int // app and mailbox → requests under way
}

func (s *server) sendMail(w http.ResponseWriter, r *http.Request) {
	mailbox, app, refused := s.authorize(r)
	hangUp, done := s.struck(w, r, mailbox)
	if done {
		return
	}
	if refused == nil {
		release, free := s.enter(app + " " + mailbox)
		defer release()
		if free {
			refused = s.take(w, r, mailbox)
		} else {
			w.Header().Set("Retry-After", retryAfter)
			refused = new(throttled())
		}
	}
	if hangUp {
		panic(http.ErrAbortHandler) // net/http's own way to close without an answer
	}
	if refused != nil {
		s.fail(w, r, *refused)
		return
	}
	w.Header().Set("request-id", world.NewID())
	w.WriteHeader(http.StatusAccepted)
}

// enter counts a request in; free is false when too many are under way.
func (s *server) enter(key string) (release func(), free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[key] >= maxConcurrent {
		return func() {}, false
	}
	s.busy[key]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.busy[key]--; s.busy[key] == 0 {
			delete(s.busy, key)
		}
	}, true
}

// authorize finds the mailbox and whether the token may send from it.
func (s *server) authorize(r *http.Request) (mailbox, app string, refused *problem) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", "", new(noToken())
	}
	t, err := s.world.CheckToken(raw)
	switch {
	case errors.Is(err, world.ErrExpiredToken):
		return "", "", new(oldToken())
	case err != nil, t.Resource != world.GraphResource:
		return "", "", new(badToken())
	}
	name := r.PathValue("user")
	if name == "" {
		if name = t.UserID; name == "" {
			return "", t.ClientID, new(meNeedsUser())
		}
	}
	user, ok := s.world.User(name)
	if !ok || user.TenantID != t.TenantID {
		return "", t.ClientID, new(noUser(name))
	}
	return user.UPN, t.ClientID, s.permit(t, user)
}

// permit: the user's own mailbox with the delegated permission, any mailbox of the
// tenant with the application's.
func (s *server) permit(t world.Token, user world.User) *problem {
	const permission = "Mail.Send"
	own := t.UserID == user.ObjectID && slices.Contains(t.Scopes, permission)
	app := t.UserID == "" && slices.Contains(t.Roles, permission)
	switch {
	case !own && !app:
		return new(accessDenied())
	case user.HVE || s.world.Policy(user.UPN).NoLicence:
		return new(noMailbox())
	}
	return nil
}

// take reads, judges and keeps a message.
func (s *server) take(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "text/plain") {
		return new(notMIME())
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return new(tooLarge())
	}
	if err != nil {
		return new(badMIME())
	}
	raw, err := base64.StdEncoding.DecodeString(string(body)) // line breaks may stand in it
	if err != nil {
		return new(badMIME())
	}
	m, err := parse(raw)
	switch {
	case err != nil:
		return new(badMIME())
	case len(m.to) == 0:
		return new(noRecipients())
	case slices.ContainsFunc(m.from, func(a string) bool { return !strings.EqualFold(a, mailbox) }):
		return new(sendAsDenied())
	case s.world.Policy(mailbox).Full:
		return new(full())
	}
	s.keeper.Send(world.Stored{Mailbox: mailbox, From: mailbox, To: m.to, Raw: raw, Via: "graph"}, m.delivered)
	s.world.Bump("graph_message")
	return nil
}

// fail answers in Graph's form.
func (s *server) fail(w http.ResponseWriter, r *http.Request, p problem) {
	id := world.NewID()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("request-id", id)
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{ // the peer is gone: nobody to tell
		"code": p.code, "message": p.message,
		"innerError": map[string]string{
			"date":       s.world.Now().UTC().Format(time.DateOnly + "T" + time.TimeOnly),
			"request-id": id, "client-request-id": clientID(r, id),
		},
	}})
}

func clientID(r *http.Request, other string) string {
	if id := r.Header.Get("client-request-id"); id != "" {
		return id
	}
	return other
}
