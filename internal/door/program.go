package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Talk holds one session with a program that has started us to speak SMTP over its pipes,
// as sendmail -bs does. It is the device [SMTPConfig.Local]: who may start us with this
// configuration needs no login, and pipes no TLS.
func (s *SMTP) Talk(ctx context.Context, in io.Reader, out io.Writer) error {
	here, there := net.Pipe() // for its deadlines
	go func() {
		_, _ = io.Copy(there, in) // what cannot be read any more has ended
		_ = there.Close()
	}()
	p := &program{Conn: here, out: out, ended: make(chan struct{})}
	p.end = sync.OnceFunc(func() { close(p.ended) })
	if err := s.Serve(ctx, &onlyOne{program: p}); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("speak with a program: %w", err)
	}
	return nil
}

// program is the connection with it. What it is told goes straight to its pipe, also when
// it has closed the other one.
type program struct {
	net.Conn
	out   io.Writer
	ended chan struct{}
	end   func()
}

// Write is for net.Conn.
func (p *program) Write(b []byte) (int, error) { return p.out.Write(b) }

// Close is for net.Conn.
func (p *program) Close() error {
	defer p.end()
	return p.Conn.Close()
}

// onlyOne is a listener whose one connection is the program.
type onlyOne struct {
	*program
	once sync.Once
}

// Accept is for net.Listener.
func (l *onlyOne) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = l.program })
	if c != nil {
		return c, nil
	}
	<-l.ended
	return nil, net.ErrClosed
}

// Close is for net.Listener: the session ends by itself.
func (l *onlyOne) Close() error {
	l.end()
	return nil
}

// Addr is for net.Listener.
func (l *onlyOne) Addr() net.Addr { return l.LocalAddr() }
