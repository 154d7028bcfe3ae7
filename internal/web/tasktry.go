package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
)

const (
	shownEvents = 200 // of a dry run
	triedAtOnce = 20  // messages, unless somebody says
	triedMost   = 1000
)

// trial is how far a dry run is.
type trial struct {
	Task   string
	Back   string
	Events []fetch.Event
	Run    fetch.Run
	Passed int // messages that nothing would be taken of
}

// note keeps what would become of a message.
func (t *trial) note(e fetch.Event) {
	t.Run = e.Run
	if e.State == fetch.NoMatch {
		t.Passed++
	}
	if len(t.Events) < shownEvents {
		t.Events = append(t.Events, e)
	}
}

// tryTask runs a saved task dry.
func (s *Server) tryTask(w http.ResponseWriter, r *http.Request) {
	t, err := s.Tasks.Task(r.Context(), r.PathValue("name"))
	if err != nil {
		s.failTask(w, r, err)
		return
	}
	s.beginTry(w, r, t, typed(r), taskPath(t.Name))
}

// beginTry has a dry run begin, and goes on to the page that shows it as it comes.
func (s *Server) beginTry(w http.ResponseWriter, r *http.Request, t fetch.Task, f form, back string) {
	opts := fetch.Options{Everything: f.Get("look") == "newest", Messages: triedAtOnce}
	if n, err := strconv.Atoi(f.Get("messages")); err == nil && n > 0 {
		opts.Messages = min(n, triedMost)
	}
	id, err := s.tries.start(r.Context(), trial{Task: t.Name, Back: back}, func(ctx context.Context, change func(func(*trial))) error {
		opts.Progress = func(e fetch.Event) { change(func(t *trial) { t.note(e) }) }
		run, err := s.TaskActs.Try(ctx, t, opts)
		change(func(t *trial) { t.Run = run })
		return err
	})
	if err != nil {
		s.failTask(w, r, err)
		return
	}
	http.Redirect(w, r, "/tries/"+id, http.StatusSeeOther)
}

// tryView shows a dry run.
type tryView struct {
	sheet
	trial
	Rows   []tryRow
	Cancel string
	Ended  time.Time
	Error  string
	Next   string
}

type tryRow struct {
	fetch.Event
	Label label
}

func tryLabel(e fetch.Event) label {
	switch e.State {
	case fetch.Saved:
		return label{"would be saved", "good"}
	case fetch.NoMatch:
		return label{"not wanted", ""}
	}
	return label{"would be: " + entryState(e.State).Text, entryState(e.State).Look}
}

func (s *Server) showTry(w http.ResponseWriter, r *http.Request) {
	k := s.tries.of(r.PathValue("work"))
	if k == nil {
		s.noWork(w, r, "This dry run ended some time ago, or Postern was restarted meanwhile", tasksHome)
		return
	}
	state, ended, err := k.look()
	p := tryView{sheet: s.sheet(w, r, "Dry run", tasksHome), trial: state, Ended: ended, Cancel: r.URL.Path + "/cancel"}
	for _, e := range state.Events {
		p.Rows = append(p.Rows, tryRow{e, tryLabel(e)})
	}
	if errors.Is(err, errCancelled) {
		p.Error = "It was cancelled."
	} else if err != nil {
		p.Error, p.Next = because(err), sentence(fault.HintOf(err))
	}
	if !ended.IsZero() {
		w.Header().Set(settledHeader, "1")
	}
	s.show(w, r, http.StatusOK, "try.html", p)
}

func (s *Server) cancelTry(w http.ResponseWriter, r *http.Request) {
	if k := s.tries.of(r.PathValue("work")); k != nil {
		k.cancel()
	}
	http.Redirect(w, r, "/tries/"+url.PathEscape(r.PathValue("work")), http.StatusSeeOther)
}
