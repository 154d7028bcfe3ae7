package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postern/internal/fault"
)

// Manifest is the JSON file that goes with a message's attachments. It gets its
// final name last, so whoever waits for *.manifest.json finds all files there.
type Manifest struct {
	Version     int        `json:"version"` // 1
	Task        string     `json:"task"`
	Run         string     `json:"run"`
	Account     string     `json:"account"`
	Folder      string     `json:"folder"`
	UIDValidity uint32     `json:"uid_validity"`
	UID         string     `json:"uid"`
	MessageID   string     `json:"message_id"`
	From        []string   `json:"from"`
	To          []string   `json:"to"`
	Subject     string     `json:"subject"`
	Date        *time.Time `json:"date,omitempty"` // as the sender says
	Received    time.Time  `json:"received"`       // as the server says
	Size        int64      `json:"size"`           // octets of the whole message
	SHA256      string     `json:"sha256"`         // of the whole message
	Files       []File     `json:"files"`
	Warnings    []string   `json:"warnings,omitempty"` // what was malformed
}

func (r *run) manifest(k Key, arrived time.Time, h *harvest) Manifest {
	m := Manifest{
		Version: 1, Task: r.task.Name, Run: r.rec.ID, Account: r.task.Account, Folder: r.task.Folder,
		UIDValidity: k.UIDValidity, UID: k.UID, Received: arrived,
		MessageID: h.header.text("Message-Id"), Subject: h.header.text("Subject"),
		From: h.header.addresses("From"), To: h.header.addresses("To"),
		Size: h.size, SHA256: h.digest, Warnings: h.warnings,
	}
	if date := h.header.date(); !date.IsZero() {
		m.Date = &date
	}
	return m
}

// write stages the manifest.
func (m Manifest) write(d disk, name string) (File, error) {
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return File{}, fault.Wrap(fault.Permanent, "write manifest", err)
	}
	out, err := d.create()
	if err != nil {
		return File{}, err
	}
	_, err = out.Write(append(body, '\n'))
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	f := out.file()
	f.Name, f.Original, f.ContentType = name, name, "application/json"
	return f, err
}

// readManifest reads back a manifest that is still staged.
func readManifest(d disk, f File) (Manifest, error) {
	var m Manifest
	b, err := os.ReadFile(f.Staging)
	if err != nil {
		return m, d.diskError("read staged manifest", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, d.diskError("read staged manifest", err)
	}
	return m, nil
}

// names keeps the promises of a directory: names that files will get, in lower
// case, for not every file system tells case.
type names map[string]bool

func (n names) choose(dir, wish string) string {
	name := unique(wish, func(s string) bool { return n[strings.ToLower(s)] || exists(dir, s) })
	n[strings.ToLower(name)] = true
	return name
}

// promise names the staged files, stages the manifest, makes all of it durable, and
// enters it in the ledger: from here on the message counts as ours to finish.
func (r *run) promise(ctx context.Context, e *Entry, files []File, m Manifest) error {
	taken := make(names)
	for i := range files {
		files[i].Name = taken.choose(r.disk.dir, safeName(files[i].Original, files[i].ContentType, i+1))
	}
	m.Files = files
	list, err := m.write(r.disk, taken.choose(r.disk.dir, fmt.Sprintf("message-%d-%s%s", e.UIDValidity, e.UID, manifestSuffix)))
	e.Files = append(files, list)
	if err == nil {
		err = r.disk.dropAnchor()
	}
	if err == nil {
		err = r.disk.sync(r.disk.dir)
	}
	if err != nil {
		discard(e.Files)
		return err
	}
	r.step("staging durable")
	e.State = Staged
	return r.put(ctx, e) // a failing ledger may have kept the promise: the files stay, to be finished or swept
}

// attachments are an entry's files without the manifest.
func (e Entry) attachments() []File { return e.Files[:max(0, len(e.Files)-1)] }

// finish gives every file of a staged entry its final name, the manifest last, and
// enters it as saved. It may be repeated from any point.
func (r *run) finish(ctx context.Context, e *Entry) error {
	last := len(e.Files) - 1
	for i := range e.Files {
		if i == last && last > 0 { // no manifest without its files, power cuts included
			if err := r.disk.sync(filepath.Dir(e.Files[i].Staging)); err != nil {
				return err
			}
		}
		if err := r.placeFile(ctx, e, i); err != nil {
			return err
		}
		r.step("renamed")
	}
	if last >= 0 {
		if err := r.disk.sync(filepath.Dir(e.Files[last].Staging)); err != nil {
			return err
		}
	}
	r.step("placed")
	e.State, e.Reason = Saved, ""
	return r.put(ctx, e)
}

func (r *run) placeFile(ctx context.Context, e *Entry, i int) error {
	const tries = 20 // each lost to somebody who made a file of that very name just now
	for range tries {
		became, err := r.disk.place(e.Files[i])
		if err != nil {
			return err
		}
		if became != nameTaken {
			return nil
		}
		if err := r.rename(ctx, e, i); err != nil {
			return err
		}
	}
	return r.disk.diskError("rename file", fmt.Errorf("%q and %d other names were taken", e.Files[i].Name, tries))
}

// rename promises another name for the i-th file: first a manifest that knows it,
// then the ledger.
func (r *run) rename(ctx context.Context, e *Entry, i int) error {
	last := len(e.Files) - 1
	dir := filepath.Dir(e.Files[i].Staging)
	taken := make(names)
	for _, f := range e.Files {
		taken[strings.ToLower(f.Name)] = true
	}
	files := append([]File(nil), e.Files...)
	wish := files[i].Original // the manifest's is ours already
	if i != last {
		wish = safeName(files[i].Original, files[i].ContentType, i+1)
	}
	files[i].Name = taken.choose(dir, wish)
	old := files[last]
	if i != last {
		m, err := readManifest(r.disk, old)
		if err != nil {
			return err
		}
		m.Files = files[:last]
		here := r.disk
		here.dir = dir
		files[last], err = m.write(here, old.Name)
		if err == nil {
			err = r.disk.sync(dir)
		}
		if err != nil {
			discard(files[last:])
			return err
		}
	}
	e.Files = files
	r.step("promised anew")
	if err := r.put(ctx, e); err != nil {
		return err
	}
	if files[last].Staging != old.Staging {
		discard([]File{old})
	}
	return nil
}

// put enters an entry in the ledger.
func (r *run) put(ctx context.Context, e *Entry) error {
	e.Run, e.Updated = r.rec.ID, r.cfg.Now()
	if err := r.cfg.Ledger.PutEntries(ctx, *e); err != nil {
		return ledgerError(err)
	}
	r.step(string(e.State))
	return nil
}
