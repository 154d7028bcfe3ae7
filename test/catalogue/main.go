// Command catalogue has the simulated Microsoft make every known fault and looks whether
// `postern check` names each of them with its fix. It prints how many faults are known,
// how many could be provoked and the share named right, and ends with 1 below 100 %.
//
// It drives the check as the command does, through package app, and adds no explanation
// of its own. What cannot be provoked is listed with the reason.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "postern-catalogue-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	r, err := prove(ctx, dir)
	if err == nil {
		r.print(os.Stdout)
	}
	_ = os.RemoveAll(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || r.share() < 100 {
		os.Exit(1)
	}
}

// result is what came of all faults.
type result struct {
	entries, known, provoked int
	wrong                    []string // a fault, and what the check said of it
	unprovoked               []string // a fault, and why
}

// share is how many of the provoked faults were named right, in percent.
func (r result) share() float64 {
	if r.provoked == 0 {
		return 0
	}
	return 100 * float64(r.provoked-len(r.wrong)) / float64(r.provoked)
}

func (r result) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "known faults:     %d, in %d entries of the catalogue\n", r.known, r.entries)
	_, _ = fmt.Fprintf(w, "provoked:         %d in the simulated Microsoft\n", r.provoked)
	_, _ = fmt.Fprintf(w, "named with fix:   %d by postern check (%.1f %%; the goal is 100 %%)\n", r.provoked-len(r.wrong), r.share())
	for _, line := range r.wrong {
		_, _ = fmt.Fprintf(w, "  wrong: %s\n", line)
	}
	_, _ = fmt.Fprintf(w, "not provoked:     %d\n", len(r.unprovoked))
	for _, line := range r.unprovoked {
		_, _ = fmt.Fprintf(w, "  %s\n", line)
	}
}
