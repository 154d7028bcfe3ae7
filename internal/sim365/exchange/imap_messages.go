package exchange

import (
	"bufio"
	"bytes"
	"maps"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-message/textproto"
)

// chosen is a message as a command sees it: taken under the lock, so that bytes
// can go to a slow client without it.
type chosen struct {
	*message
	at    uint32 // sequence number in the client's view
	flags []imap.Flag
}

// choose returns the messages of a set, after letting change work on each. One
// that the client has not been told of yet is not chosen: it has no number to be
// answered with. The caller holds the lock.
func (s *imapSession) choose(set imap.NumSet, change func(*message)) []chosen {
	pick := s.within(set)
	var out []chosen
	for i, m := range s.folder.messages {
		at := s.tracker.EncodeSeqNum(uint32(i) + 1)
		if at == 0 || !pick(at, m.uid) {
			continue
		}
		if change != nil {
			before := maps.Clone(m.flags)
			if change(m); !maps.Equal(before, m.flags) {
				s.folder.tracker.QueueMessageFlags(uint32(i)+1, m.uid, m.flagList(), s.tracker)
			}
		}
		out = append(out, chosen{message: m, at: at, flags: m.flagList()})
	}
	return out
}

// within resolves "*" and makes a test of a set.
func (s *imapSession) within(set imap.NumSet) func(at uint32, uid imap.UID) bool {
	switch set := set.(type) {
	case imap.UIDSet:
		fixed := slices.Clone(set)
		for i, r := range fixed {
			first, last := span(uint32(r.Start), uint32(r.Stop), s.lastUID())
			fixed[i] = imap.UIDRange{Start: imap.UID(first), Stop: imap.UID(last)}
		}
		return func(_ uint32, uid imap.UID) bool { return fixed.Contains(uid) }
	case imap.SeqSet:
		fixed := slices.Clone(set)
		for i, r := range fixed {
			first, last := span(r.Start, r.Stop, uint32(len(s.folder.messages)))
			fixed[i] = imap.SeqRange{Start: first, Stop: last}
		}
		return func(at uint32, _ imap.UID) bool { return at != 0 && fixed.Contains(at) }
	}
	return func(uint32, imap.UID) bool { return false }
}

func (s *imapSession) lastUID() uint32 {
	if n := len(s.folder.messages); n > 0 {
		return uint32(s.folder.messages[n-1].uid)
	}
	return 0
}

// span puts a range in order; "*" (0) is the last number there is.
func span(a, b, last uint32) (uint32, uint32) {
	if a == 0 {
		a = last
	}
	if b == 0 {
		b = last
	}
	return min(a, b), max(a, b)
}

// Fetch writes what is asked for. Reading a body marks it seen, unless the
// client peeks or only examines.
func (s *imapSession) Fetch(w *imapserver.FetchWriter, set imap.NumSet, options *imap.FetchOptions) error {
	var change func(*message)
	if !s.readOnly && slices.ContainsFunc(options.BodySection, func(b *imap.FetchItemBodySection) bool { return !b.Peek }) {
		change = func(m *message) { m.flags[imap.FlagSeen] = true }
	}
	s.box.mu.Lock()
	list := s.choose(set, change)
	s.box.mu.Unlock()
	for _, m := range list {
		if err := m.write(w.CreateMessage(m.at), options, change != nil); err != nil {
			return err
		}
	}
	return nil
}

func (m chosen) write(w *imapserver.FetchResponseWriter, options *imap.FetchOptions, touched bool) error {
	if options.UID {
		w.WriteUID(m.uid)
	}
	if options.Flags || touched {
		w.WriteFlags(m.flags)
	}
	if options.InternalDate {
		w.WriteInternalDate(m.received)
	}
	if options.RFC822Size {
		w.WriteRFC822Size(int64(len(m.raw)))
	}
	if options.Envelope {
		w.WriteEnvelope(m.envelope())
	}
	if options.BodyStructure != nil {
		w.WriteBodyStructure(imapserver.ExtractBodyStructure(bytes.NewReader(m.raw)))
	}
	for _, section := range options.BodySection {
		body := imapserver.ExtractBodySection(bytes.NewReader(m.raw), section)
		part := w.WriteBodySection(section, int64(len(body)))
		if _, err := part.Write(body); err != nil {
			return err
		}
		if err := part.Close(); err != nil {
			return err
		}
	}
	return w.Close()
}

func (m *message) envelope() *imap.Envelope {
	header, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(m.raw)))
	if err != nil {
		return &imap.Envelope{}
	}
	return imapserver.ExtractEnvelope(header)
}

// Store changes flags.
func (s *imapSession) Store(w *imapserver.FetchWriter, set imap.NumSet, flags *imap.StoreFlags, _ *imap.StoreOptions) error {
	if s.readOnly {
		return refusal("STORE failed: the mailbox is open read-only.")
	}
	s.box.mu.Lock()
	list := s.choose(set, func(m *message) { m.store(flags) })
	s.box.mu.Unlock()
	if flags.Silent {
		return nil
	}
	_, byUID := set.(imap.UIDSet)
	for _, m := range list {
		if err := m.write(w.CreateMessage(m.at), &imap.FetchOptions{UID: byUID, Flags: true}, false); err != nil {
			return err
		}
	}
	return nil
}

func (m *message) store(change *imap.StoreFlags) {
	if change.Op == imap.StoreFlagsSet {
		clear(m.flags)
	}
	for _, f := range change.Flags {
		if change.Op == imap.StoreFlagsDel {
			delete(m.flags, canonical(f))
		} else {
			m.flags[canonical(f)] = true
		}
	}
}

// Expunge removes what is marked deleted; the library's poll behind the command
// tells the client, as it tells others. CLOSE of an examined folder removes nothing.
func (s *imapSession) Expunge(_ *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	if s.readOnly {
		return nil
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	pick := func(uint32, imap.UID) bool { return true }
	if uids != nil {
		pick = s.within(*uids)
	}
	s.folder.remove(func(m *message) bool { return m.flags[imap.FlagDeleted] && pick(0, m.uid) })
	return nil
}

// Copy puts the messages into another folder too.
func (s *imapSession) Copy(set imap.NumSet, dest string) (*imap.CopyData, error) {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	data, _, err := s.copy(set, dest)
	return data, err
}

func (s *imapSession) copy(set imap.NumSet, dest string) (*imap.CopyData, []chosen, error) {
	to, ok := s.box.folder(dest)
	if !ok {
		return nil, nil, &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeTryCreate, Text: dest + " mailbox doesn't exist."}
	}
	list := s.choose(set, nil)
	data := &imap.CopyData{UIDValidity: to.validity}
	for _, m := range list {
		data.SourceUIDs.AddNum(m.uid)
		data.DestUIDs.AddNum(to.append(m.raw, m.received, m.flags).uid)
	}
	if len(list) == 0 {
		return nil, nil, nil
	}
	return data, list, nil
}

// Move is RFC 6851; what left is told by the poll behind the command.
func (s *imapSession) Move(w *imapserver.MoveWriter, set imap.NumSet, dest string) error {
	if s.readOnly {
		return refusal("MOVE failed: the mailbox is open read-only.")
	}
	s.box.mu.Lock()
	data, list, err := s.copy(set, dest)
	s.folder.remove(func(m *message) bool {
		return slices.ContainsFunc(list, func(c chosen) bool { return c.message == m })
	})
	s.box.mu.Unlock()
	if err != nil || data == nil {
		return err
	}
	return w.WriteCopyData(data)
}
