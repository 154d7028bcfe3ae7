package web

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/people"
)

const (
	auditPath  = "/audit"
	auditRows  = 50
	auditAhead = 1000 // lines that a download reads at once
)

func (s *Server) auditPlaces() []place {
	return []place{
		{"GET " + auditPath, admin, s.audit},
		{"GET " + auditPath + "/download", admin, s.downloadAudit},
	}
}

// auditPage is a part of the audit log.
type auditPage struct {
	sheet
	Form  form
	Lines []auditLine
	Older string // address of the page after this one; "" on the last
	CSV   string
	JSON  string
}

// auditLine is a line, with the fields it changed one by one.
type auditLine struct {
	people.Line
	Changes []fieldChange
}

type fieldChange struct{ Field, Before, After string }

// changes puts the fields of before and after side by side.
func changes(l people.Line) []fieldChange {
	before, after := members(l.Before), members(l.After)
	names := slices.Sorted(maps.Keys(before))
	for _, n := range slices.Sorted(maps.Keys(after)) {
		if _, had := before[n]; !had {
			names = append(names, n)
		}
	}
	out := make([]fieldChange, len(names))
	for i, n := range names {
		out[i] = fieldChange{strings.ReplaceAll(n, "_", " "), before[n], after[n]}
	}
	return out
}

// members are the fields of a JSON object as people read them.
func members(object json.RawMessage) map[string]string {
	var m map[string]json.RawMessage
	if json.Unmarshal(object, &m) != nil {
		return nil
	}
	words := make(map[string]string, len(m))
	for name, v := range m {
		var text string
		if json.Unmarshal(v, &text) != nil {
			var b bytes.Buffer
			_ = json.Compact(&b, v) // what was read as JSON a moment ago is JSON
			text = b.String()
		}
		words[name] = text
	}
	return words
}

// auditFilter reads what part of the log is wanted. Days are UTC, the last one whole.
func auditFilter(f form) people.Lines {
	l := people.Lines{Who: f.Get("who"), What: f.Get("what"), Subject: f.Get("subject"), Before: f.Get("before")}
	day := func(name string) time.Time {
		text := f.Get(name)
		if text == "" {
			return time.Time{}
		}
		at, err := time.Parse(time.DateOnly, text)
		if err != nil {
			f.wrong(name, "Write the day as 2026-11-21.")
		}
		return at
	}
	l.Since, l.Until = day("since"), day("until")
	if !l.Until.IsZero() {
		l.Until = l.Until.AddDate(0, 0, 1)
	}
	return l
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request) {
	f := blank(r.URL.Query())
	filter := auditFilter(f)
	filter.Limit = auditRows + 1
	p := auditPage{sheet: s.sheet(w, r, "Audit log", auditPath), Form: f}
	if !f.good() {
		s.show(w, r, http.StatusUnprocessableEntity, "audit.html", p)
		return
	}
	ctx, cancel := s.brief(r)
	defer cancel()
	lines, err := s.Audits(ctx, filter)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The audit log could not be looked up.")
	}
	with := func(path, name, value string) string {
		q := url.Values{}
		for _, k := range []string{"who", "what", "subject", "since", "until"} {
			if v := f.Get(k); v != "" {
				q.Set(k, v)
			}
		}
		q.Set(name, value)
		return path + "?" + q.Encode()
	}
	if len(lines) > auditRows {
		lines = lines[:auditRows]
		p.Older = with(auditPath, "before", lines[auditRows-1].ID)
	}
	for _, l := range lines {
		p.Lines = append(p.Lines, auditLine{l, changes(l)})
	}
	p.CSV, p.JSON = with(auditPath+"/download", "as", "csv"), with(auditPath+"/download", "as", "json")
	s.show(w, r, http.StatusOK, "audit.html", p)
}

// downloadAudit sends all lines that the filter means, as they come.
func (s *Server) downloadAudit(w http.ResponseWriter, r *http.Request) {
	f := blank(r.URL.Query())
	filter := auditFilter(f)
	if !f.good() {
		http.Error(w, "write days as 2026-11-21", http.StatusUnprocessableEntity)
		return
	}
	filter.Limit = auditAhead
	lines, err := s.Audits(r.Context(), filter)
	if err != nil {
		s.failLookup(w, r, err)
		return
	}
	name, kind, put := "audit.csv", "text/csv; charset=utf-8", asCSV
	if f.Get("as") == "json" {
		name, kind, put = "audit.jsonl", "application/jsonl", asJSON
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	control := http.NewResponseController(w)
	for first := true; err == nil; first = false {
		_ = control.SetWriteDeadline(time.Now().Add(time.Minute)) // as long as it moves
		if err = put(w, lines, first); err != nil || len(lines) < auditAhead {
			break
		}
		filter.Before = lines[len(lines)-1].ID
		lines, err = s.Audits(r.Context(), filter)
	}
	if err != nil { // half of it was sent: only a broken connection says so
		s.Log.WarnContext(r.Context(), "a download of the audit log broke off", "error", err)
		panic(http.ErrAbortHandler)
	}
}

func asJSON(w http.ResponseWriter, lines []people.Line, _ bool) error {
	enc := json.NewEncoder(w)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

func asCSV(w http.ResponseWriter, lines []people.Line, first bool) error {
	out := csv.NewWriter(w)
	if first {
		_ = out.Write([]string{"id", "at", "who", "what", "subject", "detail", "before", "after"}) // Error tells
	}
	for _, l := range lines {
		row := []string{l.ID, l.At.UTC().Format(time.RFC3339), l.Who, l.What, l.Subject, l.Detail, string(l.Before), string(l.After)}
		for i, cell := range row {
			if strings.HasPrefix(cell, "=") || strings.HasPrefix(cell, "+") || strings.HasPrefix(cell, "-") || strings.HasPrefix(cell, "@") {
				row[i] = "'" + cell // a spreadsheet must not take it for a formula
			}
		}
		_ = out.Write(row)
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("send the audit log: %w", err)
	}
	return nil
}
