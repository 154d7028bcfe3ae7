package door

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"strconv"
	"sync"
	"time"
)

// talk is the dialogue with a device as go-smtp has it. Two things go-smtp does not do
// happen here.
//
// Messages behind DATA are read by [content]. go-smtp is handed a whole line at a time:
// so it never holds more than the command it is at, after its 354 all that comes is the
// message, and it acts on no line that is cut or too long. When a message has been read,
// go-smtp is shown an empty one.
//
// Replies wait until something is waited for: those to commands that came together,
// and the lines of one reply, leave together.
type talk struct {
	conn    net.Conn // for its deadlines
	pipe    io.ReadWriter
	in      *bufio.Reader // nil once it is closed
	inputs  *inputs       // where in is from
	out     []byte
	line    []byte   // what go-smtp has still to read of it
	chunk   int64    // octets behind BDAT that are no lines
	content *content // from 354 on until go-smtp has seen the end
}

const (
	inputSize = 16 << 10    // a line may fill it; AUTH's have up to 12,288 octets (RFC 4954 §4)
	maxOut    = 8 << 10     // replies that wait
	farewell  = time.Second // for the last words to a device that may not listen
)

// inputs are buffers that sessions have left, for devices that connect for each message.
type inputs struct{ idle sync.Pool }

func (p *inputs) take(r io.Reader) *bufio.Reader {
	in, ok := p.idle.Get().(*bufio.Reader)
	if !ok {
		return bufio.NewReaderSize(r, inputSize)
	}
	in.Reset(r)
	return in
}

func (p *inputs) give(in *bufio.Reader) {
	in.Reset(nil)
	p.idle.Put(in)
}

// newTalk speaks through pipe, which is conn or TLS on it.
func newTalk(conn net.Conn, pipe io.ReadWriter, inputs *inputs) *talk {
	t := &talk{conn: conn, pipe: pipe, inputs: inputs}
	t.in = inputs.take(arriving{t})
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

// Read hands up at most a line, or a piece of a chunk.
func (t *talk) Read(p []byte) (int, error) {
	switch {
	case t.in == nil: // go-smtp has ended the session, but reads on
		return 0, errHungUp
	case len(t.line) > 0:
	case t.content != nil:
		if _, err := io.Copy(io.Discard, t.content); err != nil { // what the session has left of it
			return 0, err
		}
		t.content, t.line = nil, []byte(".\r\n")
	case t.chunk > 0:
		n, err := t.in.Read(p[:min(int64(len(p)), t.chunk)])
		t.chunk -= int64(n)
		return n, err
	default:
		line, err := t.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			t.out = append(t.out, "500 5.5.2 Too long line, closing connection\r\n"...)
			return 0, errHungUp
		}
		if err != nil {
			return 0, err
		}
		line = sizeInBounds(withoutBlanks(line))
		size, ok := chunkBehind(line)
		if !ok {
			t.out = append(t.out, "501 5.5.4 BDAT is not to be understood, nor what follows; closing connection\r\n"...)
			return 0, errHungUp
		}
		t.line, t.chunk = line, size
	}
	n := copy(p, t.line)
	t.line = t.line[n:]
	return n, nil
}

// withoutBlanks takes blanks off the end of a command (RFC 5321 §4.1.1 wants them
// tolerated): go-smtp would not know it. The line lies in a buffer that is ours until the
// next one is read.
func withoutBlanks(line []byte) []byte {
	end := len(bytes.TrimRight(line, "\r\n"))
	return append(bytes.TrimRight(line[:end], " \t"), line[end:]...)
}

// sizeInBounds writes a SIZE behind MAIL that go-smtp cannot read as the largest that it
// can. It keeps 32 bits of the number and refuses more as no number (501), where the
// message is too large (552): RFC 1870 §4 has up to 20 digits. As with blanks, the line
// lies in our buffer, and gets no longer.
func sizeInBounds(line []byte) []byte {
	if len(line) < 4 || !bytes.EqualFold(line[:4], []byte("MAIL")) {
		return line
	}
	from := sizeBehind(line)
	to := len(line) - len(bytes.TrimLeft(line[from:], "0123456789"))
	if rest := line[to:]; len(rest) > 0 && !bytes.ContainsAny(rest[:1], " \t\r\n") {
		return line // no number
	}
	if _, err := strconv.ParseUint(string(line[from:to]), 10, 32); !errors.Is(err, strconv.ErrRange) {
		return line
	}
	return append(strconv.AppendUint(line[:from], math.MaxUint32, 10), line[to:]...)
}

// sizeBehind is where the value of SIZE begins, len(line) when there is none. A quoted
// sender with that word in it has blanks, and is refused however it reads.
func sizeBehind(line []byte) int {
	word := []byte(" SIZE=")
	for i := 0; i+len(word) < len(line); i++ {
		if bytes.EqualFold(line[i:i+len(word)], word) {
			return i + len(word)
		}
	}
	return len(line)
}

// chunkBehind is the size that BDAT announces; go-smtp takes that many octets, whether it
// wants them or not. ok is false when it would refuse the line itself, and then read a
// message as commands.
func chunkBehind(line []byte) (size int64, ok bool) {
	words := bytes.Fields(line)
	if len(words) < 2 || !bytes.EqualFold(words[0], []byte("BDAT")) {
		return 0, true
	}
	n, err := strconv.ParseUint(string(words[1]), 10, 32)
	last := len(words) == 3 && bytes.EqualFold(words[2], []byte("LAST"))
	return int64(n), err == nil && line[4] == ' ' && (last || len(words) == 2)
}

// Write takes a line of a reply. go-smtp repeats in it what the device has said: control
// characters among that must not look like the end of a line.
func (t *talk) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("354 ")) {
		t.content = &content{in: t.in}
	}
	for _, c := range p {
		switch {
		case c == '\n':
			t.out = append(t.out, '\r', '\n')
		case c >= ' ' && c != 0x7f:
			t.out = append(t.out, c)
		}
	}
	if len(t.out) < maxOut {
		return len(p), nil
	}
	return len(p), t.flush()
}

func (t *talk) flush() error { return t.send(writePatience) }

// close sends the last words; whatever the device has said already is not heard. It comes
// from the goroutine that reads.
func (t *talk) close() error {
	if t.in != nil {
		t.inputs.give(t.in)
		t.in, t.line, t.content = nil, nil, nil
	}
	return t.send(farewell)
}

func (t *talk) send(patience time.Duration) error {
	if len(t.out) == 0 {
		return nil
	}
	_ = t.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := t.pipe.Write(t.out)
	t.out = t.out[:0]
	return err
}
