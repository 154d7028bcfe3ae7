package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"postern/internal/declare"
	"postern/internal/fault"
)

// patience is how long a page waits for all that it looks up. What is not there by
// then is missing on it, and it says so.
const patience = 2 * time.Second

// brief bounds the lookups of a page.
func (s *Server) brief(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), patience)
}

// who is how the audit log names whoever sent the request.
func (s *Server) who(r *http.Request) string { return visitOf(r.Context()).user.Who() }

// apply makes what a form says, by the same checks as a declared document.
func (s *Server) apply(r *http.Request, doc declare.Document) ([]declare.Change, error) {
	return s.Apply(r.Context(), s.who(r), doc)
}

// refused says beside its field what is wrong with it, where an error names one of the
// form's fields first, as documents' errors do; else above the form. "mailbox=user" is a
// field that the form has under another name. What is not the
// typing's fault is logged.
func (s *Server) refused(r *http.Request, f *form, err error, fields ...string) {
	if errors.Is(err, fault.Invalid) {
		name, say, _ := strings.Cut(innermost(err), ": ")
		for _, field := range fields {
			if is, here, other := strings.Cut(field, "="); is == name {
				if !other {
					here = is
				}
				f.wrong(here, sentence(say))
				return
			}
		}
	} else {
		s.Log.WarnContext(r.Context(), "what a form says could not be done", "page", r.URL.Path, "error", err)
	}
	f.refuse(err)
}

// innermost is what the innermost classified error of a chain says.
func innermost(err error) string {
	e := fault.As(err)
	for e != nil && fault.As(e.Err) != nil {
		e = fault.As(e.Err)
	}
	if e == nil || e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// failThing says that what a page is about is not there, or cannot be looked up.
func (s *Server) failThing(w http.ResponseWriter, r *http.Request, err error, title, list string) {
	p := gonePage{sheet: s.sheet(w, r, title, list), Back: list, Text: "It may have been deleted meanwhile."}
	if errors.Is(err, fault.NotFound) {
		s.show(w, r, http.StatusNotFound, "gone.html", p)
		return
	}
	s.Log.ErrorContext(r.Context(), "a page could not be made", "page", r.URL.Path, "error", err)
	status := http.StatusServiceUnavailable
	p.Title, p.Text, p.Next = "This did not work", "", sentence(fault.HintOf(err))
	if e := fault.As(err); e != nil && (e.Kind == fault.Invalid || e.Kind == fault.Conflict) {
		status, p.Text = http.StatusConflict, sentence(e.Error())
	}
	if p.Text == "" && p.Next == "" {
		p.Next = "Try again in a few minutes. The log says why."
	}
	s.show(w, r, status, "gone.html", p)
}

// gonePage says why there is no page.
type gonePage struct {
	sheet
	Text, Next, Back string
}
