package fetch

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"
)

// The log of a run is for people: bounded, and without what a run does not do.
const (
	maxLines = 2000
	maxLine  = 500
)

type journal struct {
	lines []Line // not written yet
	count int    // of all
}

func (j *journal) add(at time.Time, text string) {
	switch j.count++; {
	case j.count < maxLines:
		j.lines = append(j.lines, Line{at, oneLine(text)})
	case j.count == maxLines:
		j.lines = append(j.lines, Line{at, "… and more; the ledger knows every message"})
	}
}

func (j *journal) event(at time.Time, ev Event) {
	if ev.State == NoMatch {
		return // a mailbox may be full of them
	}
	text := fmt.Sprintf("uid %s %s: %s", ev.UID, ev.State, ev.Subject)
	if names := fileNames(ev.Files); names != "" {
		text += " → " + names
	}
	if ev.Reason != "" {
		text += " (" + ev.Reason + ")"
	}
	j.add(at, text)
}

func fileNames(files []File) string {
	const enough = 10
	var list []string
	for _, f := range files[:min(len(files), enough)] {
		list = append(list, path.Clean(f.Name))
	}
	if more := len(files) - enough; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

// oneLine makes words of others fit for a log and the ledger.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "…"
	}
	return s
}

// tell makes it known how far the run is.
func (r *run) tell(ctx context.Context) error {
	if r.opts.DryRun {
		return nil
	}
	if err := r.putRun(ctx); err != nil {
		return err
	}
	lines := r.log.lines
	if len(lines) == 0 {
		return nil
	}
	first := min(r.log.count, maxLines) - len(lines)
	if err := r.cfg.Ledger.PutLines(ctx, r.rec.ID, first, lines...); err != nil {
		return ledgerError(err)
	}
	r.log.lines = nil
	return nil
}
