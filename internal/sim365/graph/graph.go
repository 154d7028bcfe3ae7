// Package graph is the simulated Microsoft Graph, as far as mail is sent through it:
// sendMail with MIME and with JSON, drafts with attachments and upload sessions, and
// finding a message by its identity in Sent Items and Drafts.
//
// It keeps drafts and uploads itself; accepted mail goes to a [Keeper]. It reads no
// other folder and no message whole.
package graph

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/sim365/world"
)

// Keeper has the mailboxes. Send keeps a message in its sender's Sent Items (unless
// it names no mailbox) and delivers the other form of it to sent.To.
type Keeper interface {
	Send(sent world.Stored, delivered []byte)
}

// Limits of a mailbox's requests.
const (
	maxRequest    = 4 << 20
	maxConcurrent = 4 // of one app on one mailbox
	retryAfter    = "10"
)

// Handler answers for graph.microsoft.com, and for outlook.office.com where it takes
// uploads.
func Handler(w *world.World, keeper Keeper) http.Handler {
	s := &server{world: w, keeper: keeper, busy: map[string]int{}, drafts: map[string]map[string]*item{}, uploads: map[string]*upload{}}
	m := http.NewServeMux()
	for _, who := range []string{"/v1.0/users/{user}", "/v1.0/me"} {
		for _, e := range []struct {
			pattern     string
			stage       string // of faults
			permissions []string
			work        work
		}{
			{"POST " + who + "/sendMail", "send", sendMail(), s.sendMail},
			{"POST " + who + "/messages", "draft", readWrite(), s.addDraft},
			{"PATCH " + who + "/messages/{id}", "draft", readWrite(), s.patchDraft},
			{"DELETE " + who + "/messages/{id}", "delete", readWrite(), s.deleteDraft},
			{"POST " + who + "/messages/{id}/attachments", "attach", readWrite(), s.addFile},
			{"POST " + who + "/messages/{id}/attachments/createUploadSession", "attach", readWrite(), s.startUpload},
			{"POST " + who + "/messages/{id}/send", "send", sendMail(), s.sendDraft},
			{"GET " + who + "/mailFolders/{folder}/messages", "lookup", append(readWrite(), "Mail.Read", "Mail.ReadBasic"), s.list},
		} {
			m.HandleFunc(e.pattern, s.guard(e.stage, e.permissions, e.work))
		}
	}
	m.HandleFunc("/upload", s.piece)
	return m
}

func sendMail() []string { return []string{"Mail.Send"} }

func readWrite() []string { return []string{"Mail.ReadWrite"} }

type server struct {
	world  *world.World
	keeper Keeper

	mu      sync.Mutex
	busy    map[string]int              // app and mailbox → requests under way
	drafts  map[string]map[string]*item // mailbox → id → draft
	uploads map[string]*upload          // key → upload
}

// work does what a request asks for and answers, or says why not.
type work func(w http.ResponseWriter, r *http.Request, mailbox string) *problem

// guard wraps work in what all requests have in common. A fault at its stage strikes
// before the work, one at the stage with "after " in front of it once it is done.
func (s *server) guard(stage string, permissions []string, do work) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		mailbox, app, refused := s.authorize(r, permissions)
		s.played(w, r, stage, mailbox, func(h *held) *problem {
			if refused != nil {
				return refused
			}
			release, free := s.enter(app + " " + mailbox)
			defer release()
			if !free {
				h.Header().Set("Retry-After", retryAfter)
				return new(throttled())
			}
			return do(h, r, mailbox)
		})
	}
}

// played does work between the faults that are armed for it.
func (s *server) played(w http.ResponseWriter, r *http.Request, stage, mailbox string, do func(h *held) *problem) {
	hangUp, done := s.struck(w, r, stage, mailbox)
	if done {
		return
	}
	h := &held{header: http.Header{}}
	refused := do(h)
	if hangUp {
		panic(http.ErrAbortHandler) // net/http's own way to close without an answer
	}
	if refused == nil {
		if hangUp, done = s.struck(w, r, "after "+stage, mailbox); hangUp {
			panic(http.ErrAbortHandler)
		}
		if done {
			return
		}
	}
	h.into(w)
	if refused != nil {
		s.fail(w, r, *refused)
	}
}

// held keeps an answer back until it is certain that it is given.
type held struct {
	header http.Header
	status int
	body   []byte
}

func (h *held) Header() http.Header { return h.header }

func (h *held) WriteHeader(status int) { h.status = status }

func (h *held) Write(b []byte) (int, error) {
	h.body = append(h.body, b...)
	return len(b), nil
}

// into gives the answer; headers alone when there is none yet.
func (h *held) into(w http.ResponseWriter) {
	for name, values := range h.header {
		w.Header()[name] = values
	}
	if h.status == 0 {
		return
	}
	w.Header().Set("request-id", world.NewID())
	w.WriteHeader(h.status)
	_, _ = w.Write(h.body) // the peer is gone: nobody to tell
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

// authorize finds the mailbox and whether the token may do this to it.
func (s *server) authorize(r *http.Request, permissions []string) (mailbox, app string, refused *problem) {
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
			return "", t.ClientID, new(badRequest("BadRequest", "/me request is only valid with delegated authentication flow."))
		}
	}
	user, ok := s.world.User(name)
	if !ok || user.TenantID != t.TenantID {
		return "", t.ClientID, new(noUser(name))
	}
	return strings.ToLower(user.UPN), t.ClientID, s.permit(t, user, permissions)
}

// permit: the user's own mailbox with a delegated permission, any mailbox of the
// tenant with the application's.
func (s *server) permit(t world.Token, user world.User, permissions []string) *problem {
	has := func(granted []string) bool {
		return slices.ContainsFunc(permissions, func(p string) bool { return slices.Contains(granted, p) })
	}
	own := t.UserID == user.ObjectID && has(t.Scopes)
	app := t.UserID == "" && has(t.Roles)
	switch {
	case !own && !app:
		return new(accessDenied())
	case user.HVE || s.world.Policy(user.UPN).NoLicence:
		return new(noMailbox())
	}
	return nil
}

// sendMail takes a message, as MIME or as JSON.
func (s *server) sendMail(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	body, refused := readAll(w, r)
	if refused != nil {
		return refused
	}
	from := mailbox
	var raw []byte
	switch kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.ToLower(strings.TrimSpace(kind)) {
	case "text/plain":
		var err error
		if raw, err = base64.StdEncoding.DecodeString(string(body)); err != nil { // line breaks may stand in it
			return new(badMIME())
		}
	case "application/json":
		if raw, from, refused = s.fromJSON(body, mailbox); refused != nil {
			return refused
		}
	default:
		return new(unknownType())
	}
	if refused := s.submit(mailbox, from, raw); refused != nil {
		return refused
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// fromJSON reads sendMail's JSON form. It returns no mailbox to keep a copy in when
// none is wanted.
func (s *server) fromJSON(body []byte, mailbox string) (raw []byte, keepIn string, refused *problem) {
	var ask struct {
		Message struct {
			item
			Attachments []attachment `json:"attachments"`
		} `json:"message"`
		Save *bool `json:"saveToSentItems"`
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, "", new(badRequest("BadRequest", "Unable to read JSON request payload."))
	}
	i := ask.Message.item
	i.files = ask.Message.Attachments
	if refused := i.check(); refused != nil {
		return nil, "", refused
	}
	if ask.Save == nil || *ask.Save {
		keepIn = mailbox
	}
	return i.message(mailbox, s.world.Now()), keepIn, nil
}

// submit judges a message and keeps it.
func (s *server) submit(mailbox, keepIn string, raw []byte) *problem {
	m, err := parse(raw)
	switch {
	case err != nil:
		return new(badMIME())
	case len(m.to) == 0:
		return new(noRecipients())
	case slices.ContainsFunc(m.from, func(a string) bool { return !s.world.MaySendAs(mailbox, a) }):
		return new(sendAsDenied())
	case s.world.Policy(mailbox).Full:
		return new(full())
	}
	s.keeper.Send(world.Stored{Mailbox: keepIn, From: mailbox, To: m.to, Raw: raw, Via: "graph"}, m.delivered)
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

// tooMuch reports whether a request was larger than it may be.
func tooMuch(err error) bool {
	_, over := errors.AsType[*http.MaxBytesError](err)
	return over
}
