package web

import (
	"context"
	"net/http"
	"time"

	"postern/internal/declare"
)

// patience is how long a page waits for all that it looks up. What is not there by
// then is missing on it, and it says so.
const patience = 2 * time.Second

// brief bounds the lookups of a page.
func (s *Server) brief(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), patience)
}

// who is how the audit log names whoever sent the request.
func (s *Server) who(*http.Request) string { return "web:admin" }

// apply makes what a form says, by the same checks as a declared document.
func (s *Server) apply(r *http.Request, doc declare.Document) ([]declare.Change, error) {
	return s.Apply(r.Context(), s.who(r), doc)
}
