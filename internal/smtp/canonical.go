package smtp

import (
	"bytes"
	"errors"
	"io"
)

// Canonical returns r with every line ended by CRLF: a bare CR and a bare LF each
// become one. Exchange refuses bare line ends (5.6.11), and a peer that reads
// them differently could be fooled about where a message ends.
func Canonical(r io.Reader) *CanonicalReader {
	c := new(CanonicalReader)
	c.Reset(r)
	return c
}

// CanonicalReader is what [Canonical] returns.
type CanonicalReader struct {
	r    io.Reader
	in   []byte // buffer to read into
	out  []byte // converted, not yet handed out
	head int    // out[:head] was handed out
	cr   bool   // a CR ended the last chunk: its LF may come
	err  error
}

// Reset makes it read another message. The buffers are kept.
func (c *CanonicalReader) Reset(r io.Reader) {
	*c = CanonicalReader{r: r, in: c.in, out: c.out[:0]}
}

// Read is that of an [io.Reader].
func (c *CanonicalReader) Read(p []byte) (int, error) {
	for c.head == len(c.out) {
		if c.err != nil {
			return 0, c.err
		}
		c.fill()
	}
	n := copy(p, c.out[c.head:])
	c.head += n
	return n, nil
}

// WriteTo is that of an [io.WriterTo]: what is read goes out without another buffer.
func (c *CanonicalReader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		wrote, err := w.Write(c.out[c.head:])
		n += int64(wrote)
		c.head += wrote
		if err != nil {
			return n, err
		}
		if errors.Is(c.err, io.EOF) {
			return n, nil
		}
		if c.err != nil {
			return n, c.err
		}
		c.fill()
	}
}

func (c *CanonicalReader) fill() {
	if c.in == nil {
		c.in = make([]byte, 16<<10)
	}
	c.out, c.head = c.out[:0], 0
	var n int
	n, c.err = c.r.Read(c.in)
	c.convert(c.in[:n])
	if errors.Is(c.err, io.EOF) && c.cr {
		c.cr = false
		c.out = append(c.out, '\r', '\n')
	}
}

func (c *CanonicalReader) convert(in []byte) {
	for len(in) > 0 {
		if c.cr {
			c.cr = false
			c.out = append(c.out, '\r', '\n')
			if in[0] == '\n' {
				in = in[1:]
				continue
			}
		}
		n := canonicalLines(in)
		c.out = append(c.out, in[:n]...)
		in = in[n:]
		i := bytes.IndexAny(in, "\r\n")
		if i < 0 {
			c.out = append(c.out, in...)
			return
		}
		c.out = append(c.out, in[:i]...)
		if in[i] == '\r' {
			c.cr = true
		} else {
			c.out = append(c.out, '\r', '\n')
		}
		in = in[i+1:]
	}
}

// canonicalLines is how many octets of in are whole lines that end as they should,
// which is nearly all of most messages.
func canonicalLines(in []byte) (n int) {
	for {
		i := bytes.IndexByte(in[n:], '\n')
		if i < 1 || bytes.IndexByte(in[n:n+i], '\r') != i-1 {
			return n
		}
		n += i + 1
	}
}
