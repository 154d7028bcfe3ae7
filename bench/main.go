// Command bench measures Postern side by side with a real peer, rounds in turn,
// and ends with one line per figure:
//
//	figure NAME median min max unit
//
// Ratios have the unit x. The same goes to bench/results/NAME.json. Loads are
// bounded in count and time and stay on loopback.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

type benchmark func(ctx context.Context, b *bench) error

func benchmarks() map[string]benchmark {
	return map[string]benchmark{"start": benchStart, "relay": benchRelay, "fetch": benchFetch, "million": benchMillion, "pages": benchPages, "bridge": benchBridge}
}

func main() {
	all := benchmarks()
	if len(os.Args) != 2 || all[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "make bench NAME=…; there are:", slices.Sorted(maps.Keys(all)))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], all[os.Args[1]]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, f benchmark) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	work, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b := &bench{Name: name, Started: time.Now().UTC(), CPUs: runtime.NumCPU(), Go: runtime.Version(), work: work, binary: filepath.Join(work, "postern")}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, "./cmd/postern")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := f(ctx, b); err != nil {
		return err
	}
	return b.report()
}

// bench collects samples under names.
type bench struct {
	Name    string    `json:"name"`
	Started time.Time `json:"started"`
	CPUs    int       `json:"cpus"`
	Go      string    `json:"go"`
	Notes   []string  `json:"notes,omitempty"`
	Figures []*figure `json:"figures"`

	work, binary string
}

type figure struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Samples []float64 `json:"samples"`
}

// add records one sample of one round.
func (b *bench) add(name, unit string, v float64) {
	for _, f := range b.Figures {
		if f.Name == name {
			f.Samples = append(f.Samples, v)
			return
		}
	}
	b.Figures = append(b.Figures, &figure{Name: name, Unit: unit, Samples: []float64{v}})
}

func (b *bench) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	b.Notes = append(b.Notes, s)
	fmt.Println("note:", s)
}

func (b *bench) report() error {
	for _, f := range b.Figures {
		s := slices.Sorted(slices.Values(f.Samples))
		f.Min, f.Max, f.Median = s[0], s[len(s)-1], s[len(s)/2]
		if len(s)%2 == 0 {
			f.Median = (s[len(s)/2-1] + s[len(s)/2]) / 2
		}
		fmt.Printf("figure %s %.4g %.4g %.4g %s\n", f.Name, f.Median, f.Min, f.Max, f.Unit)
	}
	if err := os.MkdirAll("bench/results", 0o750); err != nil {
		return err
	}
	out, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("bench/results", b.Name+".json"), append(out, '\n'), 0o600)
}
