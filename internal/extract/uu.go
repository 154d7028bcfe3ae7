package extract

import (
	"bytes"
	"strings"
)

// uuReader decodes uuencoded parts, as old systems still send them: a begin line with
// mode and name, lines that count their octets, an end line.
type uuReader struct {
	lines
	name  string
	begun bool
	ended bool
	bad   bool
}

// maxUULine bounds a line; the format allows 63 characters' worth.
const maxUULine = 1 << 10

func (r *uuReader) Read(p []byte) (int, error) { return r.read(p, r.refill) }

func (r *uuReader) wrong() string {
	return complaint(r.bad, "not all of it is uuencoded; what is not was skipped")
}

func (r *uuReader) refill() {
	var raw []byte
	raw, r.err = r.src.next()
	r.buf = r.buf[:0]
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\n')
		if i < 0 {
			r.add(raw)
			break
		}
		r.add(raw[:i])
		r.decodeLine()
		raw = raw[i+1:]
	}
	if r.err != nil {
		r.decodeLine()
		r.bad = r.bad || !r.ended
	}
	r.out = r.buf
}

func (r *uuReader) add(p []byte) {
	if len(r.line)+len(p) > maxUULine {
		r.bad = true
		p = p[:maxUULine-len(r.line)]
	}
	r.line = append(r.line, p...)
}

func (r *uuReader) decodeLine() {
	line := bytes.TrimRight(r.line, "\r")
	r.line = r.line[:0]
	switch {
	case len(line) == 0 || r.ended:
	case !r.begun:
		var ok bool
		if r.name, ok = beginLine(string(line)); ok {
			r.begun = true
		}
	case string(line) == "end":
		r.ended = true
	default:
		r.decodeData(line)
	}
}

// beginLine reads "begin 644 name".
func beginLine(line string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(line, "begin ")
	mode, name, named := strings.Cut(rest, " ")
	if !ok || !named || len(mode) < 3 || len(mode) > 4 || strings.Trim(mode, "01234567") != "" {
		return "", false
	}
	return strings.TrimSpace(name), true
}

// decodeData decodes one line; blanks that were lost at its end count as zero.
func (r *uuReader) decodeData(line []byte) {
	want := int(line[0]-' ') & 0x3f
	text := line[1:]
	if line[0] < ' ' || line[0] > '`' || len(text) > (want+2)/3*4+2 {
		r.bad = true
		return
	}
	start := len(r.buf)
	for i := 0; len(r.buf)-start < want; i += 4 {
		var quad [4]byte
		for j := range quad {
			if i+j < len(text) {
				quad[j] = (text[i+j] - ' ') & 0x3f
			}
		}
		r.buf = append(r.buf, quad[0]<<2|quad[1]>>4, quad[1]<<4|quad[2]>>2, quad[2]<<6|quad[3])
	}
	r.buf = r.buf[:start+want]
}
