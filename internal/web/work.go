package web

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/internal/fault"
)

// The bounds of what pages do in the background.
const (
	mostWorks    = 20        // of a sort, under way at once
	longestWork  = time.Hour // and then it is stopped
	rememberWork = time.Hour // how long what came of it can be looked at
)

// works are what pages of a sort began in the background: a look at it is a T. They live
// as long as the server does; what they change is in the database.
type works[T any] struct {
	node    string // whose works they are
	now     func() time.Time
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	by     map[string]*work[T]
}

// work is one of them.
type work[T any] struct {
	cancel context.CancelFunc

	mu    sync.Mutex
	state T
	ended time.Time
	err   error
}

func newWorks[T any](node string, now func() time.Time) *works[T] {
	return &works[T]{node: node, now: now, by: map[string]*work[T]{}}
}

// start has do work after the request has ended; do tells how far it is by changing the
// state. The name of the work is nobody's to guess.
func (w *works[T]) start(ctx context.Context, state T, do func(ctx context.Context, change func(func(*T))) error) (id string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	running := 0
	for id, k := range w.by {
		_, ended, _ := k.look()
		switch {
		case ended.IsZero():
			running++
		case w.now().Sub(ended) > rememberWork:
			delete(w.by, id)
		}
	}
	if w.closed || running >= mostWorks {
		return "", fault.New(fault.Temporary, "begin work", "%d of these are under way", running).WithHint("wait until one has ended, or cancel one")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestWork)
	k := &work[T]{cancel: cancel, state: state}
	id = rand.Text() + "." + w.node
	w.by[id] = k
	w.running.Go(func() {
		defer cancel()
		err := do(ctx, k.change)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.err = err; errors.Is(err, context.Canceled) {
			k.err = errCancelled
		}
		k.ended = w.now()
	})
	return id, nil
}

var errCancelled = errors.New("cancelled")

func (k *work[T]) change(f func(*T)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.state)
}

// look says how far it is; ended is zero while it goes on.
func (k *work[T]) look() (state T, ended time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state, k.ended, k.err
}

// of is a work by its name, nil when there is none.
func (w *works[T]) of(id string) *work[T] {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.by[id]
}

func (w *works[T]) close() {
	w.mu.Lock()
	w.closed = true
	for _, k := range w.by {
		k.cancel()
	}
	w.mu.Unlock()
	w.running.Wait()
}

// nodeForm is the part of a work's name that says which node it is on.
var nodeForm = regexp.MustCompile(`^[A-Za-z0-9-]+\.[A-Za-z0-9.-]{1,128}$`)

// tryNode is how often a page that came to the wrong node asks again: a balancer that goes
// round leads it to the right one soon.
const tryNode = 5 * time.Second

// noWork says that a work is not known here, and whether another node may know it.
func (s *Server) noWork(w http.ResponseWriter, r *http.Request, title, list string) {
	_, node, _ := strings.Cut(r.PathValue("work"), ".")
	if s.Node == "" || node == s.Node || !nodeForm.MatchString(node) {
		s.failThing(w, r, fault.NotFound, title, list)
		return
	}
	_, host, _ := strings.Cut(node, ".")
	_, here, _ := strings.Cut(s.Node, ".")
	w.Header().Set("Refresh", strconv.Itoa(int(tryNode.Seconds())))
	s.show(w, r, http.StatusServiceUnavailable, "gone.html", gonePage{
		sheet: s.sheet(w, r, "Another node does this", list), Back: list,
		Text: "It was begun on the node at " + host + ", which alone can show it; this is the node at " + here + ". If that node has ended or was restarted meanwhile, what was done until then stays.",
		Next: "This page asks again every few seconds. Have the load balancer keep a browser at one node (sticky sessions).",
	})
}

// settledHeader tells the script that a part will not change any more.
const settledHeader = "Postern-Settled"

// because is an error in one sentence, for people.
func because(err error) string {
	if e := fault.As(err); e != nil && e.Reply == nil && e.Err != nil {
		return sentence(e.Err.Error())
	}
	return sentence(err.Error())
}
