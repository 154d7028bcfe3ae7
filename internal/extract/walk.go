package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// walker goes through the tree of parts.
type walker struct {
	*Extractor // the buffers
	*source
	take func(Part, io.Reader) error

	head     header // of the message
	multis   int    // multiparts begun
	behind   bool   // the outermost multipart was closed
	parts    int    // parts begun
	leaves   int
	expanded int64
	bodies   bodies
	warnings []string
}

// sniffed is how much of a part is looked at before it is given away: enough for
// its type, and for the subject of most messages within.
const sniffed = 8 << 10

func (w *walker) warn(format string, args ...any) {
	const enough = 20
	if len(w.warnings) < enough {
		w.warnings = append(w.warnings, fmt.Sprintf(format, args...))
	}
}

// warnPart is a warning about the current leaf.
func (w *walker) warnPart(format string, args ...any) {
	w.warn("part %d: "+format, append([]any{w.leaves}, args...)...)
}

// message walks all of it: each turn begins where a delimiter ended a part.
func (w *walker) message() error {
	h, err := w.readHeader(true)
	w.head = h
	if err == nil {
		err = w.enter(h)
	}
	for err == nil {
		if err = w.skip(); err != nil {
			return err
		}
		if !w.ended {
			if slices.ContainsFunc(w.stack, func(l level) bool { return l.boundary != "" }) {
				w.warn("the message ends before its last part does")
			}
			return nil
		}
		c := w.cut
		w.ended = false
		if c.closing {
			w.stack = w.stack[:c.depth]
			w.behind = c.depth == 0
			continue
		}
		w.stack = w.stack[:c.depth+1]
		if h, err = w.readHeader(false); err == nil {
			err = w.enter(h)
		}
	}
	return err
}

// skip goes to the end of the part.
func (w *walker) skip() error {
	for {
		p, err := w.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if w.behind && len(bytes.TrimSpace(p)) > 0 {
			w.behind = false
			w.warn("what stands behind the last part was left out")
		}
	}
}

// readHeader reads to the blank line, or to what shows that there is none. Junk
// before the first field of a message is an mbox line or the like.
func (w *walker) readHeader(message bool) (header, error) {
	h := header{warn: w.warn}
	for size := 0; ; {
		if w.newLine {
			if c, ok := w.delimiter(0); ok {
				w.finish(c)
				return h, nil
			}
			if (h.started || !message) && w.headerEnds(h.started) {
				w.warn("a blank line is missing behind a header")
				return h, nil
			}
		}
		fragment, first, err := w.line()
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil || first && len(bytes.TrimRight(fragment, "\r\n")) == 0 {
			return h, err
		}
		if size += len(fragment); size > w.limits.Header {
			return h, tooMuch("a header of more than %d octets", w.limits.Header)
		}
		h.add(fragment, first)
	}
}

// headerEnds reports a line that is none of a header, and that is not just a broken
// one among others. Whoever forgot the blank line goes on with content.
func (w *walker) headerEnds(tolerant bool) bool {
	const enough = 256                                                 // longer names no field has
	upTo := func(b []byte, n int) []byte { return b[:min(len(b), n)] } // however much came at once
	line, _, _ := bytes.Cut(upTo(w.ahead(enough), enough), []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 || line[0] == ' ' || line[0] == '\t' || isField(line) {
		return false
	}
	if !tolerant {
		return true
	}
	_, rest, whole := bytes.Cut(upTo(w.ahead(window/2), window/2), []byte("\n"))
	rest = upTo(rest, enough)
	return whole && lineEnd(rest) == 0 && len(rest) > 0 && !isField(rest) && rest[0] != ' ' && rest[0] != '\t'
}

// enter begins what a header announces.
func (w *walker) enter(h header) error {
	if w.parts++; w.parts > w.limits.Parts {
		return tooMuch("more than %d parts", w.limits.Parts)
	}
	l, boundary := w.describe(h)
	if strings.HasPrefix(l.ContentType, "multipart/") {
		if boundary != "" {
			return w.push(level{boundary: boundary, contentType: l.ContentType})
		}
		w.warn("a multipart has no boundary; it is kept as one file")
	}
	if isMessage(l.ContentType) && w.mayOpen(l) {
		return w.open(l)
	}
	return w.leaf(l)
}

func (w *walker) push(l level) error {
	if len(w.stack) >= w.limits.Depth {
		return tooMuch("more than %d multiparts within each other", w.limits.Depth)
	}
	w.multis++
	l.id = w.multis
	w.stack = append(w.stack, l)
	return nil
}

// mayOpen reports whether a message within is walked through. One that is encoded,
// which RFC 2046 §5.2.1 forbids, is kept.
func (w *walker) mayOpen(l leaf) bool {
	return w.opened() < w.limits.Open && isIdentity(l.encoding)
}

// opened is how many messages are open.
func (w *walker) opened() int {
	n := 0
	for _, l := range w.stack {
		if l.boundary == "" {
			n++
		}
	}
	return n
}

func (w *walker) open(l leaf) error {
	if err := w.push(level{contentType: l.ContentType}); err != nil {
		return err
	}
	h, err := w.readHeader(true)
	if err != nil {
		return err
	}
	return w.enter(h)
}

// leaf gives one part away.
func (w *walker) leaf(l leaf) error {
	w.leaves++
	l.Index = w.leaves
	w.judge(&l)
	from := w.decoder(l.encoding)
	w.peek.Reset(from)
	head, err := w.peek.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	w.look(&l, head, from)
	b := &body{w: w, r: w.peek}
	var r io.Reader = b
	if l.Kind == BodyText || l.Kind == BodyHTML {
		r = w.asBody(l, head, b)
	}
	err = w.take(l.Part, r)
	switch {
	case w.err != nil && !errors.Is(w.err, io.EOF):
		return w.err // whatever take made of it
	case err == nil && b.err != nil:
		err = b.err
	case err == nil && r != io.Reader(b):
		err = w.complete(l, r)
	}
	b.w = nil
	if wrong := from.wrong(); wrong != "" {
		w.warnPart("%s", wrong)
	}
	return err
}

// look completes a part with what its content shows.
func (w *walker) look(l *leaf, head []byte, from decoder) {
	if u, ok := from.(*uuReader); ok && l.Name == "" {
		l.Name = plainText(u.name)
	}
	if isTNEF(head) {
		l.Detected = tnef
		w.warnPart("winmail.dat is kept as it is; what it holds is not unpacked")
		return
	}
	switch l.Kind {
	case Attachment, Report:
		l.Detected = detect(head)
	case Nested:
		l.Detected = "message/rfc822"
		if l.Name == "" {
			l.Name = subjectOf(head)
		}
	}
	switch l.ContentType {
	case "message/partial":
		w.warnPart("a piece of a message that was sent in several; the pieces are not joined")
	case "message/external-body":
		w.warnPart("the content is not here; the part only says where it was put")
	}
}

// body is a part's content on its way to take: counted, and dead once take returns.
type body struct {
	w   *walker
	r   io.Reader
	err error
}

func (b *body) Read(p []byte) (int, error) {
	if b.w == nil {
		return 0, errors.New("read of a part after its time")
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	if b.w.expanded += int64(n); b.w.expanded > b.w.limits.Expanded {
		b.err = tooMuch("more than %d octets come out of it", b.w.limits.Expanded)
		return 0, b.err
	}
	return n, err
}
