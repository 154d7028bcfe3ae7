package exchange

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// imapBackend is go-imap's server behind the gates.
type imapBackend struct {
	server *imapserver.Server
	gates  gateListener
}

func newIMAPBackend(s *Servers) *imapBackend {
	b := &imapBackend{gates: gateListener{
		conns: make(chan net.Conn), closed: make(chan struct{}), asked: make(chan struct{}),
	}}
	b.server = imapserver.New(&imapserver.Options{
		NewSession: func(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			gate, ok := c.NetConn().(*imapGate)
			if !ok {
				return nil, nil, net.ErrClosed
			}
			return &imapSession{servers: s, box: s.store.mailbox(gate.mailbox)}, &imapserver.GreetingData{PreAuth: true}, nil
		},
		Caps: imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapNamespace: {}, imap.CapUIDPlus: {}, imap.CapMove: {},
			imap.CapChildren: {}, imap.CapLiteralPlus: {}},
		Logger:       slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		InsecureAuth: true, // the gate is inside TLS, and nobody signs in behind it
	})
	return b
}

func (b *imapBackend) serve() { _ = b.server.Serve(&b.gates) }

// close waits for serve to have begun: the library may not be closed before.
func (b *imapBackend) close() {
	<-b.gates.asked
	_ = b.gates.Close()
	_ = b.server.Close()
}

// take serves a signed-in connection until its end.
func (b *imapBackend) take(g *imapGate) {
	select {
	case b.gates.conns <- g:
		<-g.done
	case <-b.gates.closed:
	}
}

// gateListener hands connections to a server that wants to accept them.
type gateListener struct {
	conns  chan net.Conn
	asked  chan struct{} // closed at the first Accept
	closed chan struct{}

	ask, end sync.Once
}

func (l *gateListener) Accept() (net.Conn, error) {
	l.ask.Do(func() { close(l.asked) })
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *gateListener) Close() error {
	l.end.Do(func() { close(l.closed) })
	return nil
}

func (l *gateListener) Addr() net.Addr { return &net.TCPAddr{} }

// imapSession is one signed-in client. The library calls it from one goroutine,
// but for Idle, for whose end it does not wait when the connection is lost.
type imapSession struct {
	servers  *Servers
	box      *mailbox
	folder   *folder // selected
	readOnly bool

	idle    sync.Mutex // covers the writes of tracker, and Idle's look at it
	tracker *imapserver.SessionTracker
}

var _ interface {
	imapserver.SessionNamespace
	imapserver.SessionMove
} = (*imapSession)(nil)

func noFolder(name string) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Text: name + " mailbox doesn't exist."}
}

func refusal(text string) error { return &imap.Error{Type: imap.StatusResponseTypeNo, Text: text} }

// Close ends the session.
func (s *imapSession) Close() error {
	s.deselect()
	return nil
}

// Login is refused by the gate already.
func (s *imapSession) Login(string, string) error { return imapserver.ErrAuthFailed }

func (s *imapSession) deselect() {
	if s.tracker != nil {
		s.tracker.Close()
	}
	s.folder = nil
	s.track(nil)
}

func (s *imapSession) track(t *imapserver.SessionTracker) {
	s.idle.Lock()
	defer s.idle.Unlock()
	s.tracker = t
}

// Select opens a folder.
func (s *imapSession) Select(name string, options *imap.SelectOptions) (*imap.SelectData, error) {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	f, ok := s.box.folder(name)
	if !ok {
		return nil, noFolder(name)
	}
	s.folder, s.readOnly = f, options.ReadOnly
	s.track(f.tracker.NewSession())
	data := &imap.SelectData{
		Flags: systemFlags(), NumMessages: uint32(len(f.messages)), UIDNext: f.next, UIDValidity: f.validity,
	}
	if !s.readOnly {
		data.PermanentFlags = systemFlags()
	}
	if i := slices.IndexFunc(f.messages, func(m *message) bool { return !m.flags[imap.FlagSeen] }); i >= 0 {
		data.FirstUnseenSeqNum = uint32(i) + 1
	}
	return data, nil
}

// Unselect closes it again.
func (s *imapSession) Unselect() error {
	s.deselect()
	return nil
}

// Create makes a folder.
func (s *imapSession) Create(name string, _ *imap.CreateOptions) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	name = strings.TrimRight(name, "/")
	if _, exists := s.box.folder(name); exists || name == "" {
		return refusal("Mailbox already exists.")
	}
	s.box.add(name, "")
	return nil
}

// Delete removes a folder of the user's own making.
func (s *imapSession) Delete(name string) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	f, ok := s.box.folder(name)
	switch {
	case !ok:
		return noFolder(name)
	case f.use != "" || f.name == Inbox:
		return refusal("Cannot delete a default folder.")
	}
	s.box.folders = slices.DeleteFunc(s.box.folders, func(other *folder) bool { return other == f })
	return nil
}

// Rename gives a folder another name.
func (s *imapSession) Rename(name, to string, _ *imap.RenameOptions) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	f, ok := s.box.folder(name)
	if !ok {
		return noFolder(name)
	}
	if _, exists := s.box.folder(to); exists || f.use != "" || f.name == Inbox {
		return refusal("Cannot rename to that.")
	}
	f.name = to
	return nil
}

// Subscribe does nothing: everything counts as subscribed.
func (s *imapSession) Subscribe(string) error { return nil }

// Unsubscribe does nothing.
func (s *imapSession) Unsubscribe(string) error { return nil }

// Namespace is the user's own.
func (s *imapSession) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: '/'}}}, nil
}

// List writes the folders that match.
func (s *imapSession) List(w *imapserver.ListWriter, ref string, patterns []string, options *imap.ListOptions) error {
	if len(patterns) == 0 {
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: '/'})
	}
	for _, d := range s.matching(ref, patterns, options) {
		if err := w.WriteList(d); err != nil {
			return err
		}
	}
	return nil
}

func (s *imapSession) matching(ref string, patterns []string, options *imap.ListOptions) []*imap.ListData {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	var out []*imap.ListData
	for _, f := range s.box.folders {
		if !slices.ContainsFunc(patterns, func(p string) bool {
			return imapserver.MatchList(f.name, '/', ref, p) || strings.EqualFold(p, Inbox) && f.name == Inbox
		}) {
			continue
		}
		d := &imap.ListData{Mailbox: f.name, Delim: '/', Attrs: []imap.MailboxAttr{s.box.children(f)}}
		if f.use != "" {
			d.Attrs = append(d.Attrs, f.use)
		}
		if options.ReturnStatus != nil {
			d.Status = f.status(options.ReturnStatus)
		}
		out = append(out, d)
	}
	return out
}

func (b *mailbox) children(parent *folder) imap.MailboxAttr {
	if slices.ContainsFunc(b.folders, func(f *folder) bool { return strings.HasPrefix(f.name, parent.name+"/") }) {
		return imap.MailboxAttrHasChildren
	}
	return imap.MailboxAttrHasNoChildren
}

// Status counts without opening.
func (s *imapSession) Status(name string, options *imap.StatusOptions) (*imap.StatusData, error) {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	f, ok := s.box.folder(name)
	if !ok {
		return nil, noFolder(name)
	}
	return f.status(options), nil
}

func (f *folder) status(options *imap.StatusOptions) *imap.StatusData {
	data := &imap.StatusData{Mailbox: f.name}
	var unseen, deleted uint32
	var size int64
	for _, m := range f.messages {
		size += int64(len(m.raw))
		if !m.flags[imap.FlagSeen] {
			unseen++
		}
		if m.flags[imap.FlagDeleted] {
			deleted++
		}
	}
	if options.NumMessages {
		data.NumMessages = new(uint32(len(f.messages)))
	}
	if options.NumUnseen {
		data.NumUnseen = &unseen
	}
	if options.NumDeleted {
		data.NumDeleted = &deleted
	}
	if options.NumRecent {
		data.NumRecent = new(uint32(0))
	}
	if options.Size {
		data.Size = &size
	}
	if options.UIDNext {
		data.UIDNext = f.next
	}
	if options.UIDValidity {
		data.UIDValidity = f.validity
	}
	return data
}

// Append stores a message that the client brings.
func (s *imapSession) Append(name string, r imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	var raw bytes.Buffer
	if _, err := io.Copy(&raw, r); err != nil {
		return nil, fmt.Errorf("read the literal: %w", err)
	}
	received := options.Time
	if received.IsZero() {
		received = s.servers.world.Now()
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	f, ok := s.box.folder(name)
	if !ok {
		return nil, &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeTryCreate, Text: name + " mailbox doesn't exist."}
	}
	m := f.append(raw.Bytes(), received, options.Flags)
	return &imap.AppendData{UIDValidity: f.validity, UID: m.uid}, nil
}

// Poll tells what others have changed.
func (s *imapSession) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	if s.tracker == nil {
		return nil
	}
	return s.tracker.Poll(w, allowExpunge)
}

// idleLook is how often a waiting session looks for changes. The library's own Idle
// forgets those that were made just before it began.
const idleLook = 50 * time.Millisecond

// Idle tells it as it happens.
func (s *imapSession) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	s.idle.Lock()
	tracker := s.tracker
	s.idle.Unlock()
	if tracker == nil {
		<-stop
		return nil
	}
	look := time.NewTicker(idleLook)
	defer look.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-look.C:
			if err := tracker.Poll(w, true); err != nil {
				return err
			}
		}
	}
}
