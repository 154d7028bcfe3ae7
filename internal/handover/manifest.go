package handover

import (
	"encoding/json"
	"time"
)

// Manifest describes a message and the files that were taken out of it. It goes with
// them to every target; in a folder or a store it is put there last, so that whoever
// waits for *.manifest.json finds all files.
type Manifest struct {
	Version     int            `json:"version"` // 1
	Task        string         `json:"task"`
	Run         string         `json:"run"`
	Account     string         `json:"account"`
	Mailbox     string         `json:"mailbox,omitempty"`
	Folder      string         `json:"folder"`
	UIDValidity uint32         `json:"uid_validity"`
	UID         string         `json:"uid"` // over POP3 the UIDL
	MessageID   string         `json:"message_id"`
	From        []string       `json:"from"`
	To          []string       `json:"to"`
	Cc          []string       `json:"cc,omitempty"`
	ReplyTo     []string       `json:"reply_to,omitempty"`
	Subject     string         `json:"subject"`
	Date        *time.Time     `json:"date,omitempty"` // as the sender says
	Received    time.Time      `json:"received"`       // as the server says
	Size        int64          `json:"size"`           // octets of the whole message
	SHA256      string         `json:"sha256"`         // of the whole message, hex
	Files       []ManifestFile `json:"files"`
	Warnings    []string       `json:"warnings,omitempty"` // what was malformed
}

// ManifestFile is one file of a Manifest.
type ManifestFile struct {
	Name        string `json:"name"`     // the one it was given
	Original    string `json:"original"` // as the message called it
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"` // hex
}

// JSON is the manifest as it is handed over.
func (m Manifest) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// notice is what webhooks are sent and commands read: the manifest, and the files with
// where their content is.
type notice struct {
	Version  int             `json:"version"`  // 1
	Delivery string          `json:"delivery"` // the same on every try
	Test     bool            `json:"test,omitempty"`
	Manifest json.RawMessage `json:"manifest"` // null when there is none
	Files    []noticeFile    `json:"files"`
}

// noticeFile is a file of a notice.
type noticeFile struct {
	Name        string `json:"name"` // safe as a file name
	Original    string `json:"original"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	Path        string `json:"path,omitempty"` // for commands
	Part        string `json:"part,omitempty"` // in multipart requests: the field it is in
}

// notice makes the notice of a delivery.
func (d Delivery) notice(safe SafeName) notice {
	n := notice{Version: 1, Delivery: d.ID, Manifest: d.Manifest, Files: make([]noticeFile, 0, len(d.Files))}
	for i, f := range d.Files {
		v := d.Vars.With(f.at(i), safe)
		n.Files = append(n.Files, noticeFile{Name: v.Filename, Original: f.Name, ContentType: f.ContentType, Size: f.Size, SHA256: f.SHA256})
	}
	return n
}

// at gives a file that has no place in its message the one it has in the delivery.
func (f File) at(i int) File {
	if f.Index == 0 {
		f.Index = i + 1
	}
	return f
}
