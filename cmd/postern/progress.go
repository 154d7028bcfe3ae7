package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
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

// of shows a bar, where it is known how much there is to do.
func (p *progress) of(n, total int) {
	if total <= 0 || n > total {
		p.at(n)
		return
	}
	if p.w == nil || time.Since(p.shown) < redraw {
		return
	}
	const width = 30
	p.n, p.shown = n, time.Now()
	full := width * n / total
	_, _ = fmt.Fprintf(p.w, "\r[%s%s] %d of %d messages", strings.Repeat("#", full), strings.Repeat(".", width-full), n, total)
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil && !p.shown.IsZero() {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// lines are written together when they come faster than a person sees them.
type lines struct {
	w       *bufio.Writer
	written time.Time
}

// pace is called behind each line. The last are left to whoever ends the work.
func (l *lines) pace() {
	if time.Since(l.written) < redraw {
		return
	}
	l.written = time.Now()
	_ = l.w.Flush() // whoever reads them has gone
}
