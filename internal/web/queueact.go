package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

// act is a button.
type act struct {
	Do           relay.Action
	Label, Does  string // what it does, to be confirmed
	Quiet, Final bool
}

// queueActs are what can be done to messages.
func queueActs() []act {
	return []act{
		{Do: relay.Retry, Label: "Retry now", Does: "be tried again now"},
		{Do: relay.Hold, Label: "Hold", Does: "be held back until they are released", Quiet: true},
		{Do: relay.Release, Label: "Release", Does: "go out now", Quiet: true},
		{Do: relay.Delete, Label: "Delete", Does: "be deleted for good", Final: true},
	}
}

// actsOn are those that have a meaning for a state.
func actsOn(state relay.State) []act {
	no := map[relay.State][]relay.Action{
		relay.Queued:     {relay.Release},
		relay.Held:       {relay.Retry, relay.Hold},
		relay.Failed:     {relay.Hold, relay.Release},
		relay.Simulated:  {relay.Hold, relay.Release},
		relay.Delivered:  {relay.Retry, relay.Hold, relay.Release},
		relay.Delivering: {relay.Retry, relay.Hold, relay.Release, relay.Delete},
	}[state]
	return slices.DeleteFunc(queueActs(), func(a act) bool { return slices.Contains(no, a.Do) })
}

func queueAct(word string) (act, error) {
	all := queueActs()
	i := slices.IndexFunc(all, func(a act) bool { return string(a.Do) == word })
	if i < 0 {
		return act{}, fault.New(fault.Invalid, "change the queue", "nothing was chosen to be done").WithHint("go back and press one of the buttons")
	}
	return all[i], nil
}

// sureView asks before what cannot be undone, or is done to many.
type sureView struct {
	sheet
	Question, Path, Button, Back string
	Final                        bool
	Hidden                       []pair // sent again with the yes
}

type pair struct{ Name, Value string }

func pairs(v url.Values) (out []pair) {
	for name, values := range v {
		for _, value := range values {
			out = append(out, pair{name, value})
		}
	}
	slices.SortStableFunc(out, func(a, b pair) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// bulk is how far an act on all that a filter finds is.
type bulk struct {
	Label, Here, Back string
	Done, Skipped     int
	First             string // why the first was skipped
}

// changeQueue acts on the ticked messages, or on all that the filter finds.
func (s *Server) changeQueue(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	a, err := queueAct(f.Get("act"))
	if err != nil {
		s.failThing(w, r, err, "There is no such message", queueHome)
		return
	}
	filter := kept(f.Values, filterNames())
	back, ids, all := at(queueHome, filter, "", ""), f.Values["id"], f.Get("all") != ""
	switch {
	case !all && len(ids) == 0:
		s.done(w, r, back, "Nothing was ticked, so nothing was done.")
	case f.Get("sure") == "" && (all || a.Do == relay.Delete):
		whose := many(len(ids), "message")
		if all {
			whose = "all messages that match (" + said(filter) + ")"
		}
		sent := url.Values{"act": {f.Get("act")}, "all": f.Values["all"], "id": ids, "sure": {"1"}}
		for k, v := range filter {
			sent[k] = v
		}
		s.show(w, r, http.StatusOK, "sure.html", sureView{
			sheet: s.sheet(w, r, a.Label+"?", queueHome), Path: queueHome, Back: back, Button: a.Label, Final: a.Final, Hidden: pairs(sent),
			Question: "Shall " + whose + " " + a.Does + "?",
		})
	case all:
		s.beginBulk(w, r, a, filter, back)
	default:
		s.done(w, r, back, s.actOn(r, a, ids))
	}
}

// said puts a filter into words.
func said(filter url.Values) string {
	text := ""
	for _, p := range pairs(filter) {
		if text != "" {
			text += ", "
		}
		text += p.Name + " " + p.Value
	}
	if text == "" {
		return "the whole list"
	}
	return text
}

// actOn acts on some messages and says what came of it.
func (s *Server) actOn(r *http.Request, a act, ids []string) string {
	done, skipped, why := 0, 0, ""
	for _, id := range ids {
		err := s.QueueActs.Do(r.Context(), s.who(r), a.Do, id)
		if err == nil {
			done++
			continue
		}
		skipped++
		if why == "" {
			why = because(err)
		}
	}
	text := a.Label + ": " + many(done, "message") + "."
	if skipped > 0 {
		text += fmt.Sprintf(" Left as they were: %d. %s", skipped, why)
	}
	return text
}

func (s *Server) beginBulk(w http.ResponseWriter, r *http.Request, a act, filter url.Values, back string) {
	who := s.who(r)
	id, err := s.bulks.start(r.Context(), bulk{Label: a.Label, Here: queueHome, Back: back}, func(ctx context.Context, change func(func(*bulk))) error {
		tell := func(d relay.Done) {
			change(func(b *bulk) {
				b.Done, b.Skipped = d.Changed, d.Skipped
				if d.First != nil && b.First == "" {
					b.First = because(d.First)
				}
			})
		}
		_, err := s.QueueActs.DoAll(ctx, who, a.Do, queueFilter(filter), tell)
		return err
	})
	if err != nil {
		s.failThing(w, r, err, "There is no such message", queueHome)
		return
	}
	http.Redirect(w, r, "/work/"+id, http.StatusSeeOther)
}

// bulkView shows how far an act on many is.
type bulkView struct {
	sheet
	bulk
	Cancel string
	Ended  time.Time
	Error  string
}

// showBulk shows how far an act on many is, whatever page began it.
func (s *Server) showBulk(w http.ResponseWriter, r *http.Request) {
	k := s.bulks.of(r.PathValue("work"))
	if k == nil {
		s.noWork(w, r, "This ended some time ago, or Postern was restarted meanwhile", queueHome)
		return
	}
	state, ended, err := k.look()
	p := bulkView{sheet: s.sheet(w, r, state.Label, state.Here), bulk: state, Ended: ended, Cancel: r.URL.Path + "/cancel"}
	if errors.Is(err, errCancelled) {
		p.Error = "It was cancelled; what was done until then stays."
	} else if err != nil {
		p.Error = because(err)
	}
	if !ended.IsZero() {
		w.Header().Set(settledHeader, "1")
	}
	s.show(w, r, http.StatusOK, "bulk.html", p)
}

func (s *Server) cancelBulk(w http.ResponseWriter, r *http.Request) {
	if k := s.bulks.of(r.PathValue("work")); k != nil {
		k.cancel()
	}
	http.Redirect(w, r, "/work/"+url.PathEscape(r.PathValue("work")), http.StatusSeeOther)
}

// changeMessage acts on one message from its own page.
func (s *Server) changeMessage(w http.ResponseWriter, r *http.Request) {
	f, id := typed(r), r.PathValue("id")
	a, err := queueAct(f.Get("act"))
	if err != nil {
		s.failThing(w, r, err, "There is no such message", queueHome)
		return
	}
	here := queueHome + "/" + url.PathEscape(id)
	if a.Final && f.Get("sure") == "" {
		s.show(w, r, http.StatusOK, "sure.html", sureView{
			sheet: s.sheet(w, r, a.Label+"?", queueHome), Path: here, Back: here, Button: a.Label, Final: true,
			Hidden: []pair{{"act", f.Get("act")}, {"sure", "1"}}, Question: "Shall this message be deleted for good?",
		})
		return
	}
	if err := s.QueueActs.Do(r.Context(), s.who(r), a.Do, id); err != nil {
		s.failThing(w, r, err, "There is no such message", here)
		return
	}
	if a.Do == relay.Delete {
		here = queueHome
	}
	s.done(w, r, here, a.Label+": done.")
}
