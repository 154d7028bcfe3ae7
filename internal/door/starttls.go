package door

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// secured is a device's connection as go-smtp sees it: everything it reads has
// come through TLS. What may be said before STARTTLS is answered here, so that
// nothing of it can reach the session behind it (RFC 3207 §4.2).
//
// The end of the line is never io.EOF: go-smtp takes that for the end of a BDAT
// chunk, and would hand on half a message as a whole one.
type secured struct {
	*wire
	host   string
	config *tls.Config
	tls    *tls.Conn // nil before STARTTLS; used by the session's goroutine only
	talk   *talk     // with go-smtp; nil before STARTTLS
	inputs *inputs
	listed *Device // a machine that needs no login, and speaks without TLS; nil for all others
}

// errHungUp also is net.ErrClosed, which go-smtp passes over in silence.
var errHungUp = fmt.Errorf("the device hung up: %w", net.ErrClosed)

const (
	maxPlainLine = 512 // RFC 5321 §4.5.3.1.4
	maxPlainLot  = 20  // commands without STARTTLS
)

// handshakes is a listener whose connections come as [secured] ones.
type handshakes struct {
	net.Listener
	host     string
	config   *tls.Config
	implicit bool
	inputs   *inputs
	// listed finds the device that may submit from an address without a login; nil
	// finds none.
	listed func(netip.Addr) (Device, bool)
}

func (l handshakes) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w, ok := conn.(*wire)
	if !ok {
		return nil, fmt.Errorf("connection is a %T", conn)
	}
	s := &secured{wire: w, host: l.host, config: l.config, inputs: l.inputs}
	if l.implicit {
		s.shake()
	}
	if l.listed != nil {
		if d, ok := l.listed(w.from); ok {
			s.listed, s.talk, w.clear = &d, newTalk(w, w, l.inputs), true
		}
	}
	return s, nil
}

// shake makes TLS the only way; the handshake comes with the first octet.
func (s *secured) shake() {
	s.tls = tls.Server(s.wire, s.config)
	s.talk = newTalk(s.wire, s.tls, s.inputs)
}

// Write before STARTTLS is go-smtp's greeting.
func (s *secured) Write(p []byte) (int, error) {
	if s.talk == nil {
		return len(p), s.answer(string(p))
	}
	return s.talk.Write(p)
}

func (s *secured) Read(p []byte) (int, error) {
	if s.talk == nil {
		if err := s.plain(); err != nil {
			return 0, err
		}
	}
	return s.talk.Read(p)
}

// content is the message that go-smtp has just asked for.
func (s *secured) content() io.Reader { return s.talk.content }

// Close says farewell, without waiting long for a device that does not listen.
func (s *secured) Close() error {
	var err error
	if s.talk != nil {
		err = s.talk.close()
	}
	if s.tls != nil {
		err = errors.Join(err, s.tls.Close())
	}
	return errors.Join(err, s.wire.Close())
}

// plain speaks with the device until it has asked for TLS. Its reader is dropped
// then, with whatever somebody on the way has put behind the command.
func (s *secured) plain() error {
	lines := bufio.NewReaderSize(s.wire, maxPlainLine)
	for range maxPlainLot {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			_ = s.answer("500 5.5.2 Too long line, closing connection\r\n")
			return errHungUp
		}
		if errors.Is(err, io.EOF) {
			return errHungUp
		}
		if err != nil {
			return err
		}
		verb, arg, _ := strings.Cut(string(bytes.TrimSpace(line)), " ")
		verb = strings.ToUpper(verb)
		if err := s.answer(s.reply(verb, arg) + "\r\n"); err != nil {
			return err
		}
		switch {
		case verb == "QUIT":
			return errHungUp
		case verb == "STARTTLS" && arg == "":
			s.shake()
			return nil
		}
	}
	_ = s.answer("421 4.7.0 Too many commands without STARTTLS\r\n")
	return errHungUp
}

func (s *secured) answer(reply string) error {
	_ = s.wire.SetWriteDeadline(time.Now().Add(writePatience))
	_, err := io.WriteString(s.wire, reply)
	return err
}

func (s *secured) reply(verb, arg string) string {
	switch verb {
	case "EHLO":
		return "250-" + s.host + "\r\n250-ENHANCEDSTATUSCODES\r\n250 STARTTLS"
	case "HELO":
		return "250 " + s.host
	case "NOOP", "RSET":
		return "250 2.0.0 Ok"
	case "QUIT":
		return "221 2.0.0 Bye"
	case "AUTH":
		return "523 5.7.10 TLS is required: begin with STARTTLS"
	case "STARTTLS":
		if arg != "" {
			return "501 5.5.4 STARTTLS takes no parameter"
		}
		return "220 2.0.0 Ready to start TLS"
	}
	return "530 5.7.0 Must issue a STARTTLS command first"
}
