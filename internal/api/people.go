package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/internal/door"
	"postern/internal/people"
)

func (s *server) peopleRoutes(a huma.API) {
	huma.Register(a, s.operation(a, http.MethodGet, "/audit", "list-audit", "List who did what, the newest first", door.MayAdmin), s.audit)
	huma.Register(a, s.operation(a, http.MethodGet, "/users", "list-users", "List who may use the pages", door.MayAdmin), s.users)
}

type auditInput struct {
	Who     string    `query:"who" doc:"Only where this stands in who did it."`
	What    string    `query:"what" doc:"Only where this stands in what was done."`
	Subject string    `query:"subject" doc:"Only where this stands in the name of what it was done to."`
	Since   time.Time `query:"since" doc:"Only from this time on."`
	Until   time.Time `query:"until" doc:"Only before this time."`
	Before  string    `query:"before" doc:"Only what is older than this id: next of the page before."`
	Limit   int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// AuditLine is a line of the audit log. It is exported for huma.
type AuditLine struct {
	ID      string         `json:"id"`
	At      time.Time      `json:"at"`
	Who     string         `json:"who" doc:"web:USER, api:TOKEN, or cli: and the name of the machine's user."`
	What    string         `json:"what"`
	Subject string         `json:"subject"`
	Detail  string         `json:"detail,omitempty"`
	Before  map[string]any `json:"before,omitempty" doc:"The fields that were changed, as they were."`
	After   map[string]any `json:"after,omitempty" doc:"And as they are since."`
}

type auditOutput struct {
	Body struct {
		Lines []AuditLine `json:"lines"`
		Next  string      `json:"next,omitempty" doc:"The before of the next page; left out on the last one."`
	}
}

func (s *server) audit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	all, err := s.Audits(ctx, people.Lines{Who: in.Who, What: in.What, Subject: in.Subject, Since: in.Since, Until: in.Until, Before: in.Before, Limit: in.Limit + 1})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	var out auditOutput
	if len(all) > in.Limit {
		all = all[:in.Limit]
		out.Body.Next = all[in.Limit-1].ID
	}
	out.Body.Lines = make([]AuditLine, 0, len(all))
	for _, l := range all {
		line := AuditLine{ID: l.ID, At: l.At, Who: l.Who, What: l.What, Subject: l.Subject, Detail: l.Detail}
		for from, to := range map[*json.RawMessage]*map[string]any{&l.Before: &line.Before, &l.After: &line.After} {
			if *from == nil {
				continue
			}
			if err := json.Unmarshal(*from, to); err != nil {
				return nil, s.problem(ctx, err)
			}
		}
		out.Body.Lines = append(out.Body.Lines, line)
	}
	return &out, nil
}

type usersOutput struct {
	Body struct {
		Users []people.User `json:"users"`
	}
}

func (s *server) users(ctx context.Context, _ *struct{}) (*usersOutput, error) {
	all, err := s.People(ctx)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	var out usersOutput
	if out.Body.Users = all; all == nil {
		out.Body.Users = []people.User{}
	}
	return &out, nil
}

// metrics lets a program with the scope read the figures.
func (s *server) metrics(w http.ResponseWriter, r *http.Request) {
	if _, err := s.admit(r.Context(), r.Header.Get("Authorization"), addrOf(r.RemoteAddr), door.MayMetrics); err != nil {
		var p *Problem
		if errors.As(s.problem(r.Context(), err), &p) {
			p.write(w)
		}
		return
	}
	s.Metrics.ServeHTTP(w, r)
}
