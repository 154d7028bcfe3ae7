package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"postern/internal/config"
)

// quiet is the least level of one-shot commands: they say what matters themselves.
const quiet = slog.LevelWarn

func newLogger(w io.Writer, format config.LogFormat, level slog.Level) *slog.Logger {
	text := format == "text" || format == "auto" && isTerminal(w)
	if text {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w)}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// writeLine writes JSON on one line, for what comes bit by bit.
func writeLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// table writes aligned columns.
func table(w io.Writer, head string, rows func(line func(cells ...string))) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	put := func(cells ...string) {
		for i, c := range cells {
			if i > 0 {
				_, _ = io.WriteString(tw, "\t")
			}
			_, _ = io.WriteString(tw, c)
		}
		_, _ = io.WriteString(tw, "\n")
	}
	put(head)
	rows(put)
	return tw.Flush()
}

// when shows a time as a person in front of this terminal reads it.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
