package handover

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Vars are what templates are filled with. All of it comes from senders and servers: it
// is data, and never trusted.
type Vars struct {
	Task, Rule, Run, Account, Mailbox, Folder string
	UID                                       string
	UIDValidity                               uint32
	MessageID                                 string
	FromName, FromAddress                     string
	To, Cc, ReplyTo                           []string
	Subject                                   string
	DateSent                                  time.Time // zero: DateReceived
	DateReceived                              time.Time // in the zone that paths are to show
	Size                                      int64
	AttachmentCount                           int
	BodyText                                  string

	Filename       string // safe as a file name
	ContentType    string
	Index          int
	AttachmentSize int64
	SHA256         string
	SavedPath      string
}

// With returns v with the variables of a file.
func (v Vars) With(f File, safe SafeName) Vars {
	v.Filename, v.ContentType, v.Index = safe(f.Name, f.ContentType, f.Index), f.ContentType, f.Index
	v.AttachmentSize, v.SHA256, v.SavedPath = f.Size, f.SHA256, f.Path
	return v
}

// Sample is a message as they come, for previews.
func Sample() Vars {
	return Vars{
		Task: "invoices", Rule: "pdf", Run: "01k0run", Account: "scan", Mailbox: "scan@contoso.com", Folder: "INBOX",
		UID: "4711", UIDValidity: 12, MessageID: "<20260131.1@fabrikam.example>",
		FromName: "Ada Example", FromAddress: "ada@fabrikam.example", To: []string{"scan@contoso.com"},
		Subject: "Invoice 2026/017", DateSent: time.Date(2026, 1, 31, 9, 15, 0, 0, time.UTC), DateReceived: time.Date(2026, 1, 31, 9, 15, 30, 0, time.UTC),
		Size: 81234, AttachmentCount: 1, BodyText: "Please find the invoice attached.",
		Filename: "invoice 017.pdf", ContentType: "application/pdf", Index: 1, AttachmentSize: 60211,
		SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", SavedPath: "/var/lib/postern/spool/1/invoice 017.pdf",
	}
}

// Variables lists the names that templates know, in alphabetical order.
func Variables() []string {
	names := []string{
		"task", "rule", "run_id", "account", "mailbox", "folder", "uid", "uidvalidity", "message_id", "from_name", "from_address",
		"from_domain", "to", "cc", "reply_to", "subject", "date_sent", "date_received", "yyyy", "MM", "dd", "HH", "mm", "size",
		"attachment_count", "body_text", "filename", "basename", "ext", "index", "content_type", "attachment_size", "sha256", "saved_path",
	}
	slices.Sort(names)
	return names
}

// value is a variable's: a string, an int64, a time.Time, or nil for a name that is none.
func (v Vars) value(name string) any {
	switch name {
	case "date_sent":
		if v.DateSent.IsZero() {
			return v.DateReceived
		}
		return v.DateSent.In(v.DateReceived.Location())
	case "date_received", "yyyy", "MM", "dd", "HH", "mm":
		return v.DateReceived
	case "uidvalidity":
		return int64(v.UIDValidity)
	case "size":
		return v.Size
	case "attachment_count":
		return int64(v.AttachmentCount)
	case "index":
		return int64(v.Index)
	case "attachment_size":
		return v.AttachmentSize
	}
	if text := v.text(name); text != nil {
		return *text
	}
	return nil
}

// text is the value of a variable that is text, nil for a name that is none.
func (v Vars) text(name string) *string {
	ext := path.Ext(v.Filename)
	_, domain, _ := strings.Cut(v.FromAddress, "@")
	switch name {
	case "task":
		return &v.Task
	case "rule":
		return &v.Rule
	case "run_id":
		return &v.Run
	case "account":
		return &v.Account
	case "mailbox":
		return &v.Mailbox
	case "folder":
		return &v.Folder
	case "uid":
		return &v.UID
	case "message_id":
		return &v.MessageID
	case "from_name":
		return &v.FromName
	case "from_address":
		return &v.FromAddress
	case "from_domain":
		return &domain
	case "to":
		return new(strings.Join(v.To, ", "))
	case "cc":
		return new(strings.Join(v.Cc, ", "))
	case "reply_to":
		return new(strings.Join(v.ReplyTo, ", "))
	case "subject":
		return &v.Subject
	case "body_text":
		return &v.BodyText
	case "filename":
		return &v.Filename
	case "basename":
		return new(strings.TrimSuffix(v.Filename, ext))
	case "ext":
		return new(strings.TrimPrefix(ext, "."))
	case "content_type":
		return &v.ContentType
	case "sha256":
		return &v.SHA256
	case "saved_path":
		return &v.SavedPath
	}
	return nil
}
