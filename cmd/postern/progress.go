package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progress shows how far long work has come, to a person who looks; to a file or a
// pipe it shows nothing.
type progress struct {
	w     io.Writer
	shown time.Time
	n     int
}

// redraw is how often a person wants to see the number change.
const redraw = 200 * time.Millisecond

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		w = nil
	}
	return &progress{w: w}
}

func (p *progress) at(n int) {
	p.n = n
	if p.w == nil || time.Since(p.shown) < redraw {
		return
	}
	p.shown = time.Now()
	_, _ = fmt.Fprintf(p.w, "\r%d messages …", n)
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil && !p.shown.IsZero() {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
