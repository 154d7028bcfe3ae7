package test

import (
	"io"
	"net"
	"net/mail"
	"slices"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// lmtpSink takes what is delivered to it over LMTP and remembers the Message-IDs.
type lmtpSink struct {
	addr string

	mu  sync.Mutex
	ids []string
}

func newLMTPSink(t *testing.T) *lmtpSink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lmtpSink{addr: l.Addr().String()}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return lmtpVisit{s}, nil }))
	server.LMTP = true
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = l.Close() // where nobody came the server may not know of it yet
		<-ended
	})
	return s
}

// taken are the Message-IDs of what was delivered, one for each time.
func (s *lmtpSink) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

type lmtpVisit struct{ into *lmtpSink }

func (lmtpVisit) Reset()                               {}
func (lmtpVisit) Logout() error                        { return nil }
func (lmtpVisit) Mail(string, *smtp.MailOptions) error { return nil }
func (lmtpVisit) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (v lmtpVisit) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.Body); err != nil {
		return err
	}
	v.into.mu.Lock()
	defer v.into.mu.Unlock()
	v.into.ids = append(v.into.ids, m.Header.Get("Message-ID"))
	return nil
}
