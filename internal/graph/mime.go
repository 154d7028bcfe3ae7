package graph

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"github.com/emersion/go-message/charset"
	"github.com/emersion/go-message/textproto"

	"postern/internal/fault"
)

// Bounds that keep hostile mail harmless. Honest mail stays far below.
const (
	maxDepth = 50
	maxFiles = 250     // attachments of a draft
	maxText  = 1 << 20 // octets of text; what is longer becomes a file
)

// file is an attachment.
type file struct {
	name      string
	kind      string
	inline    bool
	contentID string
}

// walker takes a message apart in one pass. Its text is held in memory, each of its
// files is handed to attach as a stream.
type walker struct {
	src    *source
	attach func(f file, r io.Reader) error

	html, plain strings.Builder
	instead     int // how much HTML there was before the alternative we are in
	files       int
}

// fields is a header to look things up in.
type fields interface{ Get(name string) string }

// lookup lets a Letter be one.
type lookup struct{ *Letter }

func (l lookup) Get(name string) string { return l.get(strings.ToLower(name)) }

// message walks a letter.
func (w *walker) message(l *Letter) error {
	return w.entity(lookup{l}, l.body(), "", 0)
}

// text is the body of the draft: HTML where there is any, as mail programs prefer it, with
// the plain text in front that is not the same again. A draft has one body.
func (w *walker) text() itemBody {
	switch {
	case w.html.Len() == 0:
		return itemBody{"text", w.plain.String()}
	case w.plain.Len() == 0:
		return itemBody{"html", w.html.String()}
	}
	return itemBody{"html", "<pre>" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(w.plain.String()) + "</pre>" + w.html.String()}
}

// entity walks one part; parent is the multipart it stands in.
func (w *walker) entity(h fields, body io.Reader, parent string, depth int) error {
	kind, params := mediaType(h.Get("Content-Type"))
	if depth > maxDepth {
		return fault.New(fault.Permanent, "graph draft", "%w: it is nested more than %d deep", errMalformed, maxDepth)
	}
	switch {
	case kind == alternative && params["boundary"] != "":
		return w.alternative(params["boundary"], body, depth)
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		return w.multipart(kind, params["boundary"], body, depth)
	}
	f := fileOf(h, kind, params, parent)
	content := w.decoded(h.Get("Content-Transfer-Encoding"), body)
	attached := disposition(h) == "attachment"
	switch {
	case kind == "text/html" && !attached && (w.html.Len() == 0 || parent != alternative):
		return w.take(&w.html, f, content, params["charset"])
	case kind == "text/plain" && !attached && w.html.Len() == 0:
		return w.take(&w.plain, f, content, params["charset"])
	case kind == "text/plain" && parent == alternative && w.html.Len() > w.instead:
		return nil // the same again, for those who cannot show the other
	}
	return w.give(f, content)
}

const alternative = "multipart/alternative"

// alternative walks parts that all say the same. Their plain text is not wanted where they
// have HTML.
func (w *walker) alternative(boundary string, body io.Reader, depth int) error {
	around, before := w.instead, w.plain.String()
	w.instead = w.html.Len()
	err := w.multipart(alternative, boundary, body, depth)
	if w.html.Len() > w.instead {
		w.plain.Reset()
		w.plain.WriteString(before)
	}
	w.instead = around
	return err
}

// multipart walks the parts. One that is never closed ends with the message.
func (w *walker) multipart(kind, boundary string, body io.Reader, depth int) error {
	parts := textproto.NewMultipartReader(body, boundary)
	for {
		part, err := parts.NextPart()
		switch {
		case w.src.err != nil:
			return w.src.err
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fault.New(fault.Permanent, "graph draft", "%w: %w", errMalformed, err)
		}
		if err := w.entity(&part.Header, part, kind, depth+1); err != nil {
			return err
		}
	}
}

// take adds a part to the text, in UTF-8. One that is too long becomes a file.
func (w *walker) take(to *strings.Builder, f file, content io.Reader, set string) error {
	br := bufio.NewReaderSize(content, 1<<10)
	text, err := charset.Reader(set, br)
	if set == "" || err != nil {
		text = br
	}
	b, err := io.ReadAll(io.LimitReader(text, maxText+1))
	if w.src.err != nil {
		return w.src.err
	}
	if err != nil && len(b) == 0 {
		return nil // undecodable from the first octet on: there is nothing to show
	}
	if to.Len()+len(b) <= maxText {
		to.WriteString(strings.ToValidUTF8(string(b), "\uFFFD"))
		return nil
	}
	f.kind += "; charset=utf-8"
	return w.give(f, io.MultiReader(strings.NewReader(string(b)), text))
}

// give hands a file on.
func (w *walker) give(f file, content io.Reader) error {
	if w.files++; w.files > maxFiles {
		return fault.New(fault.Permanent, "graph draft", "%w: it has more than %d attachments", errMalformed, maxFiles)
	}
	if f.name == "" {
		f.name = fmt.Sprintf("attachment-%d%s", w.files, extension(f.kind))
	}
	return w.attach(f, content)
}

// extension suits a kind; of several it is the one people know.
func extension(kind string) string {
	switch kind {
	case "message/rfc822":
		return ".eml"
	case "text/plain":
		return ".txt"
	case "text/html":
		return ".html"
	case "text/calendar":
		return ".ics"
	case "image/jpeg":
		return ".jpg"
	}
	if all, err := mime.ExtensionsByType(kind); err == nil && len(all) > 0 {
		return all[0]
	}
	return ""
}

// decoded undoes a transfer encoding. What is broken in it, or never closed, ends the
// part there, as mail programs show it; a message that cannot be read is an error.
func (w *walker) decoded(encoding string, r io.Reader) io.Reader {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, &alphabet{r: r})
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	}
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if err != nil && w.src.err == nil {
			err = io.EOF
		}
		return n, err
	})
}

// alphabet drops what is no base64, which RFC 2045 §6.8 asks of readers.
type alphabet struct{ r io.Reader }

func (a *alphabet) Read(p []byte) (int, error) {
	for {
		n, err := a.r.Read(p)
		kept := p[:0]
		for _, c := range p[:n] {
			if c == '+' || c == '/' || c == '=' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
				kept = append(kept, c)
			}
		}
		if len(kept) > 0 || err != nil || len(p) == 0 {
			return len(kept), err
		}
	}
}

func mediaType(value string) (kind string, params map[string]string) {
	kind, params, err := mime.ParseMediaType(value)
	if err != nil && kind == "" {
		return "text/plain", nil // RFC 2045 §5.2
	}
	return kind, params
}

func disposition(h fields) string {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err != nil && kind == "" {
		return ""
	}
	return kind
}

// fileOf is a part as an attachment.
func fileOf(h fields, kind string, params map[string]string, parent string) file {
	f := file{kind: kind, contentID: strings.Trim(strings.TrimSpace(h.Get("Content-ID")), "<>")}
	_, more, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err == nil {
		f.name = more["filename"]
	}
	if f.name == "" {
		f.name = params["name"]
	}
	f.name = clip(decode(f.name), 200)
	f.inline = f.contentID != "" && (disposition(h) == "inline" || parent == "multipart/related")
	return f
}
