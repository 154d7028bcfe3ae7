package fetch

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
)

// parcel is a message on its way from the mailbox to its files' places.
type parcel struct {
	Entry
	save Take   // of the rule that takes it
	drop []File // staged and not wanted
	twin bool   // saved already, under another number
}

func (p *parcel) event() Event {
	return Event{UID: p.UID, Folder: p.Folder, MessageID: p.MessageID, From: p.From, Subject: p.Subject,
		State: p.State, Files: p.handed(), Reason: p.Reason}
}

// handed are an entry's files without its manifest and without what was dropped.
func (e Entry) handed() []File {
	var out []File
	for _, f := range e.Files {
		if f.Kind != List && !f.Dropped {
			out = append(out, f)
		}
	}
	return out
}

// delivery names the hand-over of an entry: the same on every try, and on every node.
func (e Entry) delivery() string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%s\x00%d\x00%s\x00%d", e.Task, e.Folder, e.UIDValidity, e.UID, e.Again)))
	return hex.EncodeToString(sum[:16])
}

// takenBy is the run that a delivery is of, whichever makes it: a name or a path with
// another one would be another file.
func (e Entry) takenBy() string { return cmp.Or(e.TakenBy, e.Run) }

// split takes a place apart again.
func split(place string) (mailbox, folder string) {
	mailbox, folder, _ = strings.Cut(place, "/")
	return mailbox, folder
}

// manifest describes an entry and its files.
func (t Task) manifest(e Entry) handover.Manifest {
	box, folder := split(e.Folder)
	m := handover.Manifest{
		Version: 1, Task: e.Task, Run: e.takenBy(), Account: t.Account, Mailbox: box, Folder: folder,
		UIDValidity: e.UIDValidity, UID: e.UID, MessageID: e.MessageID, Subject: e.Subject,
		From: e.Senders, To: e.To, Cc: e.Cc, ReplyTo: e.ReplyTo, Received: e.Arrived,
		Size: e.Size, SHA256: e.Digest, Files: []handover.ManifestFile{}, Warnings: e.Warnings,
	}
	if !e.Sent.IsZero() {
		m.Date = &e.Sent
	}
	for _, f := range e.handed() {
		m.Files = append(m.Files, handover.ManifestFile{Name: f.Name, Original: f.Original, ContentType: f.ContentType, Size: f.Size, SHA256: f.SHA256})
	}
	return m
}

// vars are what templates and targets are filled with.
func (t Task) vars(e Entry) handover.Vars {
	box, folder := split(e.Folder)
	received := e.Arrived
	if received.IsZero() {
		received = e.Sent
	}
	return handover.Vars{
		Task: e.Task, Rule: e.Rule, Run: e.takenBy(), Account: t.Account, Mailbox: box, Folder: folder, UID: e.UID,
		UIDValidity: e.UIDValidity, MessageID: e.MessageID, FromName: e.FromName, FromAddress: e.FromAddress,
		To: e.To, Cc: e.Cc, ReplyTo: e.ReplyTo, Subject: e.Subject, DateSent: e.Sent, DateReceived: received.In(t.zone()),
		Size: e.Size, AttachmentCount: len(e.handed()), BodyText: e.Body,
	}
}

// zone is the one that paths show times in.
func (t Task) zone() *time.Location {
	if zone, err := t.Schedule.location(); err == nil {
		return zone
	}
	return time.UTC
}

func handedFile(f File, at string) handover.File {
	return handover.File{Path: at, Name: f.Original, ContentType: f.ContentType, SHA256: f.SHA256, Size: f.Size, Index: f.Index}
}

// names keeps the promises of a directory: paths that files will get, in lower case,
// for not every file system tells case.
type names map[string]bool

// choose returns the first form of a wish that nobody has been promised, and, unless
// anything goes, that nothing is called yet.
func (n names) choose(dir, wish string, anything bool) string {
	folder, name := path.Split(wish)
	if folder != "" {
		folder = way(dir, path.Clean(folder)) + "/"
	}
	name = extract.Unique(name, func(s string) bool {
		return n[strings.ToLower(folder+s)] || !anything && exists(dir, filepath.FromSlash(folder+s))
	})
	n[strings.ToLower(folder+name)] = true
	return folder + name
}

// way is a folder's path in a directory, in which another name stands for a folder whose
// own a file has: another task may have saved it there, or another template.
func way(dir, folder string) string {
	made := ""
	for segment := range strings.SplitSeq(folder, "/") {
		made = path.Join(made, extract.Unique(segment, func(s string) bool {
			at := filepath.Join(dir, filepath.FromSlash(path.Join(made, s)))
			info, err := os.Stat(at)
			return err == nil && !info.IsDir() || err != nil && exists(at, "")
		}))
	}
	return made
}

// errClash marks a message whose file's name is taken, and that is not to be saved then.
var errClash = fmt.Errorf("a file of that name is there")

// name gives every file of a parcel its final path, as the task's template and clash
// rule have it, and adds the manifest when the rule saves one.
func (r *run) name(p *parcel, taken names) error {
	if r.clash() != "" && r.clash() != handover.ClashRename {
		taken = make(names) // messages that come at once clash like those that come one by one
	}
	vars := r.task.vars(p.Entry)
	anything := r.clash() == handover.ClashOverwrite || r.disk.private
	folder := ""
	for i := range p.Files {
		f := &p.Files[i]
		f.Index = i + 1
		wish, err := r.path.Make(vars.With(handedFile(*f, ""), safeName), safeName)
		if err != nil {
			return err
		}
		if folder == "" {
			folder, _ = path.Split(wish)
		}
		there := func() bool { return !r.disk.private && exists(r.disk.dir, filepath.FromSlash(wish)) }
		switch {
		case r.clash() == handover.ClashFail && there():
			return fault.New(fault.Conflict, "hand over", "%w: %s", errClash, wish)
		case r.clash() == handover.ClashSkip && there():
			f.Name, f.Dropped = wish, true
			p.drop = append(p.drop, *f)
			f.Staging = ""
			continue
		}
		f.Name = taken.choose(r.disk.dir, wish, anything)
	}
	if p.save.saves(List) {
		wish := folder + safeName(fmt.Sprintf("message-%d-%s", p.UIDValidity, p.UID), "", 0) + extract.ManifestSuffix
		p.Files = append(p.Files, File{Kind: List, Name: taken.choose(r.disk.dir, wish, false), ContentType: "application/json"})
	}
	return nil
}

// safeName is extract's, so that names mean the same everywhere.
func safeName(name, contentType string, n int) string { return extract.SafeName(name, contentType, n) }
