package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"postern/internal/fault"
)

// Problem is every error's answer: RFC 9457, with the kind to branch on and the next step.
type Problem struct {
	Title  string `json:"title" doc:"The status in words."`
	Status int    `json:"status"`
	Detail string `json:"detail" doc:"What went wrong, for a person."`
	Kind   string `json:"kind" enum:"unknown,temporary,throttled,quota,needs_sign_in,needs_admin,permanent,invalid,not_found,conflict,denied" doc:"What to branch on."`
	Hint   string `json:"hint,omitempty" doc:"The next step."`

	header http.Header
}

// Error is the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is for huma.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders is for huma.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType is for huma.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// write sends the answer where huma does not.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// problem makes an error the caller's to see. What is ours is logged here, the one
// place above all work, and told in general words.
func (s *server) problem(ctx context.Context, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		err = fault.New(fault.Invalid, "read the request", "it did not arrive whole")
	}
	kind := fault.KindOf(err)
	p := &Problem{Detail: err.Error(), Kind: kind.String(), Hint: fault.HintOf(err), Status: statusOf(err, kind), header: http.Header{}}
	if kind == fault.Unknown || kind == fault.Temporary || kind == fault.Permanent {
		if ctx.Err() == nil {
			s.Log.LogAttrs(ctx, slog.LevelError, "a request failed", slog.Any("error", err))
		}
		p.Detail, p.Hint = "Postern cannot do this now", "try again later, with the same Idempotency-Key; the log says why"
		p.header.Set("Retry-After", "10")
	}
	if e := fault.As(err); e != nil && e.RetryAfter > 0 {
		p.header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if errors.Is(err, errNoToken) {
		p.header.Set("WWW-Authenticate", `Bearer realm="postern"`)
	}
	p.Title = http.StatusText(p.Status)
	return p
}

func statusOf(err error, kind fault.Kind) int {
	switch {
	case errors.Is(err, errNoToken):
		return http.StatusUnauthorized
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errMedia):
		return http.StatusUnsupportedMediaType
	}
	switch kind {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict, fault.NeedsSignIn, fault.NeedsAdmin:
		return http.StatusConflict
	case fault.Denied:
		return http.StatusForbidden
	case fault.Throttled, fault.Quota:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

// asProblem turns huma's own errors into ours, so that callers meet one shape.
func asProblem(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	kind := fault.Invalid
	if m.Status >= http.StatusInternalServerError {
		kind = fault.Unknown
	}
	details := []string{m.Detail}
	for _, d := range m.Errors {
		details = append(details, strings.TrimSpace(d.Location+" "+d.Message))
	}
	return &Problem{Title: m.Title, Status: m.Status, Detail: strings.Join(details, ": "), Kind: kind.String()}, nil
}
