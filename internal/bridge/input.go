package bridge

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
)

// maxLine bounds a line before the login, and all literals of one command together:
// a name and a password.
const maxLine = 4 << 10

var (
	errLongLine = errors.New("the line is too long")
	errLiteral  = errors.New("the literal is too long")
)

// input reads bounded lines. Its buffer is borrowed, for as long as somebody speaks.
type input struct{ *bufio.Reader }

var inputs = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxLine) }}

func newInput(r io.Reader) *input {
	br, _ := inputs.Get().(*bufio.Reader)
	br.Reset(r)
	return &input{br}
}

// release gives the buffer back; what was read ahead is lost.
func (i *input) release() {
	if i.Reader != nil {
		i.Reset(nil)
		inputs.Put(i.Reader)
		i.Reader = nil
	}
}

// ahead is what was read and not used.
func (i *input) ahead() []byte {
	b, _ := i.Peek(i.Buffered())
	return append([]byte(nil), b...)
}

// line reads one line, without its end.
func (i *input) line() (string, error) {
	b, err := i.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errLongLine
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(b[:len(b)-1]), "\r"), nil
}

// long reads a line of a server, which may be longer than the buffer.
func (i *input) long(most int) (string, error) {
	var all []byte
	for {
		b, err := i.ReadSlice('\n')
		all = append(all, b...)
		if len(all) > most {
			return "", errLongLine
		}
		if err == nil {
			return strings.TrimSuffix(string(all[:len(all)-1]), "\r"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}

// announced reads the literal that a line announces at its end (RFC 9051 §4.3, RFC
// 7888): how many octets, and whether the other side waits to be asked for them.
func announced(line []byte) (size int64, waits, is bool) {
	end := len(line)
	for end > 0 && (line[end-1] == '\n' || line[end-1] == '\r') {
		end--
	}
	if end == 0 || line[end-1] != '}' {
		return 0, false, false
	}
	end--
	waits = true
	if end > 0 && (line[end-1] == '+' || line[end-1] == '-') {
		waits = false
		end--
	}
	at := end
	for at > 0 && line[at-1] >= '0' && line[at-1] <= '9' && end-at < 19 {
		at--
	}
	if at == end || at == 0 || line[at-1] != '{' {
		return 0, false, false
	}
	size, err := strconv.ParseInt(string(line[at:end]), 10, 64)
	return size, waits, err == nil
}
