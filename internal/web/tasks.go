package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postern/internal/fetch"
	"postern/internal/vault"
)

const (
	tasksHome = "/tasks"
	shownRuns = 20
	shownLog  = 500 // lines; the ledger knows every message
)

func (s *Server) taskPlaces() []place {
	return []place{
		{"GET /tasks", viewer, s.tasks},
		{"GET /new/task", admin, s.newTask},
		{"POST /new/task", admin, s.createTask},
		{"POST /preview/task", admin, s.previewTask},
		{"POST /try/task", admin, s.tryForm},
		{"GET /tasks/{name}", viewer, s.showTask},
		{"GET /tasks/{name}/edit", admin, s.editTask},
		{"POST /tasks/{name}/edit", admin, s.changeTask},
		{"POST /tasks/{name}/run", operator, s.runTask},
		{"POST /tasks/{name}/stop", operator, s.stopTask},
		{"POST /tasks/{name}/try", operator, s.tryTask},
		{"POST /tasks/{name}/delete", admin, s.deleteTask},
		{"GET /tasks/{name}/runs/{run}", viewer, s.showRun},
		{"GET /tries/{work}", operator, s.showTry},
		{"POST /tries/{work}/cancel", operator, s.cancelTry},
	}
}

// tasksView is the list of tasks.
type tasksView struct {
	sheet
	Form form
	Rows []taskRow
	Any  bool // there are tasks, though none may match
	Next string
}

// taskRow is a task as it stands.
type taskRow struct {
	fetch.Standing
	Label  label
	From   string
	Into   string
	When   string
	Due    time.Time // zero: not by itself
	Now    bool      // it is due now
	CutOff bool      // its last run has no end, and nobody runs it
}

func (s *Server) taskRow(st fetch.Standing) taskRow {
	t := taskRow{Standing: st, From: st.Task.Where(), Into: st.Task.Handover.Into(), When: st.Task.Schedule.When(), Due: st.Next()}
	t.Now = !t.Due.IsZero() && !t.Due.After(s.now())
	t.CutOff = st.Last.ID != "" && st.Last.Ended.IsZero() && !st.Running
	switch {
	case st.Running:
		t.Label = label{"running", ""}
	case st.Task.Disabled:
		t.Label = label{"switched off", "warn"}
	case st.Last.ID == "":
		t.Label = label{"has not run yet", ""}
	case st.Last.Error != "":
		t.Label = label{"last run failed", "bad"}
	case t.CutOff:
		t.Label = label{"last run was cut off", "warn"}
	default:
		t.Label = label{"all right", "good"}
	}
	return t
}

func (s *Server) tasks(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	q := r.URL.Query()
	p := tasksView{sheet: s.sheet(w, r, "Tasks", tasksHome), Form: blank(q)}
	all, err := s.Tasks.Standings(ctx, s.now(), "")
	if err != nil {
		s.trouble(r, &p.sheet, err, "The tasks could not be looked up.")
	}
	text := strings.ToLower(p.Form.Get("text"))
	for _, st := range all {
		p.Any = true
		if st.Task.Name <= q.Get("after") || !strings.Contains(strings.ToLower(st.Task.Name+" "+st.Task.Account), text) {
			continue
		}
		if len(p.Rows) == pageRows {
			p.Next = at(tasksHome, kept(q, []string{"text"}), "after", p.Rows[pageRows-1].Task.Name)
			break
		}
		p.Rows = append(p.Rows, s.taskRow(st))
	}
	s.show(w, r, http.StatusOK, "tasks.html", p)
}

// taskView is one task.
type taskView struct {
	sheet
	Row     taskRow
	Runs    []runRow
	Account *vault.Description // nil when it cannot be looked up
	SignIn  bool               // its account wants somebody to sign in at Microsoft
	Acts    []string           // what becomes of messages in the mailbox
}

// runRow is a run.
type runRow struct {
	fetch.Run
	Label label
	Took  string
}

func (s *Server) runRow(r fetch.Run, running bool) runRow {
	row := runRow{Run: r, Took: took(r.Started, r.Ended)}
	switch {
	case r.Ended.IsZero() && running:
		row.Label, row.Took = label{"running", ""}, took(r.Started, s.now())
	case r.Ended.IsZero():
		row.Label = label{"cut off", "warn"}
	case r.Stopped != "":
		row.Label = label{"stopped by " + r.Stopped, "warn"}
	case r.Error != "":
		row.Label = label{"failed", "bad"}
	case r.Failed > 0:
		row.Label = label{"some failed", "warn"}
	default:
		row.Label = label{"all right", "good"}
	}
	return row
}

// standing is the task that an address names.
func (s *Server) standing(ctx context.Context, name string) (fetch.Standing, error) {
	all, err := s.Tasks.Standings(ctx, s.now(), name)
	if err == nil && len(all) == 0 {
		_, err = s.Tasks.Task(ctx, name) // says so
	}
	if err != nil {
		return fetch.Standing{}, err
	}
	return all[0], nil
}

func (s *Server) failTask(w http.ResponseWriter, r *http.Request, err error) {
	s.failThing(w, r, err, "There is no such task", tasksHome)
}

func (s *Server) showTask(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	st, err := s.standing(ctx, r.PathValue("name"))
	if err != nil {
		s.failTask(w, r, err)
		return
	}
	p := taskView{sheet: s.sheet(w, r, st.Task.Name, tasksHome), Row: s.taskRow(st), Acts: actsOf(st.Task)}
	runs, err := s.Tasks.Runs(ctx, st.Task.Name, shownRuns)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The runs could not be looked up.")
	}
	for i, run := range runs {
		p.Runs = append(p.Runs, s.runRow(run, st.Running && i == 0))
	}
	d, err := s.Vault.Describe(ctx, st.Task.Account)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The account could not be looked up.")
	} else {
		p.Account, p.SignIn = &d, d.Account.Method == vault.Delegated && (d.Account.State == vault.New || d.Account.State == vault.NeedsSignIn)
	}
	s.show(w, r, http.StatusOK, "task.html", p)
}

// actsOf says what becomes of messages in the mailbox.
func actsOf(t fetch.Task) (said []string) {
	for _, a := range []struct {
		to string
		do fetch.Action
	}{{"handed over", t.After}, {"that no rule takes", t.Unmatched}, {"that failed too often", t.Failure.Do}} {
		if !a.do.None() {
			said = append(said, "messages "+a.to+": "+a.do.String())
		}
	}
	return said
}

func taskPath(name string) string { return tasksHome + "/" + url.PathEscape(name) }

// taskAct does something with the task that an address names.
func (s *Server) taskAct(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, who, task string) error, to, note string) {
	if err := do(r.Context(), s.who(r), r.PathValue("name")); err != nil {
		s.failTask(w, r, err)
		return
	}
	s.done(w, r, to, note)
}

func (s *Server) runTask(w http.ResponseWriter, r *http.Request) {
	s.taskAct(w, r, s.TaskActs.Run, taskPath(r.PathValue("name")), "It runs as soon as there is room.")
}

func (s *Server) stopTask(w http.ResponseWriter, r *http.Request) {
	s.taskAct(w, r, s.TaskActs.Stop, taskPath(r.PathValue("name")), "It is told to stop. What it promised is finished by the next run.")
}

func (s *Server) deleteTask(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if typed(r).Get("sure") == "" {
		s.show(w, r, http.StatusOK, "sure.html", sureView{
			sheet: s.sheet(w, r, "Delete "+name+"?", tasksHome), Path: taskPath(name) + "/delete", Back: taskPath(name), Button: "Delete the task", Final: true,
			Hidden: []pair{{"sure", "1"}}, Question: "Shall the task " + name + " be deleted, with its ledger and the history of its runs? What it saved stays where it is. A task made anew knows nothing of what this one took.",
		})
		return
	}
	s.taskAct(w, r, s.TaskActs.Delete, tasksHome, "Task "+name+" is deleted.")
}

// runView is one run with its log.
type runView struct {
	sheet
	Task  string
	Row   runRow
	Lines []fetch.Line
	More  int // lines that are not shown
}

func (s *Server) showRun(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	name := r.PathValue("name")
	run, err := s.Tasks.Run(ctx, name, r.PathValue("run"))
	if err != nil {
		s.failThing(w, r, err, "There is no such run", taskPath(name))
		return
	}
	p := runView{sheet: s.sheet(w, r, "Run of "+name, tasksHome), Task: name}
	running := false
	if run.Ended.IsZero() {
		st, err := s.standing(ctx, name)
		running = err == nil && st.Running && st.Last.ID == run.ID
	}
	p.Row = s.runRow(run, running)
	if p.Lines, err = s.Tasks.Lines(ctx, run.ID); err != nil {
		s.trouble(r, &p.sheet, err, "The log of the run could not be looked up.")
	}
	if p.More = len(p.Lines) - shownLog; p.More > 0 {
		p.Lines = p.Lines[p.More:]
	}
	if !running {
		w.Header().Set(settledHeader, "1")
	}
	s.show(w, r, http.StatusOK, "run.html", p)
}
