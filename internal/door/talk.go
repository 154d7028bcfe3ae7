package door

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"time"
)

// talk is the dialogue with a device as go-smtp has it. Two things go-smtp does not do
// happen here.
//
// Messages behind DATA are read by [content]. go-smtp is handed a line at a time: so it
// never holds more than the command it is at, and after its 354 all that comes is the
// message. When that has been read, it is shown an empty one.
//
// Replies wait until something is waited for: those to commands that came together,
// and the lines of one reply, leave together.
type talk struct {
	conn    net.Conn // for its deadlines
	pipe    io.ReadWriter
	in      *bufio.Reader
	out     []byte
	content *content // from 354 on until go-smtp has seen the end
	unread  string   // what go-smtp reads next, before all else
}

const (
	inputSize = 16 << 10
	maxOut    = 8 << 10     // replies that wait
	farewell  = time.Second // for the last words to a device that may not listen
)

// newTalk speaks through pipe, which is conn or TLS on it.
func newTalk(conn net.Conn, pipe io.ReadWriter) *talk {
	t := &talk{conn: conn, pipe: pipe}
	t.in = bufio.NewReaderSize(arriving{t}, inputSize)
	return t
}

// arriving is what comes from the device; our answers go out before it is waited for.
type arriving struct{ *talk }

func (a arriving) Read(p []byte) (int, error) {
	if err := a.flush(); err != nil {
		return 0, errors.Join(errHungUp, err)
	}
	n, err := a.pipe.Read(p)
	if errors.Is(err, io.EOF) {
		err = errHungUp
	}
	return n, err
}

// Read hands up at most a line.
func (t *talk) Read(p []byte) (int, error) {
	if t.content != nil {
		if _, err := io.Copy(io.Discard, t.content); err != nil { // what the session has left of it
			return 0, err
		}
		t.content, t.unread = nil, ".\r\n"
	}
	if t.unread != "" {
		n := copy(p, t.unread)
		t.unread = t.unread[n:]
		return n, nil
	}
	if _, err := t.in.Peek(1); err != nil {
		return 0, err
	}
	line, _ := t.in.Peek(min(len(p), t.in.Buffered()))
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end+1]
	}
	n := copy(p, line)
	_, _ = t.in.Discard(n)
	return n, nil
}

// Write takes a line of a reply.
func (t *talk) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("354 ")) {
		t.content = &content{in: t.in}
	}
	t.out = append(t.out, p...)
	if len(t.out) < maxOut {
		return len(p), nil
	}
	return len(p), t.flush()
}

func (t *talk) flush() error { return t.send(writePatience) }

// close sends the last words, and lets TLS say its own.
func (t *talk) close() error { return t.send(farewell) }

func (t *talk) send(patience time.Duration) error {
	if len(t.out) == 0 {
		return nil
	}
	_ = t.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := t.pipe.Write(t.out)
	t.out = t.out[:0]
	return err
}
