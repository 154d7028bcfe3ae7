package fetch

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"postern/internal/fault"
)

// Mark is a place in a listing of the ledger, which goes from the newest entry to the
// oldest: that of an entry or, without a key, the one before all that changed earlier.
type Mark struct {
	Updated time.Time
	Key
}

// Mark is the place of an entry.
func (e Entry) Mark() Mark { return Mark{e.Updated, e.Key} }

// mark is how it is written.
type mark struct {
	At       int64  `json:"at"`
	Task     string `json:"t,omitempty"`
	Folder   string `json:"f,omitempty"`
	Validity uint32 `json:"v,omitempty"`
	UID      string `json:"u,omitempty"`
}

// String is what a [Filter] goes on after.
func (m Mark) String() string {
	b, _ := json.Marshal(mark{m.Updated.UnixMilli(), m.Task, m.Folder, m.UIDValidity, m.UID}) // it has no value that JSON has not
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseMark reads what String wrote.
func ParseMark(text string) (Mark, error) {
	var m mark
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return Mark{}, fault.New(fault.Invalid, "list messages", "%q is no place in the ledger", text).WithHint("give the next of the page before, or begin without after")
	}
	return Mark{time.UnixMilli(m.At).UTC(), Key{m.Task, m.Folder, m.Validity, m.UID}}, nil
}
