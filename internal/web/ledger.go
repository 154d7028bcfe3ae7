package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/fetch"
)

// Tasks is what the pages read of tasks and their ledger. Missing is fault.NotFound.
type Tasks interface {
	// Standings are those of all tasks, or of the one that is named.
	Standings(ctx context.Context, now time.Time, name string) ([]fetch.Standing, error)
	Task(ctx context.Context, name string) (fetch.Task, error)
	Run(ctx context.Context, task, id string) (fetch.Run, error)
	Runs(ctx context.Context, task string, limit int) ([]fetch.Run, error)
	Lines(ctx context.Context, run string) ([]fetch.Line, error)
	Entry(ctx context.Context, k fetch.Key) (fetch.Entry, error)
	SearchEntries(ctx context.Context, f fetch.Filter, patience time.Duration) (found []fetch.Entry, next string, err error)
}

// TaskActs change runs and the ledger and write down who did.
type TaskActs interface {
	Run(ctx context.Context, who, task string) error
	Stop(ctx context.Context, who, task string) error
	Delete(ctx context.Context, who, task string) error
	Do(ctx context.Context, who string, act fetch.LedgerAction, f fetch.Filter, tell func(n int)) (int, error)
	DoEntries(ctx context.Context, who string, act fetch.LedgerAction, task string, keys ...fetch.Key) (int, error)
	// Try runs a task dry, saved or not.
	Try(ctx context.Context, t fetch.Task, opts fetch.Options) (fetch.Run, error)
}

const (
	ledgerHome = "/ledger"
	ledgerPage = 50
)

func (s *Server) ledgerPlaces() []place {
	return []place{
		{"GET /ledger", viewer, s.ledger},
		{"POST /ledger", operator, s.changeLedger},
		{"GET /ledger/entry", viewer, s.showEntry},
	}
}

// wanting are the states that wait for somebody.
const wanting = "attention"

func ledgerNames() []string { return []string{"task", "state", "folder", "text", "run"} }

// ledgerFilter is what the fields choose.
func ledgerFilter(v url.Values) fetch.Filter {
	f := fetch.Filter{Task: v.Get("task"), Folder: v.Get("folder"), Text: v.Get("text"), Run: v.Get("run")}
	switch state := v.Get("state"); state {
	case "":
	case wanting:
		f.States = []fetch.EntryState{fetch.EntryFailed, fetch.Parked, fetch.ActionFailed}
	default:
		f.States = []fetch.EntryState{fetch.EntryState(state)}
	}
	return f
}

// ledgerView is the list of the ledger.
type ledgerView struct {
	sheet
	Form   form
	States []choice
	Rows   []ledgerRow
	Next   string
	First  string
	Looked bool
	Filter url.Values
}

// ledgerRow is an entry.
type ledgerRow struct {
	fetch.Entry
	Label label
	Place string // names it in a form
	Link  string
}

func entryRow(e fetch.Entry) ledgerRow {
	q := url.Values{"task": {e.Task}, "at": {e.Mark().String()}}
	return ledgerRow{Entry: e, Label: entryState(e.State), Place: q.Get("at"), Link: ledgerHome + "/entry?" + q.Encode()}
}

func (s *Server) ledger(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	q := r.URL.Query()
	p := ledgerView{sheet: s.sheet(w, r, "Ledger", ledgerHome), Filter: kept(q, ledgerNames()), Form: blank(q), States: ledgerStates()}
	f := ledgerFilter(p.Filter)
	f.After, f.Limit = q.Get("after"), ledgerPage
	found, next, err := s.Tasks.SearchEntries(ctx, f, searchPatience)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The ledger could not be looked up.")
	}
	for _, e := range found {
		p.Rows = append(p.Rows, entryRow(e))
	}
	if p.Looked = next != "" && len(found) < ledgerPage; next != "" {
		p.Next = at(ledgerHome, p.Filter, "after", next)
	}
	if f.After != "" {
		p.First = at(ledgerHome, p.Filter, "", "")
	}
	s.show(w, r, http.StatusOK, "ledger.html", p)
}

func ledgerStates() []choice {
	out := []choice{{Value: "", Label: "any"}, {Value: wanting, Label: "needs attention"}}
	for _, state := range fetch.States() {
		out = append(out, choice{Value: string(state), Label: entryState(state).Text})
	}
	return out
}

// entryView is one entry of the ledger.
type entryView struct {
	sheet
	Row  ledgerRow
	Acts []ledgerAct
}

func (s *Server) showEntry(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	at, err := fetch.ParseMark(r.URL.Query().Get("at"))
	var e fetch.Entry
	if err == nil {
		e, err = s.Tasks.Entry(ctx, at.Key)
	}
	if err != nil {
		s.failThing(w, r, err, "The ledger has no such message", ledgerHome)
		return
	}
	title := shortened(e.Subject, 80)
	if title == "" {
		title = "Message " + e.UID
	}
	s.show(w, r, http.StatusOK, "entry.html", entryView{sheet: s.sheet(w, r, title, ledgerHome), Row: entryRow(e), Acts: ledgerActsOn(e.State)})
}

// ledgerAct is a button.
type ledgerAct struct {
	Do          fetch.LedgerAction
	Label, Does string
	Final       bool
}

func ledgerActs() []ledgerAct {
	return []ledgerAct{
		{fetch.Reprocess, "Take again", "be taken from the mailbox and handed over again by the next run", false},
		{fetch.Reset, "Forget", "be forgotten, so that the next run looks at them as if they were new", true},
	}
}

// ledgerActsOn are those that have a meaning for a state.
func ledgerActsOn(state fetch.EntryState) []ledgerAct {
	switch state {
	case fetch.Staged, fetch.Saved, fetch.HandedOver:
		return nil // the next run brings them to their end
	case fetch.Parked:
		acts := ledgerActs()
		acts[0].Label = "Un-park: try again"
		return acts
	}
	return ledgerActs()
}

// changeLedger acts on the ticked messages, or on all that the filter finds.
func (s *Server) changeLedger(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	acts := ledgerActs()
	i := slices.IndexFunc(acts, func(a ledgerAct) bool { return string(a.Do) == f.Get("act") })
	filter := kept(f.Values, ledgerNames())
	back, places, all := at(ledgerHome, filter, "", ""), f.Values["id"], f.Get("all") != ""
	if to := f.Get("back"); strings.HasPrefix(to, ledgerHome+"/entry?") {
		back = to
	}
	switch {
	case i < 0 || !all && len(places) == 0:
		s.done(w, r, back, "Nothing was ticked, so nothing was done.")
	case f.Get("sure") == "" && (all || acts[i].Final):
		whose := many(len(places), "message")
		if all {
			whose = "all messages that match (" + said(filter) + ")"
		}
		sent := url.Values{"act": {f.Get("act")}, "all": f.Values["all"], "id": places, "sure": {"1"}}
		for k, v := range filter {
			sent[k] = v
		}
		s.show(w, r, http.StatusOK, "sure.html", sureView{
			sheet: s.sheet(w, r, acts[i].Label+"?", ledgerHome), Path: ledgerHome, Back: back, Button: acts[i].Label, Final: acts[i].Final, Hidden: pairs(sent),
			Question: "Shall " + whose + " " + acts[i].Does + "?",
		})
	case all:
		s.beginLedgerWork(w, r, acts[i], filter, back)
	default:
		s.done(w, r, back, s.actOnEntries(r, acts[i], places))
	}
}

// actOnEntries acts on some entries, and says what came of it.
func (s *Server) actOnEntries(r *http.Request, a ledgerAct, places []string) string {
	by := map[string][]fetch.Key{}
	for _, place := range places {
		if m, err := fetch.ParseMark(place); err == nil {
			by[m.Task] = append(by[m.Task], m.Key)
		}
	}
	done, trouble := 0, ""
	for task, keys := range by {
		n, err := s.TaskActs.DoEntries(r.Context(), s.who(r), a.Do, task, keys...)
		if done += n; err != nil {
			trouble = " " + because(err)
		}
	}
	text := a.Label + ": " + many(done, "message") + "."
	if left := len(places) - done; left > 0 {
		text += " Left as they were: " + many(left, "message") + "; those on their way are brought to their end by the next run."
	}
	return text + trouble
}

// beginLedgerWork acts on all that a filter finds, task by task. One that runs just now
// is passed over, which the page says.
func (s *Server) beginLedgerWork(w http.ResponseWriter, r *http.Request, a ledgerAct, filter url.Values, back string) {
	who := s.who(r)
	id, err := s.bulks.start(r.Context(), bulk{Label: a.Label, Here: ledgerHome, Back: back}, func(ctx context.Context, change func(func(*bulk))) error {
		f := ledgerFilter(filter)
		all, err := s.Tasks.Standings(ctx, s.now(), f.Task)
		before := 0
		for _, t := range all {
			f.Task = t.Task.Name
			n, err := s.TaskActs.Do(ctx, who, a.Do, f, func(n int) { change(func(b *bulk) { b.Done = before + n }) })
			before += n
			change(func(b *bulk) {
				if b.Done = before; err != nil && b.First == "" {
					b.First = f.Task + ": " + because(err)
				}
			})
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return err
	})
	if err != nil {
		s.failThing(w, r, err, "", ledgerHome)
		return
	}
	http.Redirect(w, r, "/work/"+id, http.StatusSeeOther)
}
