package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"

	"postern/internal/fault"
)

// Bounds of what is held in memory and kept of a header.
const (
	maxHeader    = 256 << 10
	maxSubject   = 250 // runes
	maxMessageID = 998
	maxReceived  = 50 // RFC 5321 §6.3: more is a loop
)

// header is the header block of a message, and where its body begins.
type header struct {
	fields     []byte // all header lines, each ended by CRLF
	body       []byte // what was read beyond them and the blank line
	hasDate    bool
	messageID  string // unfolded, "" when missing or empty
	hasID      bool
	subject    string   // decoded, one line, bounded
	from       []string // values of From, unfolded
	hasReplyTo bool
	hasUnsent  bool // a field that must not go on, see [unsent]
	received   int
	utf8       bool // it has characters beyond ASCII, as they are (RFC 6532)
}

// scanHeader reads the header block of a message with canonical line ends.
// A message that does not begin with a header is all body; a header that goes
// over into the body without a blank line ends before the first line that is
// none. An mbox "From " line at the top is dropped.
func scanHeader(br *bufio.Reader) (header, error) {
	var h header
	var field []byte // the current field, unfolded as it grows
	for {
		line, err := readLine(br, maxHeader-len(h.fields))
		if err != nil && !errors.Is(err, io.EOF) {
			return header{}, err
		}
		first := len(h.fields) == 0 && field == nil
		switch {
		case len(line) == 0 || bytes.Equal(line, []byte("\r\n")):
			h.note(field)
			return h, nil
		case first && (bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))):
			continue
		case field != nil && (line[0] == ' ' || line[0] == '\t'):
			field = append(field, bytes.TrimRight(line, "\r\n")...)
		case fieldName(line) != "":
			h.note(field)
			field = bytes.TrimRight(bytes.Clone(line), "\r\n")
		default:
			h.note(field)
			h.body = line
			return h, nil
		}
		h.fields = append(h.fields, line...)
		if !bytes.HasSuffix(line, []byte("\r\n")) { // the message ends inside its header
			h.fields = append(h.fields, '\r', '\n')
		}
	}
}

// readLine returns the next line with its end, of any length up to limit.
func readLine(br *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, fault.New(fault.Invalid, "read header", "it is larger than %d KB", maxHeader>>10)
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// fieldName is the lower-case name of a header line, "" when it is none
// (RFC 5322 §2.2; blanks before the colon are obsolete but met).
func fieldName(line []byte) string {
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || len(name) == 0 {
		return ""
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return strings.ToLower(string(name))
}

// note takes what the relay wants to know out of a whole field.
func (h *header) note(field []byte) {
	if field == nil {
		return
	}
	h.utf8 = h.utf8 || bytes.ContainsFunc(field, func(r rune) bool { return r >= utf8.RuneSelf })
	_, value, _ := strings.Cut(string(field), ":")
	value = strings.TrimSpace(value)
	name := fieldName(field)
	h.hasUnsent = h.hasUnsent || slices.Contains(unsent[:], name)
	switch name {
	case "date":
		h.hasDate = true
	case "message-id":
		h.hasID = true
		if h.messageID == "" && len(value) <= maxMessageID {
			h.messageID = oneLine(value)
		}
	case "subject":
		if h.subject == "" {
			h.subject = decodeSubject(value)
		}
	case "from":
		h.from = append(h.from, value)
	case "reply-to":
		h.hasReplyTo = true
	case "received":
		h.received++
	}
}

// decodeSubject undoes RFC 2047; what cannot be decoded stays as it is.
func decodeSubject(raw string) string {
	dec := mime.WordDecoder{CharsetReader: charset.Reader}
	text, err := dec.DecodeHeader(raw)
	if err != nil {
		text = raw
	}
	text = oneLine(text)
	if utf8.RuneCountInString(text) > maxSubject {
		text = string([]rune(text)[:maxSubject-1]) + "…"
	}
	return text
}

// oneLine makes s fit for a page and a log: valid UTF-8, no control characters.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}
