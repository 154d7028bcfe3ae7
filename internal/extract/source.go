package extract

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

const (
	window       = 16 << 10
	maxDelimiter = 1 << 10 // longest line taken for a delimiter; RFC 2046 allows 70 octets of boundary
)

// level is an open multipart, or, without a boundary, an opened message.
type level struct {
	boundary    string
	contentType string
	id          int // its place among all multiparts of the message
}

// cut is a delimiter line: it ends a part of the multipart at that depth.
type cut struct {
	depth   int
	closing bool
	length  int // octets of the line
}

// source reads the message through one window, by lines in headers and by stretches
// in bodies. One stack of boundaries instead of nested readers keeps a thousand
// levels from costing a thousand copies, and lets an outer boundary end inner parts
// that were never closed.
type source struct {
	r       io.Reader
	buf     []byte
	at, end int   // buf[at:end] is read and not consumed
	err     error // the reader's, once it came
	size    int64
	limits  Limits

	newLine bool // a line begins at buf[at]
	stack   []level
	ended   bool // a delimiter ended the part
	cut     cut  // that delimiter
}

func newSource(r io.Reader, buf []byte, limits Limits) *source {
	return &source{r: r, buf: buf, limits: limits, newLine: true}
}

func (s *source) seen() []byte { return s.buf[s.at:s.end] }

// fill sees more of the message; false: there is no more, for the reason in s.err,
// or no room.
func (s *source) fill() bool {
	if s.at == s.end || s.end == len(s.buf) {
		s.end = copy(s.buf, s.seen())
		s.at = 0
	}
	for range 100 {
		if s.err != nil || s.end == len(s.buf) {
			return false
		}
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		s.size += int64(n)
		if s.err = err; s.size > s.limits.Size {
			s.err = tooMuch("more than %d octets", s.limits.Size)
			return false
		}
		if n > 0 {
			return true
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// line returns a line with its end, or a piece of an over-long one; first says
// whether it begins a line. It is valid until the next call.
func (s *source) line() (fragment []byte, first bool, err error) {
	first = s.newLine
	for {
		if i := bytes.IndexByte(s.seen(), '\n'); i >= 0 {
			fragment = s.seen()[:i+1]
			s.newLine = true
			break
		}
		if s.fill() {
			continue
		}
		fragment = s.seen()
		if s.err != nil && (len(fragment) == 0 || !errors.Is(s.err, io.EOF)) {
			return nil, first, s.err
		}
		s.newLine = false
		break
	}
	s.at += len(fragment)
	return fragment, first, nil
}

// ahead sees at least n octets, if there are as many.
func (s *source) ahead(n int) []byte {
	for len(s.seen()) < n && s.fill() {
	}
	return s.seen()
}

// delimiter looks for a delimiter in the line that begins skip octets ahead.
func (s *source) delimiter(skip int) (cut, bool) {
	if len(s.stack) == 0 {
		return cut{}, false
	}
	if line := s.ahead(skip + 2); len(line) < skip+2 || string(line[skip:skip+2]) != "--" {
		return cut{}, false
	}
	line := s.seen()[skip:]
	i := bytes.IndexByte(line, '\n')
	for i < 0 && len(line) < maxDelimiter && s.fill() {
		line = s.seen()[skip:]
		i = bytes.IndexByte(line, '\n')
	}
	if i < 0 {
		i = len(line) - 1 // the message ends here, or the line is too long
	}
	if line = line[:i+1]; len(line) > maxDelimiter || len(line) == maxDelimiter && line[i] != '\n' {
		return cut{}, false
	}
	return s.match(line)
}

// match compares a line with the open boundaries, innermost first.
func (s *source) match(line []byte) (cut, bool) {
	word := string(bytes.TrimRight(line[2:], " \t\r\n"))
	for i := len(s.stack) - 1; i >= 0; i-- {
		b := s.stack[i].boundary
		switch {
		case b == "":
		case word == b:
			return cut{i, false, len(line)}, true
		case len(word) == len(b)+2 && strings.HasPrefix(word, b) && word[len(b):] == "--":
			return cut{i, true, len(line)}, true
		}
	}
	return cut{}, false
}

// finish ends the part with the delimiter line that comes next.
func (s *source) finish(c cut) {
	s.at += c.length
	s.ended, s.cut, s.newLine = true, c, true
}

// next returns the next stretch of the part, and io.EOF at its end. The line end
// before a delimiter belongs to the delimiter (RFC 2046 §5.1.1), so a stretch stops
// in front of every line end that a delimiter might follow. It is valid until the
// next call.
func (s *source) next() ([]byte, error) {
	for !s.ended {
		skip := 0
		if !s.newLine {
			skip = lineEnd(s.seen())
		}
		if s.newLine || skip > 0 {
			if c, ok := s.delimiter(skip); ok {
				s.at += skip
				s.finish(c)
				break
			}
		}
		s.newLine = false
		if stretch := s.stretch(skip); stretch > 0 {
			p := s.seen()[:stretch]
			s.at += stretch
			return p, nil
		}
		if lineEnd(s.seen()) > 0 || s.fill() {
			continue
		}
		if p := s.seen(); len(p) > 0 && errors.Is(s.err, io.EOF) {
			s.at = s.end
			return p, nil
		}
		return nil, s.err
	}
	return nil, io.EOF
}

// stretch says how much of what is seen is content for certain; a line end within
// the first skip octets was looked at.
func (s *source) stretch(skip int) int {
	p := s.seen()
	if len(s.stack) == 0 {
		return len(p)
	}
	end := len(p)
	if i := bytes.Index(p[min(skip, end):], []byte("\n--")); i >= 0 {
		end = skip + i
	} else {
		end -= len(p) - len(bytes.TrimSuffix(p, []byte("-")))
		if end > skip && p[end-1] == '\n' {
			end--
		} else {
			end = len(p)
		}
	}
	if end > skip && p[end-1] == '\r' {
		end--
	}
	return end
}

// lineEnd is the length of the line end that p begins with.
func lineEnd(p []byte) int {
	switch {
	case bytes.HasPrefix(p, []byte("\n")):
		return 1
	case bytes.HasPrefix(p, []byte("\r\n")):
		return 2
	}
	return 0
}
