package fetch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"postern/internal/fault"
)

// errTooMuch marks a message beyond the bounds below. Trying again is of no use.
var errTooMuch = errors.New("beyond what a message may be")

// The bounds that keep hostile mail harmless. Honest mail stays far below.
const (
	maxHeader = 1 << 20 // octets of one header block
	maxDepth  = 100     // multiparts within multiparts
	maxParts  = 2000    // parts in all
	maxFiles  = 500     // files of one message
)

func tooMuch(format string, args ...any) error {
	return fault.New(fault.Permanent, "read message", "%w: %s", errTooMuch, fmt.Sprintf(format, args...))
}

// part is a leaf of the MIME tree.
type part struct {
	contentType string // lower case, without parameters
	disposition string // lower case; "" when absent
	filename    string // decoded, otherwise as the sender wrote it
	contentID   bool
	parent      string // the multipart it stands in; "" for the message itself
	encoding    string // lower case
}

// level is an open multipart.
type level struct {
	boundary    string
	contentType string
}

// walker reads a message in one pass and constant memory, whatever its shape. It
// reads like a patient clerk: what is malformed is a warning, not an error, since
// the mail cannot be sent back. It does not look into message/rfc822 parts.
//
// One stack of boundaries instead of nested readers keeps a thousand levels from
// costing a thousand copies, and lets an outer boundary end inner parts that were
// never closed.
type walker struct {
	r *bufio.Reader
	// open says where a part's decoded content goes; nil: nowhere.
	open func(part) (io.WriteCloser, error)

	stack    []level
	parts    int
	leaf     io.WriteCloser // decoder of the current part, or nil
	held     []byte         // a line end that may belong to the next boundary
	again    []byte         // a fragment to be read once more
	midLine  bool
	warnings []string
}

// walk reads the message and returns its header. An error is the reader's, open's,
// a writer's, or errTooMuch.
func walk(r io.Reader, open func(part) (io.WriteCloser, error)) (header, []string, error) {
	w := &walker{r: bufio.NewReaderSize(r, 32<<10), open: open}
	h, err := w.readHeader()
	if err == nil {
		err = w.enter(h)
	}
	if err == nil {
		err = w.body()
	}
	if w.leaf != nil {
		_ = w.leaf.Close() // err is set, and says more
	}
	return h, w.warnings, err
}

func (w *walker) warn(s string) {
	const enough = 20
	if len(w.warnings) < enough {
		w.warnings = append(w.warnings, s)
	}
}

// next returns a line with its end, or a piece of an over-long one; first says
// whether it begins a line. It is valid until the next call.
func (w *walker) next() (fragment []byte, first bool, err error) {
	if w.again != nil {
		fragment, w.again = w.again, nil
		return fragment, true, nil
	}
	first = !w.midLine
	fragment, err = w.r.ReadSlice('\n')
	w.midLine = errors.Is(err, bufio.ErrBufferFull)
	if w.midLine || errors.Is(err, io.EOF) && len(fragment) > 0 {
		err = nil
	}
	return fragment, first, err
}

func (w *walker) readHeader() (header, error) {
	var h header
	size := 0
	for {
		fragment, first, err := w.next()
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return h, err
		}
		if first {
			if len(bytes.TrimRight(fragment, "\r\n")) == 0 {
				return h, nil
			}
			if depth, _ := w.delimiter(fragment); depth >= 0 {
				w.again = bytes.Clone(fragment)
				return h, nil
			}
		}
		if size += len(fragment); size > maxHeader {
			return h, tooMuch("a header of more than %d octets", maxHeader)
		}
		h.add(fragment, first)
	}
}

// delimiter returns the index of the multipart a line delimits, -1 for none.
func (w *walker) delimiter(line []byte) (depth int, closing bool) {
	if len(w.stack) == 0 || !bytes.HasPrefix(line, []byte("--")) {
		return -1, false
	}
	word := string(bytes.TrimRight(line[2:], " \t\r\n"))
	for i := len(w.stack) - 1; i >= 0; i-- {
		switch b := w.stack[i].boundary; {
		case word == b:
			return i, false
		case len(word) == len(b)+2 && strings.HasPrefix(word, b) && word[len(b):] == "--":
			return i, true
		}
	}
	return -1, false
}

// enter begins what a header announces.
func (w *walker) enter(h header) error {
	if w.parts++; w.parts > maxParts {
		return tooMuch("more than %d parts", maxParts)
	}
	p, boundary := w.describe(h)
	if strings.HasPrefix(p.contentType, "multipart/") {
		if boundary != "" {
			if len(w.stack) >= maxDepth {
				return tooMuch("more than %d multiparts within each other", maxDepth)
			}
			w.stack = append(w.stack, level{boundary: boundary, contentType: p.contentType})
			return nil
		}
		w.warn("a multipart has no boundary; it is kept as one file")
	}
	sink, err := w.open(p)
	if err != nil || sink == nil {
		return err
	}
	decoder, known := decode(p.encoding, sink)
	if !known {
		w.warn(fmt.Sprintf("unknown transfer encoding %.40q; the part is kept as it came", p.encoding))
	}
	w.leaf = decoder
	return nil
}

func (w *walker) describe(h header) (p part, boundary string) {
	if n := len(w.stack); n > 0 {
		p.parent = w.stack[n-1].contentType
	}
	value, params := parseParams(h.get("Content-Type"))
	p.contentType = mediaType(value, p.parent)
	disposition, dparams := parseParams(h.get("Content-Disposition"))
	p.disposition = strings.ToLower(disposition)
	if p.filename = dparams["filename"]; p.filename == "" {
		p.filename = params["name"]
	}
	p.contentID = h.get("Content-Id") != ""
	encoding, _ := parseParams(h.get("Content-Transfer-Encoding"))
	p.encoding = strings.ToLower(encoding)
	return p, strings.TrimRight(params["boundary"], " \t")
}

// mediaType falls back to the defaults of RFC 2045 §5.2 and RFC 2046 §5.1.5.
func mediaType(value, parent string) string {
	t := strings.ToLower(value)
	major, minor, ok := strings.Cut(t, "/")
	switch {
	case ok && isToken(major) && isToken(minor):
		return t
	case t == "" && parent == "multipart/digest":
		return "message/rfc822"
	case t == "":
		return "text/plain"
	}
	return "application/octet-stream"
}

// isToken keeps what is no media type out of the ledger and the manifest.
func isToken(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?=`, r)
	})
}

// body reads everything behind the first header.
func (w *walker) body() error {
	for {
		fragment, first, err := w.next()
		if errors.Is(err, io.EOF) {
			if len(w.stack) > 0 {
				w.warn("the message ends before its last part does")
			}
			return w.endLeaf(true)
		}
		if err != nil {
			return err
		}
		if first {
			if depth, closing := w.delimiter(fragment); depth >= 0 {
				if err := w.cut(depth, closing); err != nil {
					return err
				}
				continue
			}
		}
		if err := w.content(fragment); err != nil {
			return err
		}
	}
}

// cut ends the current part, and begins the next unless the multipart is closed.
func (w *walker) cut(depth int, closing bool) error {
	if err := w.endLeaf(false); err != nil {
		return err
	}
	if closing {
		w.stack = w.stack[:depth]
		return nil
	}
	w.stack = w.stack[:depth+1]
	h, err := w.readHeader()
	if err != nil {
		return err
	}
	return w.enter(h)
}

// content passes a fragment on, but for its line end: the one before a boundary
// belongs to the boundary (RFC 2046 §5.1.1).
func (w *walker) content(fragment []byte) error {
	if w.leaf == nil {
		return nil
	}
	if string(w.held) == "\r" && string(fragment) == "\n" { // the buffer ended between the two
		w.held = append(w.held, '\n')
		return nil
	}
	text := bytes.TrimSuffix(fragment, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	if len(w.held) > 0 {
		if _, err := w.leaf.Write(w.held); err != nil {
			return err
		}
	}
	w.held = append(w.held[:0], fragment[len(text):]...)
	_, err := w.leaf.Write(text)
	return err
}

func (w *walker) endLeaf(keepLineEnd bool) error {
	leaf := w.leaf
	w.leaf = nil
	held := w.held
	w.held = w.held[:0]
	if leaf == nil {
		return nil
	}
	if keepLineEnd && len(held) > 0 {
		if _, err := leaf.Write(held); err != nil {
			return err
		}
	}
	return leaf.Close()
}
