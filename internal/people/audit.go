package people

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"time"

	"postern/internal/secret"
)

// Deed is something that somebody did, for the audit log. Before and After are the
// record it changed, as JSON shows it; nil where there is none.
type Deed struct {
	Who, What, Subject, Detail string
	Before, After              any
}

// Line is a deed in the audit log. Before and After are JSON objects of the fields
// that differ, nil when none do; no secret stands in them.
type Line struct {
	ID      string          `json:"id"`
	At      time.Time       `json:"at"`
	Who     string          `json:"who"`
	What    string          `json:"what"`
	Subject string          `json:"subject"`
	Detail  string          `json:"detail,omitempty"`
	Before  json.RawMessage `json:"before,omitempty"`
	After   json.RawMessage `json:"after,omitempty"`
}

// Lines chooses lines of the audit log; its zero value chooses all of them.
type Lines struct {
	Who, What, Subject string    // parts of them
	Since, Until       time.Time // Until is no more in it
	Before             string    // the line to go on from
	Limit              int       // 0: 100
}

// Line is how a deed is written down. The store gives it its ID.
func (d Deed) Line(now time.Time) (Line, error) {
	before, after, err := differences(d.Before, d.After)
	return Line{At: now, Who: d.Who, What: d.What, Subject: d.Subject, Detail: d.Detail, Before: before, After: after}, err
}

// hush are the names of fields whose values are nobody's to read, however they are kept.
var hush = regexp.MustCompile(`(?i)(password|secret|hash|token|private|recovery|sealed|refresh|^key$|_key$|^certificate_?key$)`)

// differences are the fields of two records that are not the same, as two JSON
// objects. A nil record has none; when nothing differs both are nil.
func differences(before, after any) (was, is json.RawMessage, err error) {
	old, err := fields(before)
	if err != nil {
		return nil, nil, err
	}
	new, err := fields(after)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Collect(maps.Keys(old)) {
		if same, ok := new[name]; ok && bytes.Equal(same, old[name]) {
			delete(old, name)
			delete(new, name)
		}
	}
	for _, m := range []map[string]json.RawMessage{old, new} {
		for name, v := range m {
			m[name] = quieten(name, v)
		}
	}
	if was, err = object(old); err != nil {
		return nil, nil, err
	}
	is, err = object(new)
	return was, is, err
}

// fields takes a record apart by the names that JSON has for it. Times are told to the
// second: what differs by less is no change that somebody made.
func fields(record any) (map[string]json.RawMessage, error) {
	if record == nil {
		return nil, nil //nolint:nilnil // no record, no fields
	}
	b, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	var m map[string]json.RawMessage
	err = json.Unmarshal(b, &m)
	for name, v := range m {
		var at time.Time
		if at.UnmarshalJSON(v) == nil && !at.IsZero() {
			m[name] = json.RawMessage(at.UTC().Format(`"` + time.RFC3339 + `"`))
		}
	}
	return m, err
}

func object(m map[string]json.RawMessage) (json.RawMessage, error) {
	if len(m) == 0 {
		return nil, nil
	}
	return json.Marshal(m)
}

// quieten hides a value whose name says that it is secret, and such values within it.
func quieten(name string, v json.RawMessage) json.RawMessage {
	if hush.MatchString(name) {
		switch string(v) {
		case `null`, `""`, `false`, `true`, `0`: // that there is none is no secret
			return v
		}
		return json.RawMessage(`"` + secret.Redacted + `"`)
	}
	var inner map[string]json.RawMessage
	if json.Unmarshal(v, &inner) == nil && inner != nil {
		for n, w := range inner {
			inner[n] = quieten(n, w)
		}
		if b, err := json.Marshal(inner); err == nil {
			return b
		}
	}
	var list []json.RawMessage
	if json.Unmarshal(v, &list) == nil && list != nil {
		for i, w := range list {
			list[i] = quieten("", w)
		}
		if b, err := json.Marshal(list); err == nil {
			return b
		}
	}
	return v
}
