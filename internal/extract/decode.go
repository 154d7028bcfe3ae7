package extract

import (
	"bytes"
	"encoding/base64"
	"io"
	"slices"
	"strings"
)

// The transfer decodings (RFC 2045 §6). They take what senders really produce: what
// cannot be decoded is skipped or kept, never an error, and "bad" tells.

// stretches is what they read: a part, piece by piece; a piece is valid until the
// next is asked for.
type stretches interface{ next() ([]byte, error) }

// decoder reads what came of them; wrong says what was amiss in what was read, "" for
// nothing.
type decoder interface {
	io.Reader
	wrong() string
}

// isIdentity reports an encoding that changes nothing.
func isIdentity(encoding string) bool {
	switch encodingName(encoding) {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// encodingName takes "base-64" and "8-bit" for what they are meant to be.
func encodingName(s string) string {
	return strings.ReplaceAll(s, "-", "")
}

// decoder reads the current part, decoded.
func (w *walker) decoder(encoding string) decoder {
	switch encodingName(encoding) {
	case "base64":
		w.base64.reset(w.source)
		return w.base64
	case "quotedprintable":
		w.quoted.reset(w.source)
		return w.quoted
	case "xuuencode", "uuencode", "xuue", "uue":
		return &uuReader{lines: lines{src: w.source}}
	}
	if !isIdentity(encoding) {
		w.warnPart("unknown transfer encoding %.40q; kept as it came", encoding)
	}
	return &plainReader{src: w.source}
}

// plainReader reads stretches as they are.
type plainReader struct {
	src  stretches
	left []byte
}

func (r *plainReader) Read(p []byte) (n int, err error) {
	for len(r.left) == 0 {
		if r.left, err = r.src.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (r *plainReader) wrong() string { return "" }

const block = 8 << 10 // a multiple of 4

// base64Reader collects the lines of a block and decodes them at once; only a block
// that holds anything else is looked at octet by octet. It
// goes on after padding, for some senders encode line by line.
type base64Reader struct {
	src stretches
	raw []byte // of the part, not yet collected
	in  [block]byte
	n   int // collected in in
	buf [block / 4 * 3]byte
	out []byte // of buf, not yet read
	err error
	bad bool
	// padded: padding was met. What is not of the alphabet after that is no longer
	// of the part: a list server's footer, mostly. over: it was met.
	padded, over bool
}

func (r *base64Reader) reset(src stretches) {
	r.src, r.raw, r.n, r.out, r.err, r.bad = src, nil, 0, nil, nil, false
	r.padded, r.over = false, false
}

func (r *base64Reader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.out) == 0 {
			if r.err != nil {
				break
			}
			r.refill()
			continue
		}
		c := copy(p[n:], r.out)
		n += c
		r.out = r.out[c:]
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, r.err
}

func (r *base64Reader) wrong() string {
	return complaint(r.bad, "not all of it is base64; what is not was skipped")
}

func complaint(bad bool, words string) string {
	if bad {
		return words
	}
	return ""
}

// refill collects a block and decodes it.
func (r *base64Reader) refill() {
	for r.n < block && r.err == nil {
		if len(r.raw) == 0 {
			r.raw, r.err = r.src.next()
			continue
		}
		line := r.raw[:min(len(r.raw), block-r.n)]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		r.raw = r.raw[len(line):]
		r.n += copy(r.in[r.n:], trimLineEnd(line))
	}
	r.decode()
}

func trimLineEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

func (r *base64Reader) decode() {
	if r.over {
		r.n, r.out = 0, nil
		return
	}
	if r.err != nil {
		r.n = len(bytes.TrimRight(r.in[:r.n], "="))
	}
	whole := r.n &^ 3
	n, err := base64.RawStdEncoding.Decode(r.buf[:], r.in[:whole])
	if err != nil || n != whole/4*3 || slices.ContainsFunc(r.in[whole:r.n], func(c byte) bool { return !inAlphabet(c) }) {
		n, whole = r.decodeSlowly()
	}
	r.n = copy(r.in[:], r.in[whole:r.n])
	if r.err != nil && r.n > 0 { // a lone character at the end carries no octet
		if r.n == 1 {
			r.bad, r.n = true, 0
		}
		m, _ := base64.RawStdEncoding.Decode(r.buf[n:], r.in[:r.n])
		n += m
		r.n = 0
	}
	r.out = r.buf[:n]
}

func inAlphabet(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// decodeSlowly skips what is not of the alphabet, up to the padding. It keeps characters that are not
// four yet for the next block.
func (r *base64Reader) decodeSlowly() (decoded, used int) {
	var quad [4]byte
	have := 0
	for _, c := range r.in[:r.n] {
		switch {
		case inAlphabet(c):
			quad[have] = c
			if have++; have < 4 {
				continue
			}
		case c == '=':
			r.padded = true
			if have == 1 {
				r.bad = true
				have = 0
			}
		case c == ' ', c == '\t', c == '\r', c == '\n':
			continue
		case r.padded:
			r.bad, r.over = true, true
			return decoded, r.n
		default:
			r.bad = true
			continue
		}
		n, _ := base64.RawStdEncoding.Decode(r.buf[decoded:], quad[:have]) // stray bits are all that can be wrong
		decoded += n
		have = 0
	}
	used = r.n - have
	copy(r.in[used:r.n], quad[:have])
	return decoded, used
}

// lines is what decoders have that go line by line, a stretch at a time.
type lines struct {
	src  stretches
	line []byte // the beginning of a line whose end is not here yet
	buf  []byte
	out  []byte // of buf, not yet read
	err  error
}

// read hands out what was decoded; refill decodes the next stretch into out.
func (l *lines) read(p []byte, refill func()) (int, error) {
	for len(l.out) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		refill()
	}
	n := copy(p, l.out)
	l.out = l.out[n:]
	return n, nil
}

// quotedReader decodes line by line (RFC 2045 §6.7). Blanks at the end of a line
// were added on the way; an = there joins it with the next.
type quotedReader struct {
	lines
	bad bool
}

func (r *quotedReader) reset(src stretches) {
	*r = quotedReader{lines: lines{src: src, line: r.line[:0], buf: r.buf[:0]}}
}

func (r *quotedReader) Read(p []byte) (int, error) { return r.read(p, r.refill) }

func (r *quotedReader) wrong() string {
	return complaint(r.bad, "not all of it is quoted-printable; what is not was kept as it came")
}

// refill decodes all lines of one stretch.
func (r *quotedReader) refill() {
	var raw []byte
	raw, r.err = r.src.next()
	r.buf = r.buf[:0]
	for {
		i := bytes.IndexByte(raw, '\n')
		if i < 0 {
			break
		}
		line := raw[:i+1]
		if len(r.line) > 0 {
			r.line = append(r.line, line...)
			line = r.line
		}
		r.decodeLine(line)
		r.line = r.line[:0]
		raw = raw[i+1:]
	}
	r.line = append(r.line, raw...)
	r.trim()
	if r.err != nil {
		r.decodeLine(r.line)
		r.line = r.line[:0]
	}
	r.out = r.buf
}

// trim decodes the front of an over-long line, without cutting an escape in two.
func (r *quotedReader) trim() {
	if len(r.line) < block {
		return
	}
	text := bytes.TrimRight(r.line, " \t\r")
	cut := max(0, len(text)-2)
	for cut > 1 && (text[cut-1] == '=' || text[cut-2] == '=') {
		cut--
	}
	r.unescape(r.line[:cut])
	r.line = append(r.line[:0], r.line[cut:]...)
	if len(r.line) > 4*block { // blanks upon blanks
		r.unescape(r.line)
		r.line = r.line[:0]
	}
}

func (r *quotedReader) decodeLine(line []byte) {
	text := trimLineEnd(line)
	end := line[len(text):]
	text = bytes.TrimRight(text, " \t")
	if soft, ok := bytes.CutSuffix(text, []byte("=")); ok {
		text, end = soft, nil
	}
	r.unescape(text)
	r.buf = append(r.buf, end...)
}

func (r *quotedReader) unescape(text []byte) {
	var ok bool
	r.buf, ok = unhexPairs(r.buf, text, '=')
	r.bad = r.bad || !ok
}

// unhexPairs appends text, with a mark and two hexadecimal digits replaced by the
// octet they stand for. A mark that has no digits behind it is kept: not ok.
func unhexPairs(out, text []byte, mark byte) (_ []byte, ok bool) {
	ok = true
	for {
		i := bytes.IndexByte(text, mark)
		if i < 0 {
			return append(out, text...), ok
		}
		out = append(out, text[:i]...)
		text = text[i:]
		if len(text) > 2 {
			high, ok1 := unhex(text[1])
			low, ok2 := unhex(text[2])
			if ok1 && ok2 {
				out = append(out, high<<4|low)
				text = text[3:]
				continue
			}
		}
		ok = false
		out = append(out, mark)
		text = text[1:]
	}
}

func unhex(b byte) (byte, bool) {
	switch {
	case b >= '0' && b <= '9':
		return b - '0', true
	case b >= 'A' && b <= 'F':
		return b - 'A' + 10, true
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10, true
	}
	return 0, false
}
