package door

import (
	"bufio"
	"bytes"
	"io"
)

// content is a message behind DATA. It ends at CR LF . CR LF and nowhere else; the
// dots that lines were stuffed with are taken off (RFC 5321 §4.5.2). Other line ends
// stay what they are: the relay makes them CRLF, so that nobody further on can see an
// end where there was none.
//
// go-smtp's own reader goes octet by octet, and takes CR CR LF for no line end.
type content struct {
	in  *bufio.Reader
	at  place
	err error // io.EOF behind the end
}

// place is where in a line the reader stands.
type place int

const (
	lineStart place = iota
	afterDot        // that began the line, and is not handed out
	afterDotCR
	inLine
	afterCR
)

func (c *content) Read(p []byte) (int, error) {
	for c.err == nil && len(p) > 0 {
		if _, err := c.in.Peek(1); err != nil {
			c.err = err
			break
		}
		in, _ := c.in.Peek(c.in.Buffered())
		n, used := c.unstuff(p, in)
		_, _ = c.in.Discard(used)
		if n > 0 {
			return n, nil
		}
	}
	return 0, c.err
}

// unstuff moves content from in to p and says how much it wrote and used.
func (c *content) unstuff(p, in []byte) (n, used int) {
	for n < len(p) && used < len(in) {
		first := in[used]
		switch {
		case c.at == lineStart && first == '.':
			c.at = afterDot
			used++
			continue
		case c.at == afterDot && first == '\r':
			c.at = afterDotCR
			used++
			continue
		case c.at == afterDotCR && first == '\n':
			c.err = io.EOF
			return n, used + 1
		case c.at == afterDotCR: // no end; the CR was text
			p[n] = '\r'
			n++
			c.at = afterCR
			continue
		case c.at == afterCR && first == '\n':
			p[n] = '\n'
			n++
			used++
			c.at = lineStart
			continue
		}
		run := in[used:]
		if cr := bytes.IndexByte(run, '\r'); cr >= 0 {
			run = run[:cr+1]
		}
		m := copy(p[n:], run)
		n, used = n+m, used+m
		c.at = inLine
		if run[m-1] == '\r' {
			c.at = afterCR
		}
	}
	return n, used
}
