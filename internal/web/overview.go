package web

import (
	"context"
	"net/http"
	"time"

	"postern/internal/vault"
)

// Overview is what the first page needs: how everything stands, and what happened.
type Overview interface {
	// Standing may be a few seconds old. What could not be looked up is named in it.
	Standing(ctx context.Context) Standing
	// Activity sums up what happened since a time, in whiles of a length.
	Activity(ctx context.Context, since time.Time, while time.Duration) ([]Happened, error)
}

// What is counted. Waiting is a level, of which the highest is told.
const (
	Sent       = "sent"
	Fetched    = "fetched"
	Waiting    = "waiting"
	GivenUp    = "refused"     // messages that got no further than the queue
	TurnedAway = "turned_away" // senders, recipients and messages that a door did not take
)

// Happened is how often something happened in the while that begins at a time.
type Happened struct {
	At   time.Time
	Kind string
	N    int64
}

// Standing is how everything stands.
type Standing struct {
	Concerns []Concern // the worst first
	Ends     []vault.Expiry

	Accounts, AccountsWork int
	Apps, Devices, Tasks   int
	Routes                 int // alert routes that are on
	Waiting, Failed        int
	CountedAll             bool // Failed stops at a bound when not
	Free                   uint64
	Worked                 bool // mail went out, or a task took something
	Checked                bool // a connection check succeeded

	Missing []string // what could not be looked up
}

// Trouble is a kind of concern.
type Trouble string

// The kinds of concern, the worst first.
const (
	DiskFull     Trouble = "disk"
	NeedsSignIn  Trouble = "sign_in"
	NeedsAdmin   Trouble = "admin"
	CheckFailed  Trouble = "check"
	QueueOld     Trouble = "queue"
	MailFailed   Trouble = "failed"
	TaskFailed   Trouble = "task"
	TaskLate     Trouble = "late"
	EntryParked  Trouble = "parked"
	AlertFailed  Trouble = "alert"
	Certificate  Trouble = "certificate"
	Expires      Trouble = "expires"
	OldTLS       Trouble = "tls"
	MailHeld     Trouble = "held"
	Simulated    Trouble = "simulated"
	NobodyIsTold Trouble = "untold"
)

// Concern is something that somebody should do.
type Concern struct {
	Trouble Trouble
	Subject string // the account's, task's or device's name
	What    string // one sentence, without what and whom the kind says
	Why     string // a server's words
	Next    string
	Path    string // the page where it is done
	More    int    // others of the kind that are not told one by one
}

// overviewPage is the first page.
type overviewPage struct {
	sheet
	Standing
	Sentence string
	Good     bool
	Groups   []concernGroup
	Tiles    []tile
	Charts   []chart
	Spans    []spanLink
	Span     span
	Rows     []happenedRow
	Steps    []step // of the first run; empty afterwards
	Done     int    // of them
}

// concernGroup is all concerns of a kind.
type concernGroup struct {
	Trouble  Trouble
	Title    string
	Who      string
	Bad      bool
	Concerns []Concern
	More     int
	All      string // the page that lists all of them
}

// tile is one number.
type tile struct{ Label, Value, Path, Note string }

func (s *Server) overviewPlaces() []place {
	return []place{{"GET /{$}", viewer, s.overview}}
}

func (s *Server) overview(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := overviewPage{sheet: s.sheet(w, r, "Overview", "/"), Standing: s.Overview.Standing(ctx), Span: spanOf(r.URL.Query().Get("span"))}
	for _, missing := range p.Missing {
		p.Trouble = append(p.Trouble, missing+" could not be looked up. The log says why.")
	}
	p.Groups = grouped(p.Concerns)
	p.Sentence, p.Good = verdict(p.Standing, p.Groups)
	p.Tiles = tiles(p.Standing)
	p.Spans = spanLinks(p.Span)
	happened, err := s.Overview.Activity(ctx, p.Span.since(s.now()), p.Span.While)
	if err != nil {
		s.trouble(r, &p.sheet, err, "What happened could not be looked up.")
	}
	p.Charts, p.Rows = charts(happened, p.Span, s.now())
	if !p.Worked {
		p.Steps, p.Done = firstSteps(p.Standing)
	}
	s.show(w, r, http.StatusOK, "overview.html", p)
}

// grouped puts concerns of a kind together, in the order they come.
func grouped(all []Concern) []concernGroup {
	var groups []concernGroup
	for _, c := range all {
		if n := len(groups); n == 0 || groups[n-1].Trouble != c.Trouble {
			groups = append(groups, concernGroup{Trouble: c.Trouble})
		}
		g := &groups[len(groups)-1]
		if g.More += c.More; c.What != "" {
			g.Concerns = append(g.Concerns, c)
		}
	}
	for i := range groups {
		groups[i].say()
	}
	return groups
}

// step is one of the first run.
type step struct {
	Title, Text, Path, Act string
	Done, Now              bool // Now is the one to do next
}

// firstSteps lead from nothing to the first mail, and say how many are done.
func firstSteps(at Standing) (steps []step, done int) {
	steps = stepWords()
	for i, is := range []bool{at.Apps > 0, at.Accounts > 0, at.AccountsWork > 0, at.Checked, at.Devices > 0, at.Worked} {
		steps[i].Done = is
		if is {
			done++
		}
	}
	for i := range steps {
		if !steps[i].Done {
			steps[i].Now = true
			break
		}
	}
	return steps, done
}
