package graph

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message/charset"

	"postern/internal/fault"
	"postern/internal/mail"
)

// maxHeader bounds the header block, which is held in memory.
const maxHeader = 1 << 20

// Letter is a message whose headers name exactly the recipients of its envelope. Its
// header is in memory, the rest of it a stream that can be read once.
type Letter struct {
	MessageID string // with angle brackets; "" when it has none

	accepted    time.Time // by the queue; zero when not known
	envelope    []mail.Address
	fields      []field
	to, cc, bcc []person
	rest        *source // behind the blank line
	begin       []byte  // what was read of rest already
	size        int64   // of what is behind the blank line; negative when not known
}

// field is a header field as it stands, line ends and folds included.
type field struct {
	name string // lower case
	raw  []byte
}

// value is the text behind the colon, unfolded.
func (f field) value() string {
	_, v, _ := strings.Cut(string(f.raw), ":")
	return strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(v))
}

// source remembers what ended a stream, EOF apart: a body that cannot be read must not
// look like one that ends.
type source struct {
	*bufio.Reader
	under io.Reader
	err   error
}

func newSource(r io.Reader) *source {
	s := &source{under: r}
	s.Reader = bufio.NewReaderSize(readerFunc(func(p []byte) (int, error) {
		n, err := s.under.Read(p)
		if err != nil && !errors.Is(err, io.EOF) {
			s.err = fault.Wrap(fault.Temporary, "read message body", err)
			return n, s.err
		}
		return n, err
	}), 32<<10)
	return s
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Read takes the header of a message, which env is folded into: recipients that only
// the headers name are not mailed, those that only the envelope names become Bcc. size
// is the octets of body, 0 when not known.
func Read(env mail.Envelope, size int64, body io.Reader) (*Letter, error) {
	l := &Letter{envelope: env.To, rest: newSource(body)}
	l.accepted, _ = mail.MadeAt(env.ID)
	n, err := l.readHeader()
	if err != nil {
		return nil, err
	}
	l.size = -1
	if size > 0 {
		l.size = size - n
	}
	l.address()
	l.identify(env)
	return l, nil
}

// identify gives a message without an identity one that is the same at every try.
func (l *Letter) identify(env mail.Envelope) {
	if l.MessageID != "" || env.ID == "" {
		return
	}
	l.MessageID = "<" + env.ID + "@" + env.From.Domain + ">"
	l.fields = slices.DeleteFunc(l.fields, func(f field) bool { return f.name == "message-id" })
	l.fields = append(l.fields, field{"message-id", []byte("Message-ID: " + l.MessageID + "\r\n")})
}

// readHeader takes fields up to the blank line, or up to a line that is none of a
// header, and counts the octets before the body.
func (l *Letter) readHeader() (read int64, err error) {
	for {
		line, err := l.line(maxHeader - int(read))
		if err != nil && !errors.Is(err, io.EOF) {
			return read, err
		}
		read += int64(len(line))
		name := fieldName(line)
		switch {
		case len(bytes.TrimRight(line, "\r\n")) == 0:
			return read, nil
		case len(l.fields) > 0 && (line[0] == ' ' || line[0] == '\t'):
			last := &l.fields[len(l.fields)-1]
			last.raw = append(last.raw, crlf(line)...)
		case name != "":
			l.fields = append(l.fields, field{name, crlf(line)})
		default:
			l.begin = line
			return read - int64(len(line)), nil
		}
	}
}

// line returns the next line with its end, in memory of its own.
func (l *Letter) line(limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := l.rest.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, fault.New(fault.Permanent, "read header", "it is larger than %d KB", maxHeader>>10)
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func crlf(line []byte) []byte { return append(bytes.TrimRight(line, "\r\n"), '\r', '\n') }

// fieldName is the lower-case name of a header line, "" when it is none (RFC 5322 §2.2).
func fieldName(line []byte) string {
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return ""
	}
	return strings.ToLower(string(name))
}

// address replaces who the headers say gets the message by who does.
func (l *Letter) address() {
	var kept []field
	for _, f := range l.fields {
		switch f.name {
		case "to":
			l.to = append(l.to, among(people(f.value()), l.envelope)...)
		case "cc":
			l.cc = append(l.cc, among(people(f.value()), l.envelope)...)
		case "bcc", "resent-bcc": // whom they name and the envelope too is named below
		default:
			if f.name == "message-id" && l.MessageID == "" {
				l.MessageID = f.value()
			}
			kept = append(kept, f)
		}
	}
	l.fields = kept
	open := make(map[string]bool, len(l.to)+len(l.cc))
	for _, p := range append(l.to[:len(l.to):len(l.to)], l.cc...) {
		open[strings.ToLower(p.address.String())] = true
	}
	for _, a := range l.envelope {
		if !open[strings.ToLower(a.String())] {
			l.bcc = append(l.bcc, person{address: a})
		}
	}
}

// header is the header block as it goes out, blank line included.
func (l *Letter) header() []byte {
	var b bytes.Buffer
	for _, f := range l.fields {
		b.Write(f.raw)
	}
	b.WriteString(addressField("To", l.to) + addressField("Cc", l.cc) + addressField("Bcc", l.bcc) + "\r\n")
	return b.Bytes()
}

// get is the first value of a field, "" when it is not there.
func (l *Letter) get(name string) string {
	for _, f := range l.fields {
		if f.name == name {
			return f.value()
		}
	}
	return ""
}

// decoded is a field's value without encoded words.
func (l *Letter) decoded(name string) string { return decode(l.get(name)) }

func decode(s string) string {
	text, err := (&mime.WordDecoder{CharsetReader: charset.Reader}).DecodeHeader(s)
	if err != nil {
		text = s
	}
	return oneLine(text)
}

// body is everything behind the blank line.
func (l *Letter) body() io.Reader { return io.MultiReader(bytes.NewReader(l.begin), l.rest) }

// whole is a message that fits into one request.
type whole struct{ header, body []byte }

// whole reads the message into memory if it is no larger than limit. Otherwise what was
// read is put back.
func (l *Letter) whole(limit int64) (w whole, fits bool, err error) {
	w.header = l.header()
	limit -= int64(len(w.header))
	if l.size > limit || limit < 0 {
		return whole{}, false, nil
	}
	var b bytes.Buffer
	if l.size > 0 {
		b.Grow(int(l.size) + bytes.MinRead) // one piece of memory, of the right size
	}
	if _, err := b.ReadFrom(io.LimitReader(l.body(), limit+1)); err != nil {
		return whole{}, false, err
	}
	if int64(b.Len()) > limit {
		l.begin, l.size = b.Bytes(), -1
		return whole{}, false, nil
	}
	w.body = b.Bytes()
	return w, true, nil
}

// encoded is the length of the message in base64.
func (w whole) encoded() int64 {
	return int64(base64.StdEncoding.EncodedLen(len(w.header) + len(w.body)))
}

// reader gives the message in base64, a piece at a time.
func (w whole) reader() io.Reader {
	return &encoder{src: io.MultiReader(bytes.NewReader(w.header), bytes.NewReader(w.body))}
}

// encoder turns a stream into base64 as it is read.
type encoder struct {
	src io.Reader
	in  [12 << 10]byte // a multiple of three
	out []byte         // encoded, not yet handed out
	err error
}

func (e *encoder) Read(p []byte) (int, error) {
	if len(e.out) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		var n int
		n, e.err = io.ReadFull(e.src, e.in[:])
		if errors.Is(e.err, io.ErrUnexpectedEOF) {
			e.err = io.EOF
		}
		e.out = base64.StdEncoding.AppendEncode(e.out[:0], e.in[:n])
		if n == 0 {
			return 0, e.err
		}
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}
