package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/fetch"
)

// Tasks is what the API reads of fetch tasks. Missing is fault.NotFound.
type Tasks interface {
	Tasks(ctx context.Context) ([]fetch.Task, error)
	Task(ctx context.Context, name string) (fetch.Task, error)
	Runs(ctx context.Context, task string, limit int) ([]fetch.Run, error)
	SearchEntries(ctx context.Context, f fetch.Filter, patience time.Duration) (found []fetch.Entry, next string, err error)
}

type taskInput struct {
	Task string `path:"task" maxLength:"128"`
}

type tasksOutput struct {
	Body struct {
		Tasks []fetch.Task `json:"tasks"`
	}
}

type taskOutput struct{ Body fetch.Task }

type runsInput struct {
	Task  string `path:"task" maxLength:"128"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"20"`
}

type runsOutput struct {
	Body struct {
		Runs []fetch.Run `json:"runs" doc:"The newest first; one without an end is running, or was cut off."`
	}
}

type logInput struct {
	Task string `path:"task" maxLength:"128"`
	Run  string `path:"run" maxLength:"64"`
}

type logOutput struct {
	Body struct {
		Lines []fetch.Line `json:"lines"`
	}
}

// Choice is what part of a ledger is meant. It is exported for huma, which does not
// see into what is not.
type Choice struct {
	Task   string   `path:"task" maxLength:"128"`
	State  []string `query:"state" doc:"Only messages in one of these states, with commas between them."`
	UID    string   `query:"uid" doc:"Only this message: over POP3 the UIDL."`
	Folder string   `query:"folder" doc:"Only this folder."`
	Text   string   `query:"text" doc:"Only where this stands in sender, subject, Message-ID or a file's name."`
	Run    string   `query:"run" doc:"Only what this run did last."`
}

func (c Choice) filter() (fetch.Filter, error) {
	f := fetch.Filter{Task: c.Task, Folder: c.Folder, UID: c.UID, Text: c.Text, Run: c.Run}
	for _, word := range c.State {
		state := fetch.EntryState(word)
		if !slices.Contains(fetch.States(), state) {
			return f, fault.New(fault.Invalid, "choose messages", "state %q is not known; allowed: %v", word, fetch.States())
		}
		f.States = append(f.States, state)
	}
	return f, nil
}

type pageInput struct {
	Choice
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After string `query:"after" maxLength:"4096" doc:"Only messages after this place: next of the page before."`
}

type ledgerOutput struct {
	Body struct {
		Messages []fetch.Entry `json:"messages" doc:"The newest first."`
		Next     string        `json:"next,omitempty" doc:"The after of the next page; left out on the last one. A page of a search may be short, even empty, and still have a next one."`
	}
}

type changeInput struct {
	Choice
	All bool `query:"all" doc:"Every message of the task; needed when nothing is chosen."`
}

type changeOutput struct {
	Body struct {
		Messages int `json:"messages" doc:"How many were changed."`
	}
}

func (s *server) fetchRoutes(a huma.API) {
	read := func(path, id, summary string) huma.Operation {
		return s.operation(a, http.MethodGet, path, id, summary, door.MayReadFetch)
	}
	write := func(path, id, summary string, status int) huma.Operation {
		op := s.operation(a, http.MethodPost, path, id, summary, door.MayWriteFetch)
		op.DefaultStatus = status
		return op
	}
	huma.Register(a, read("/tasks", "list-tasks", "List fetch tasks"), s.tasks)
	huma.Register(a, read("/tasks/{task}", "show-task", "Show a fetch task"), s.task)
	huma.Register(a, read("/tasks/{task}/runs", "list-runs", "List the last runs of a task, the newest first"), s.runs)
	huma.Register(a, read("/tasks/{task}/runs/{run}/log", "show-run-log", "Show what a run did, line by line"), s.runLog)
	huma.Register(a, read("/tasks/{task}/ledger", "list-ledger", "List what became of each message, the newest first"), s.ledger)
	huma.Register(a, write("/tasks/{task}/run", "run-task", "Run a task as soon as there is room; see its runs for what came of it", http.StatusAccepted), s.runTask)
	huma.Register(a, write("/tasks/{task}/stop", "stop-task", "Stop the run of a task, on whatever node it is", http.StatusAccepted), s.stopTask)
	for act, does := range map[fetch.LedgerAction]string{
		fetch.Reprocess: "Have messages taken and handed over again by the next run",
		fetch.Reset:     "Forget messages: the next run looks at them as if they were new",
	} {
		huma.Register(a, write("/tasks/{task}/ledger/"+string(act), string(act)+"-ledger", does, http.StatusOK), s.changeLedger(act))
	}
}

func (s *server) tasks(ctx context.Context, _ *struct{}) (*tasksOutput, error) {
	out := new(tasksOutput)
	var err error
	if out.Body.Tasks, err = s.Tasks.Tasks(ctx); err != nil {
		return nil, s.problem(ctx, err)
	}
	out.Body.Tasks = listed(out.Body.Tasks)
	return out, nil
}

// listed is a list that JSON shows as [] when it is empty.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *server) task(ctx context.Context, in *taskInput) (*taskOutput, error) {
	t, err := s.Tasks.Task(ctx, in.Task)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &taskOutput{t}, nil
}

func (s *server) runs(ctx context.Context, in *runsInput) (*runsOutput, error) {
	out := new(runsOutput)
	_, err := s.Tasks.Task(ctx, in.Task)
	if err == nil {
		out.Body.Runs, err = s.Tasks.Runs(ctx, in.Task, in.Limit)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out.Body.Runs = listed(out.Body.Runs)
	return out, nil
}

func (s *server) runLog(ctx context.Context, in *logInput) (*logOutput, error) {
	out := new(logOutput)
	var err error
	if out.Body.Lines, err = s.Fetch.Log(ctx, in.Task, in.Run); err != nil {
		return nil, s.problem(ctx, err)
	}
	out.Body.Lines = listed(out.Body.Lines)
	return out, nil
}

func (s *server) ledger(ctx context.Context, in *pageInput) (*ledgerOutput, error) {
	out := new(ledgerOutput)
	f, err := in.filter()
	if err == nil {
		_, err = s.Tasks.Task(ctx, in.Task)
	}
	if err == nil {
		f.Limit, f.After = in.Limit, in.After
		out.Body.Messages, out.Body.Next, err = s.Tasks.SearchEntries(ctx, f, searchPatience)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out.Body.Messages = listed(out.Body.Messages)
	return out, nil
}

func (s *server) runTask(ctx context.Context, in *taskInput) (*struct{}, error) {
	if err := s.Fetch.Run(ctx, "api:"+caller(ctx).Name, in.Task); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil //nolint:nilnil // huma's way to say that there is no more to it
}

func (s *server) stopTask(ctx context.Context, in *taskInput) (*struct{}, error) {
	if err := s.Fetch.Stop(ctx, "api:"+caller(ctx).Name, in.Task); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil //nolint:nilnil // as above
}

func (s *server) changeLedger(act fetch.LedgerAction) func(context.Context, *changeInput) (*changeOutput, error) {
	return func(ctx context.Context, in *changeInput) (*changeOutput, error) {
		f, err := in.filter()
		if err == nil && in.All == f.Chosen() {
			err = fault.New(fault.Invalid, string(act), "say which messages, or all=true")
		}
		out := new(changeOutput)
		if err == nil {
			out.Body.Messages, err = s.Fetch.Do(ctx, "api:"+caller(ctx).Name, act, f, nil)
		}
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	}
}
