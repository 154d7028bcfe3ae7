package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
)

// wanted applies the rule: attachments, and inline parts if the task asks for them.
// Text without a name is the message itself, and what mail servers tell each other
// is for nobody to keep.
func wanted(p part, inline bool) bool {
	text := strings.HasPrefix(p.contentType, "text/")
	switch {
	case p.disposition == "attachment":
		return true
	case p.contentType == "message/delivery-status", p.contentType == "message/disposition-notification",
		p.contentType == "message/feedback-report", p.contentType == "text/rfc822-headers":
		return false
	case p.contentType == "message/rfc822":
		return true
	case p.disposition == "inline", p.disposition == "" && p.contentID && p.parent == "multipart/related":
		return inline && (p.filename != "" || !text)
	case p.disposition == "":
		return p.filename != "" || !text
	}
	return true // RFC 2183 §2.8: an unknown disposition is an attachment
}

// output receives one wanted part. After Close, file has its staging name (if it
// has one), size and digest.
type output interface {
	io.WriteCloser
	file() File
}

// harvest is what was taken out of one message.
type harvest struct {
	parts    []part
	outputs  []output
	header   header
	warnings []string
	size     int64
	digest   string
}

// files lists what was taken, as the message calls it.
func (h *harvest) files() []File {
	files := make([]File, 0, len(h.outputs))
	for i, o := range h.outputs {
		f := o.file()
		f.Original, f.ContentType = h.parts[i].filename, h.parts[i].contentType
		files = append(files, f)
	}
	return files
}

// reap streams one message through the walk; create opens an output for each wanted
// part. The harvest holds what was opened even when an error comes back.
func (r *run) reap(ctx context.Context, src Source, uidValidity uint32, uid string, create func() (output, error)) (*harvest, error) {
	h := new(harvest)
	var refusal error
	err := src.Bodies(ctx, uidValidity, []string{uid}, func(_ string, body io.Reader, err error) error {
		if err != nil {
			return err
		}
		m := &meter{r: body, limit: r.cfg.MaxMessage, hash: sha256.New()}
		err = h.collect(m, r.task.Inline, create)
		if errors.Is(err, errTooMuch) && !m.over {
			refusal = err
			_, err = io.Copy(io.Discard, m) // keeps the connection of use to the other messages
		}
		h.size, h.digest = m.n, hex.EncodeToString(m.hash.Sum(nil))
		return err
	})
	if refusal != nil {
		return h, refusal
	}
	return h, err
}

func (h *harvest) collect(body io.Reader, inline bool, create func() (output, error)) (err error) {
	h.header, h.warnings, err = walk(body, func(p part) (io.WriteCloser, error) {
		if !wanted(p, inline) {
			return nil, nil
		}
		if len(h.outputs) >= maxFiles {
			return nil, tooMuch("more than %d files", maxFiles)
		}
		out, err := create()
		if err != nil {
			return nil, err
		}
		h.parts, h.outputs = append(h.parts, p), append(h.outputs, out)
		return out, nil
	})
	return err
}

// meter counts, digests and bounds what is read of a message.
type meter struct {
	r     io.Reader
	n     int64
	limit int64
	over  bool
	hash  hash.Hash
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	_, _ = m.hash.Write(p[:n]) // never fails
	if m.n > m.limit {
		m.over = true
		return n, tooMuch("more than %d octets", m.limit)
	}
	return n, err
}

// measure is the output of a dry run: it counts and forgets.
type measure struct {
	hash hash.Hash
	size int64
}

func newMeasure() (output, error) { return &measure{hash: sha256.New()}, nil }

func (m *measure) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	return m.hash.Write(p)
}

func (m *measure) Close() error { return nil }

func (m *measure) file() File {
	return File{Size: m.size, SHA256: hex.EncodeToString(m.hash.Sum(nil))}
}
