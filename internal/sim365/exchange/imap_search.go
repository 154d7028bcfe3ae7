package exchange

import (
	"bytes"
	"mime"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// Search finds messages. Words are looked for in the message as it stands, not in
// decoded parts.
func (s *imapSession) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, _ *imap.SearchOptions) (*imap.SearchData, error) {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	var uids imap.UIDSet
	var seqs imap.SeqSet
	data := &imap.SearchData{}
	for i, m := range s.folder.messages {
		at := s.tracker.EncodeSeqNum(uint32(i) + 1)
		if !s.matches(m, at, criteria) {
			continue
		}
		n := uint32(m.uid)
		if kind == imapserver.NumKindSeq {
			if n = at; n == 0 {
				continue
			}
			seqs.AddNum(at)
		} else {
			uids.AddNum(m.uid)
		}
		if data.Count++; data.Min == 0 {
			data.Min = n
		}
		data.Max = n
	}
	if data.All = uids; kind == imapserver.NumKindSeq {
		data.All = seqs
	}
	return data, nil
}

func (s *imapSession) matches(m *message, at uint32, c *imap.SearchCriteria) bool {
	for _, set := range c.SeqNum {
		if !s.within(set)(at, m.uid) {
			return false
		}
	}
	for _, set := range c.UID {
		if !s.within(set)(at, m.uid) {
			return false
		}
	}
	return m.hasFlags(c) && m.hasSize(c) && m.hasText(c) &&
		betweenDays(m.received, c.Since, c.Before) && s.combined(m, at, c)
}

func (s *imapSession) combined(m *message, at uint32, c *imap.SearchCriteria) bool {
	for i := range c.Not {
		if s.matches(m, at, &c.Not[i]) {
			return false
		}
	}
	for i := range c.Or {
		if !s.matches(m, at, &c.Or[i][0]) && !s.matches(m, at, &c.Or[i][1]) {
			return false
		}
	}
	return true
}

func (m *message) hasFlags(c *imap.SearchCriteria) bool {
	set := func(f imap.Flag) bool { return m.flags[canonical(f)] }
	unset := func(f imap.Flag) bool { return !set(f) }
	return !slices.ContainsFunc(c.Flag, unset) && !slices.ContainsFunc(c.NotFlag, set)
}

func (m *message) hasSize(c *imap.SearchCriteria) bool {
	n := int64(len(m.raw))
	return (c.Larger == 0 || n > c.Larger) && (c.Smaller == 0 || n < c.Smaller)
}

func (m *message) hasText(c *imap.SearchCriteria) bool {
	var raw, body []byte
	if len(c.Text)+len(c.Body) > 0 {
		raw = bytes.ToLower(m.raw)
		_, body, _ = bytes.Cut(raw, []byte("\r\n\r\n"))
	}
	for _, text := range c.Text {
		if !bytes.Contains(raw, []byte(strings.ToLower(text))) {
			return false
		}
	}
	for _, text := range c.Body {
		if !bytes.Contains(body, []byte(strings.ToLower(text))) {
			return false
		}
	}
	if len(c.Header) == 0 && c.SentSince.IsZero() && c.SentBefore.IsZero() {
		return true
	}
	return m.hasHeader(c)
}

func (m *message) hasHeader(c *imap.SearchCriteria) bool {
	parsed, err := mail.ReadMessage(bytes.NewReader(m.raw))
	if err != nil {
		return false
	}
	if !c.SentSince.IsZero() || !c.SentBefore.IsZero() {
		if sent, err := parsed.Header.Date(); err != nil || !betweenDays(sent, c.SentSince, c.SentBefore) {
			return false
		}
	}
	for _, h := range c.Header {
		values := textproto.MIMEHeader(parsed.Header).Values(h.Key)
		if !slices.ContainsFunc(values, func(v string) bool { return containsWord(v, h.Value) }) {
			return false
		}
	}
	return true
}

func containsWord(value, part string) bool {
	if decoded, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
		value = decoded
	}
	return strings.Contains(strings.ToLower(value), strings.ToLower(part))
}

// betweenDays compares days without zones (RFC 9051 §6.4.4).
func betweenDays(t, since, before time.Time) bool {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return (since.IsZero() || !day.Before(since)) && (before.IsZero() || day.Before(before))
}
