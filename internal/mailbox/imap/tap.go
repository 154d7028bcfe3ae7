package imap

import (
	"net"
	"strconv"
	"strings"
	"sync"
)

// tap stands between go-imap and the connection, for the two things go-imap does
// not do. It listens for the server's farewell, which go-imap reads and drops:
// "* BYE Session invalidated - AccessTokenExpired" and the like say why a
// connection ended. And it answers challenges as the RFC says (see Write). It follows lines and literals (RFC 9051 §4.3), so words inside
// a message are never taken for the server's, and keeps nothing else.
type tap struct {
	net.Conn
	pending []byte // to be read before the connection

	head    []byte // start of the current line
	tail    []byte // its last bytes, where a literal is announced
	literal int64  // octets of a literal still to come

	mu       sync.Mutex
	farewell string
}

const (
	headSize = 512
	tailSize = 24 // "{" 20 digits "}" CR
)

func newTap(c net.Conn) *tap { return &tap{Conn: c} }

// greet gives go-imap the greeting that was read before TLS began, without what
// it claimed.
func (t *tap) greet() { t.pending = []byte("* OK ready\r\n") }

// Read passes on what the server sends.
func (t *tap) Read(p []byte) (int, error) {
	if len(t.pending) > 0 {
		n := copy(p, t.pending)
		t.pending = t.pending[n:]
		return n, nil
	}
	n, err := t.Conn.Read(p)
	t.follow(p[:n])
	return n, err
}

// Write makes go-imap's "=" an empty line: that is how an empty answer to a
// challenge looks (RFC 9051 §6.2.2); "=" is for the AUTHENTICATE line only, and
// Dovecot calls it invalid base64. Only such an answer is a write of its own.
func (t *tap) Write(p []byte) (int, error) {
	if string(p) != "=\r\n" {
		return t.Conn.Write(p)
	}
	if _, err := t.Conn.Write(p[1:]); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (t *tap) follow(p []byte) {
	for len(p) > 0 {
		if t.literal > 0 {
			skip := min(t.literal, int64(len(p)))
			t.literal -= skip
			p = p[skip:]
			continue
		}
		i := 0
		for i < len(p) && p[i] != '\n' {
			i++
		}
		t.keep(p[:i])
		if i == len(p) {
			return
		}
		t.endLine()
		p = p[i+1:]
	}
}

func (t *tap) keep(p []byte) {
	t.head = append(t.head, p[:min(len(p), headSize-len(t.head))]...)
	if len(p) > tailSize {
		p = p[len(p)-tailSize:]
	}
	t.tail = append(t.tail, p...)
	if extra := len(t.tail) - tailSize; extra > 0 {
		t.tail = append(t.tail[:0], t.tail[extra:]...)
	}
}

func (t *tap) endLine() {
	if n := literalSize(strings.TrimSuffix(string(t.tail), "\r")); n > 0 {
		t.literal = n
	}
	head := strings.TrimRight(string(t.head), "\r")
	if len(head) >= 5 && strings.EqualFold(head[:5], "* BYE") {
		t.mu.Lock()
		t.farewell = head
		t.mu.Unlock()
	}
	t.head, t.tail = t.head[:0], t.tail[:0]
}

// literalSize reads the announcement {123} at the end of a line.
func literalSize(tail string) int64 {
	open := strings.LastIndexByte(tail, '{')
	if open < 0 || !strings.HasSuffix(tail, "}") {
		return 0
	}
	n, err := strconv.ParseInt(tail[open+1:len(tail)-1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// bye is the server's farewell line, "" when it gave none.
func (t *tap) bye() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.farewell
}
