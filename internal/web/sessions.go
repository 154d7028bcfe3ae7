package web

import (
	"context"
	"errors"
	"net/http"

	"postern/internal/bridge"
	"postern/internal/fault"
)

// Readers are the programs that read mailboxes now, through all nodes.
type Readers interface {
	Sessions(ctx context.Context) ([]bridge.Session, error) // the oldest first
	EndSession(ctx context.Context, who, id string) error
}

const readersHome = "/sessions"

func (s *Server) readerPlaces() []place {
	return []place{
		{"GET /sessions", viewer, s.readers},
		{"POST /sessions/{id}/end", operator, s.endReader},
	}
}

// readersPage is the list of sessions.
type readersPage struct {
	sheet
	Sessions []bridge.Session
	More     int // that are not shown
}

func (s *Server) readers(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := readersPage{sheet: s.sheet(w, r, "Sessions", readersHome)}
	all, err := s.Readers.Sessions(ctx)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The sessions could not be looked up.")
	}
	p.Sessions = all[:min(len(all), pageRows)]
	p.More = len(all) - len(p.Sessions)
	s.show(w, r, http.StatusOK, "sessions.html", p)
}

// endReader asks whichever node has the session to end it.
func (s *Server) endReader(w http.ResponseWriter, r *http.Request) {
	switch err := s.Readers.EndSession(r.Context(), s.who(r), r.PathValue("id")); {
	case err == nil:
		s.done(w, r, readersHome, "The session ends within two seconds. Its program may sign in again; to keep it out, switch its device off.")
	case errors.Is(err, fault.NotFound):
		s.done(w, r, readersHome, "That session has ended already.")
	default:
		s.failLookup(w, r, err)
	}
}
