package relay

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"strings"
)

// textual reads a message that was declared BINARYMIME (RFC 3030 §3) and hands on one
// that every server takes: parts whose Content-Transfer-Encoding is binary become
// base64, all else stays what it is. It holds no more in memory than the header of a
// part. A signature over a binary part does not survive that; whoever signs, signs what
// can travel.
type textual struct {
	in  *bufio.Reader
	out bytes.Buffer // converted, not yet handed out
	err error        // that ended in

	inBody bool
	fresh  bool     // the next octet of the body begins a line
	bounds []string // of the multiparts around here, the outermost first
	code   *lines76 // of the part at hand; nil when it stays as it is
	held   string   // the end of its last line, which is the delimiter's if one follows
}

const maxDepth = 100 // of multiparts; deeper ones are not looked into

func newTextual(r io.Reader) *textual { return &textual{in: bufio.NewReaderSize(r, 16<<10)} }

func (t *textual) Read(p []byte) (int, error) {
	for t.out.Len() == 0 && t.err == nil {
		if t.inBody {
			t.body()
		} else {
			t.err = t.header()
		}
	}
	if t.out.Len() == 0 {
		return 0, t.err
	}
	return t.out.Read(p)
}

// header reads that of the message or of a part, and decides what becomes of its body.
// One that goes over into the body without a blank line ends before the first line that
// is none of it; a part may end before its body begins.
func (t *textual) header() error {
	var fields, line []byte
	for {
		var err error
		line, err = readLine(t.in, maxHeader-len(fields))
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		folded := len(fields) > 0 && len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		if fieldName(line) == "" && !folded {
			break
		}
		fields = append(fields, line...)
	}
	kind, params, _ := mime.ParseMediaType(fieldValue(fields, "content-type"))
	binary := strings.EqualFold(fieldValue(fields, "content-transfer-encoding"), "binary")
	composite := strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/")
	t.inBody, t.fresh, t.code = true, true, nil
	switch {
	case binary && composite:
		fields = recoded(fields, "8bit")
	case binary:
		fields = recoded(fields, "base64")
		t.code = newLines76(&t.out)
	}
	t.out.Write(fields)
	if len(fields) > 0 && !bytes.HasSuffix(fields, []byte("\n")) { // nothing follows
		t.out.WriteString("\r\n")
	}
	blank := len(bytes.TrimRight(line, "\r\n")) == 0
	if blank && len(line) > 0 || t.code != nil {
		t.out.WriteString("\r\n")
	}
	switch boundary := params["boundary"]; {
	case strings.HasPrefix(kind, "multipart/") && boundary != "" && len(t.bounds) < maxDepth:
		t.bounds = append(t.bounds, "--"+boundary)
	case kind == "message/rfc822" || kind == "message/global":
		t.inBody = false
	}
	if !blank {
		t.inBody = true
		t.piece(line)
	}
	return nil
}

// recoded is a header with another Content-Transfer-Encoding.
func recoded(fields []byte, encoding string) []byte {
	return append(without(fields, "content-transfer-encoding"), "Content-Transfer-Encoding: "+encoding+"\r\n"...)
}

// fieldValue is the unfolded value of a header's first field of a name, "" without one.
func fieldValue(fields []byte, name string) string {
	var value []byte
	for line := range bytes.Lines(fields) {
		switch folded := line[0] == ' ' || line[0] == '\t'; {
		case folded && value != nil:
			value = append(value, bytes.TrimRight(line, "\r\n")...)
		case value != nil:
			return string(bytes.TrimSpace(value))
		case fieldName(line) == name:
			_, rest, _ := bytes.Cut(line, []byte(":"))
			value = append([]byte{' '}, bytes.TrimRight(rest, "\r\n")...)
		}
	}
	return string(bytes.TrimSpace(value))
}

// body reads a line, or a piece of a long one.
func (t *textual) body() {
	piece, err := t.in.ReadSlice('\n')
	t.piece(piece)
	if err == nil || errors.Is(err, bufio.ErrBufferFull) {
		return
	}
	t.err = err
	if t.code != nil {
		t.code.write([]byte(t.held))
		t.code.close()
		t.code = nil
	}
}

func (t *textual) piece(piece []byte) {
	depth, last := t.delimits(piece)
	t.fresh = bytes.HasSuffix(piece, []byte("\n"))
	switch {
	case depth > 0:
		if t.code != nil {
			t.code.close()
			t.code, t.held = nil, ""
		}
		t.out.Write(piece)
		t.inBody, t.bounds = last, t.bounds[:depth]
		if last {
			t.bounds = t.bounds[:depth-1]
		}
	case t.code == nil:
		t.out.Write(piece)
	case t.held == "\r" && string(piece) == "\n": // a line end in two pieces
		t.held = "\r\n"
	default:
		t.code.write([]byte(t.held))
		text := bytes.TrimSuffix(piece, []byte("\n"))
		text = bytes.TrimSuffix(text, []byte("\r"))
		t.held = string(piece[len(text):])
		t.code.write(text)
	}
}

// delimits says whose delimiter a line is, the outermost multipart's being 1, and
// whether it is the last one; 0 when it is none.
func (t *textual) delimits(line []byte) (depth int, last bool) {
	if !t.fresh || !bytes.HasPrefix(line, []byte("--")) {
		return 0, false
	}
	line = bytes.TrimRight(line, " \t\r\n")
	for i := len(t.bounds) - 1; i >= 0; i-- {
		switch rest, ok := bytes.CutPrefix(line, []byte(t.bounds[i])); {
		case ok && len(rest) == 0:
			return i + 1, false
		case ok && string(rest) == "--":
			return i + 1, true
		}
	}
	return 0, false
}

// lines76 writes base64 in lines of 76 letters (RFC 2045 §6.8).
type lines76 struct {
	encoder io.WriteCloser
	out     *bytes.Buffer
	column  int
}

func newLines76(out *bytes.Buffer) *lines76 {
	l := &lines76{out: out}
	l.encoder = base64.NewEncoder(base64.StdEncoding, l)
	return l
}

func (l *lines76) write(text []byte) { _, _ = l.encoder.Write(text) } // into memory

// close ends the last line.
func (l *lines76) close() {
	_ = l.encoder.Close()
	if l.column > 0 {
		l.out.WriteString("\r\n")
	}
}

// Write takes what the encoder made.
func (l *lines76) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 76-l.column)
		l.out.Write(rest[:n])
		rest = rest[n:]
		if l.column += n; l.column == 76 {
			l.out.WriteString("\r\n")
			l.column = 0
		}
	}
	return len(p), nil
}
