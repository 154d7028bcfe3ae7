package exchange

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// idlePatience is how long a client may say nothing: Exchange Server's default
// for those who are signed in.
const idlePatience = 30 * time.Minute

// maxLine fits an AUTH line (RFC 4954 §4: 12288 octets).
const maxLine = 12288

var (
	errHangUp  = errors.New("the connection ends here")
	errTooLong = errors.New("line too long")
)

// wire is a connection that speaks in lines. It knows how many bytes it has
// taken, so that "did this arrive before we answered?" has an exact answer.
type wire struct {
	conn  net.Conn
	br    *bufio.Reader
	taken int64 // bytes handed out by reads
}

func newWire(c net.Conn) *wire {
	return &wire{conn: c, br: bufio.NewReaderSize(c, 32<<10)}
}

// renew moves onto another connection. What was read from the old one and not
// yet taken is lost, which RFC 3207 §4.2 wants of STARTTLS.
func (w *wire) renew(c net.Conn) {
	*w = wire{conn: c, br: bufio.NewReaderSize(c, 32<<10), taken: w.taken}
}

// arrived counts the bytes read from the connection, taken or not.
func (w *wire) arrived() int64 { return w.taken + int64(w.br.Buffered()) }

// slice returns what there is up to a line feed, or a full buffer and
// bufio.ErrBufferFull. It is valid until the next read.
func (w *wire) slice() ([]byte, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(idlePatience)); err != nil {
		return nil, err
	}
	chunk, err := w.br.ReadSlice('\n')
	w.taken += int64(len(chunk))
	return chunk, err
}

// rawLine returns a line with its end. One above the limit is skipped and
// reported as errTooLong, with its beginning.
func (w *wire) rawLine(limit int) ([]byte, error) {
	chunk, err := w.slice()
	if errors.Is(err, bufio.ErrBufferFull) {
		head := bytes.Clone(chunk[:min(len(chunk), limit)])
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = w.slice()
		}
		if err == nil {
			err = errTooLong
		}
		return head, err
	}
	if err == nil && len(chunk) > limit {
		return bytes.Clone(chunk[:limit]), errTooLong
	}
	return bytes.Clone(chunk), err
}

// line returns a line without its end, which may be a bare line feed.
func (w *wire) line() (string, error) {
	b, err := w.rawLine(maxLine)
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), err
}

// say writes lines; each of them gets its CRLF here.
func (w *wire) say(lines string) error {
	text := strings.ReplaceAll(strings.ReplaceAll(lines, "\r\n", "\n"), "\n", "\r\n")
	return w.write([]byte(text + "\r\n"))
}

func (w *wire) write(b []byte) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(idlePatience)); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	return err
}

// halfClose ends our side only, then listens until the client goes.
func (w *wire) halfClose() {
	if c, ok := w.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = w.conn.SetReadDeadline(time.Now().Add(idlePatience))
	_, _ = io.Copy(io.Discard, w.br)
}

// content is a message as it was received.
type content struct {
	raw    []byte
	tooBig bool // more than the limit came; raw is incomplete
	bareLF bool // a line ended without CR, which DATA may not carry
}

func (c *content) add(b []byte, limit int64) {
	if c.tooBig = c.tooBig || limit > 0 && int64(len(c.raw)+len(b)) > limit; !c.tooBig {
		c.raw = append(c.raw, b...)
	}
}

// dotted reads a message up to the line with a single dot and takes the dot
// stuffing off (RFC 5321 §4.5.2). Only CRLF.CRLF ends it.
func (w *wire) dotted(limit int64) (content, error) {
	var c content
	atStart, lastCR := true, false
	for {
		chunk, err := w.slice()
		whole := err == nil
		if !whole && !errors.Is(err, bufio.ErrBufferFull) {
			return c, err
		}
		if atStart && string(chunk) == ".\r\n" {
			return c, nil
		}
		if atStart && chunk[0] == '.' {
			chunk = chunk[1:]
		}
		crlf := whole && (bytes.HasSuffix(chunk, []byte("\r\n")) || lastCR && len(chunk) == 1)
		c.bareLF = c.bareLF || whole && !crlf
		c.add(chunk, limit)
		atStart, lastCR = crlf, !whole && bytes.HasSuffix(chunk, []byte("\r"))
	}
}

// counted reads a chunk of n octets (RFC 3030). Bytes above the limit are
// read and dropped.
func (w *wire) counted(c *content, n, limit int64) error {
	buf := make([]byte, min(n, 32<<10))
	for n > 0 {
		if err := w.conn.SetReadDeadline(time.Now().Add(idlePatience)); err != nil {
			return err
		}
		got, err := w.br.Read(buf[:min(n, int64(len(buf)))])
		w.taken += int64(got)
		n -= int64(got)
		c.add(buf[:got], limit)
		if err != nil {
			return err
		}
	}
	return nil
}
