package login

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"postern/internal/sim365/world"
)

// failure is one AADSTS error: what OAuth calls it, and what Microsoft says.
type failure struct {
	number   int    // 0: it comes without one
	oauth    string // the OAuth error value, which is all a client may decide on
	status   int    // at the token endpoint
	suberror string
	text     string
}

// meaning is a row of the table: the OAuth value, status and text of a number.
type meaning struct {
	oauth    string
	status   int // 0 = 400
	suberror string
	text     string
}

// aadsts makes the failure of a number; args fill its text. Numbers the table
// does not have become an invalid_grant without words, so that a fault can use any.
func aadsts(number int, args ...any) *failure {
	m, ok := meanings()[number]
	if !ok {
		m = meaning{oauth: "invalid_grant", text: "The sign-in was refused."}
	}
	if m.status == 0 {
		m.status = http.StatusBadRequest
	}
	text := m.text
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	return &failure{number: number, oauth: m.oauth, status: m.status, suberror: m.suberror, text: text}
}

// asserted makes the failure an armed fault asks for: "AADSTS50173", "50173", or an OAuth
// error value, which comes without a number; with words of its own behind it, or not.
func asserted(code string) *failure {
	head, words, _ := strings.Cut(strings.TrimSpace(code), " ")
	number, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(head, "AADSTS"), ":"))
	if err != nil {
		return &failure{oauth: head, status: http.StatusBadRequest, text: words}
	}
	f := aadsts(number)
	if words != "" {
		f.text = words
	}
	f.text = strings.NewReplacer("%s", "(simulated)", "%q", "(simulated)").Replace(f.text)
	return f
}

// incident is the part of an error that support asks for.
type incident struct {
	trace, correlation, timestamp string
}

func (s *Server) incident(r *http.Request) incident {
	in := incident{trace: world.NewID(), correlation: r.Header.Get("client-request-id"), timestamp: s.world.Now().UTC().Format("2006-01-02 15:04:05Z")}
	if in.correlation == "" {
		in.correlation = r.URL.Query().Get("client-request-id")
	}
	if len(in.correlation) != 36 {
		in.correlation = world.NewID()
	}
	return in
}

func (f *failure) describe(in incident) string {
	number := ""
	if f.number != 0 {
		number = fmt.Sprintf("AADSTS%d: ", f.number)
	}
	return fmt.Sprintf("%s%s Trace ID: %s Correlation ID: %s Timestamp: %s", number, f.text, in.trace, in.correlation, in.timestamp)
}

func (s *Server) errorURI(f *failure) string {
	return fmt.Sprintf("%s/error?code=%d", s.config.Authority, f.number)
}

// answer writes the failure as the token endpoint does.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, f *failure) {
	in := s.incident(r)
	body := map[string]any{
		"error": f.oauth, "error_description": f.describe(in),
		"timestamp": in.timestamp, "trace_id": in.trace, "correlation_id": in.correlation,
	}
	if f.number != 0 {
		body["error_codes"], body["error_uri"] = []int{f.number}, s.errorURI(f)
	}
	if f.suberror != "" {
		body["suberror"] = f.suberror
	}
	w.Header().Set("x-ms-request-id", in.trace)
	s.config.Log.InfoContext(r.Context(), "token refused", "aadsts", f.number, "error", f.oauth, "trace_id", in.trace)
	writeJSON(w, f.status, body)
}

// explain is where error_uri points.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.URL.Query().Get("code"))
	m, ok := meanings()[number]
	if err != nil || !ok {
		http.NotFound(w, r)
		return
	}
	s.show(w, http.StatusOK, "notice", view{Title: fmt.Sprintf("AADSTS%d", number), Text: strings.ReplaceAll(m.text, "%s", "…")})
}
