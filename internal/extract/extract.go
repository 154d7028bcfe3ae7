// Package extract takes a message apart: one pass over a stream, in memory that
// does not grow with the message, whatever the message is. It knows MIME as it is
// written, not only as it is specified: what is malformed is a warning, since the
// mail cannot be sent back.
//
// It decides what each part is (the body, an attachment, a picture of the body, a
// message within), what it is called, and under which name it can be kept. It does
// not store, does not choose which parts are wanted, and does not open what is not
// mail: archives stay closed, signed and encrypted parts whole, winmail.dat too.
package extract

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"postern/internal/fault"
)

// Limits are what a message may be. A field of 0 takes the default, far above what
// honest mail needs; Open and Text are settings as well, and 0 turns them off.
type Limits struct {
	Size     int64 // octets of the message; no bound by default
	Expanded int64 // octets that come out of it, all parts together; no bound by default
	Header   int   // octets of one header block; 1 MiB
	Depth    int   // multiparts and opened messages within each other; 100
	Parts    int   // parts in all; 2,000
	Open     int   // depth to which messages within the message are opened; 0 keeps them as .eml
	Text     int   // octets of Summary.Text; 0 collects none
}

func (l Limits) withDefaults() Limits {
	const unbounded = 1 << 62
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.Header, 1<<20)
	set(&l.Depth, 100)
	set(&l.Parts, 2000)
	if l.Size <= 0 {
		l.Size = unbounded
	}
	if l.Expanded <= 0 {
		l.Expanded = unbounded
	}
	return l
}

// ErrTooMuch marks a message beyond its [Limits]; the error says beyond which.
// Trying again is of no use.
var ErrTooMuch = errors.New("beyond what a message may be")

func tooMuch(format string, args ...any) error {
	return fault.New(fault.Permanent, "read message", "%w: %s", ErrTooMuch, fmt.Sprintf(format, args...))
}

// Kind says what a part is for.
type Kind uint8

// The kinds.
const (
	Attachment Kind = iota
	BodyText        // the body as plain text, given in UTF-8
	BodyHTML        // the body as HTML, given in UTF-8 with a byte order mark
	Nested          // a message, whole
	Report          // what mail programs tell each other: delivery reports, PGP versions
)

// String is the name that logs and tests use.
func (k Kind) String() string {
	return [...]string{"attachment", "body_text", "body_html", "nested", "report"}[k]
}

// Part is one leaf of the message.
type Part struct {
	Index       int    // its place among the leaves, from 1; the same at every reading
	Kind        Kind   //
	Name        string // as the message calls it, decoded, one line of UTF-8; unsafe, see [SafeName]
	ContentType string // declared: lower case, no parameters, always of the form a/b
	Detected    string // what the content looks like; "" for an empty part and for bodies
	Inline      bool   // shown with the body rather than offered as a file
	ContentID   string // without angle brackets
}

// Type is the declared type, or the detected one where the declared says nothing.
func (p Part) Type() string {
	if p.Detected != "" && (p.ContentType == octets || p.ContentType == "application/x-download") {
		return p.Detected
	}
	return p.ContentType
}

// octets is the type that says nothing.
const octets = "application/octet-stream"

// Address is one mailbox of a header field. Where a field is no list of addresses,
// Name holds its words and Address is empty.
type Address struct{ Name, Address string }

// Summary is what the message says of itself. All text is UTF-8, of one line, bounded.
type Summary struct {
	MessageID, Subject    string
	From, To, Cc, ReplyTo []Address
	Date                  time.Time // zero when there is none that can be read
	AutoReply             bool      // a machine answered (RFC 3834): out of office, read receipt
	Bounce                bool      // a delivery report
	Text                  string    // the body as plain text, at most Limits.Text octets, lines kept
	Size, Expanded        int64     // octets read; octets that came out of parts that were read
	Parts                 int       // leaves
	Warnings              []string  // what was malformed, at most 20
}

// Extractor keeps its buffers from one message to the next, which is half of the
// work on small mail. The zero value is ready; it is for one goroutine at a time.
type Extractor struct {
	window []byte
	peek   *bufio.Reader
	base64 *base64Reader
	quoted *quotedReader
}

// Walk reads the message once. It calls take for each leaf, in order; take reads as
// much of body as it wants, before it returns. An error is take's, the reader's own,
// or [ErrTooMuch]; what the Summary holds until then is true.
func (x *Extractor) Walk(r io.Reader, limits Limits, take func(p Part, body io.Reader) error) (Summary, error) {
	w := x.walker(r, limits)
	if w.take = take; x.peek == nil {
		x.peek = bufio.NewReaderSize(nil, sniffed)
		x.base64, x.quoted = new(base64Reader), new(quotedReader)
	}
	err := w.message()
	x.peek.Reset(nil)
	x.base64.reset(nil)
	x.quoted.reset(nil)
	return w.summary(), err
}

// Head reads the message's header, and of what follows as much as comes along with it.
// Parts, Text and what depends on them stay empty.
func (x *Extractor) Head(r io.Reader, limits Limits) (Summary, error) {
	w := x.walker(r, limits)
	var err error
	w.head, err = w.readHeader(true)
	return w.summary(), err
}

func (x *Extractor) walker(r io.Reader, limits Limits) *walker {
	if x.window == nil {
		x.window = make([]byte, window)
	}
	return &walker{Extractor: x, source: newSource(r, x.window, limits.withDefaults())}
}
