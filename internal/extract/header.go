package extract

import (
	"bytes"
	"net/mail"
	"strings"
	"time"
)

// header is one header block: the first of each field that matters here, unfolded
// and undecoded.
type header struct {
	fields  []field
	into    int // index of the field a continuation belongs to; -1: to none
	started bool
	warn    func(string, ...any)
}

type field struct {
	name  string
	value []byte
}

// maxValue bounds what is kept of a field.
const maxValue = 64 << 10

// known are the fields that are kept; hostile mail brings a million others.
var known = map[string]string{
	"content-type": "Content-Type", "content-disposition": "Content-Disposition",
	"content-transfer-encoding": "Content-Transfer-Encoding", "content-id": "Content-Id",
	"content-location": "Content-Location",
	"message-id":       "Message-Id", "subject": "Subject", "date": "Date",
	"from": "From", "to": "To", "cc": "Cc", "reply-to": "Reply-To",
	"auto-submitted": "Auto-Submitted", "precedence": "Precedence", "x-precedence": "X-Precedence",
	"x-autoreply": "X-Autoreply", "x-autorespond": "X-Autorespond", "x-autoreply-from": "X-Autoreply-From",
	"x-auto-response-suppress": "X-Auto-Response-Suppress", "x-failed-recipients": "X-Failed-Recipients",
	"return-path": "Return-Path", "in-reply-to": "In-Reply-To",
}

// isField reports whether a line begins a field: visible ASCII, perhaps blanks, a colon.
func isField(line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	return ok && len(name) > 0 && !bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// add takes the next line, or piece of a line.
func (h *header) add(fragment []byte, first bool) {
	text := bytes.TrimRight(fragment, "\r\n")
	switch {
	case !first:
		h.extend(text)
	case len(text) > 0 && (text[0] == ' ' || text[0] == '\t'):
		h.extend([]byte(" "))
		h.extend(bytes.TrimLeft(text, " \t"))
	case isField(text):
		h.begin(text)
	default:
		h.into = -1
	}
}

func (h *header) begin(text []byte) {
	name, value, _ := bytes.Cut(text, []byte(":"))
	h.started, h.into = true, -1
	name = bytes.TrimRight(name, " \t")
	const longest = 30
	if len(name) > longest {
		return
	}
	var lower [longest]byte
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	canonical, ok := known[string(lower[:len(name)])]
	if !ok || h.has(canonical) {
		return
	}
	h.into = len(h.fields)
	h.fields = append(h.fields, field{name: canonical})
	h.extend(bytes.TrimLeft(value, " \t"))
}

func (h *header) extend(text []byte) {
	if !h.started || h.into < 0 {
		return
	}
	f := &h.fields[h.into]
	f.value = append(f.value, text[:min(len(text), maxValue-len(f.value))]...)
}

func (h *header) has(name string) bool {
	for _, f := range h.fields {
		if f.name == name {
			return true
		}
	}
	return false
}

// get returns the value of a field, given in canonical form.
func (h *header) get(name string) string {
	for _, f := range h.fields {
		if f.name == name {
			return strings.TrimSpace(string(f.value))
		}
	}
	return ""
}

// text returns a field for people: decoded, one line, bounded.
func (h *header) text(name string) string { return decodeText(h.get(name), h.warn) }

// date is the Date field, zero when there is none that can be read.
func (h *header) date() time.Time {
	raw := h.get("Date")
	if raw == "" {
		return time.Time{}
	}
	t, err := time.Parse(usualDate, raw)
	if err != nil {
		t, err = mail.ParseDate(raw)
	}
	if err != nil {
		return time.Time{}
	}
	return t
}

// usualDate is how nearly all mail has it; mail.ParseDate tries two dozen others first.
const usualDate = "Mon, 2 Jan 2006 15:04:05 -0700"

// addresses reads a field of addresses; where RFC 5322 does not help, what stands
// in angle brackets; else its words.
func (h *header) addresses(name string) []Address {
	const enough = 200
	raw := h.get(name)
	if raw == "" {
		return nil
	}
	if i := strings.LastIndexByte(raw, ','); i > 0 && len(raw) > maxValue-10 {
		raw = raw[:i] // the field was cut within an address
	}
	parser := mail.AddressParser{WordDecoder: wordDecoder(h.warn)}
	list, err := parser.ParseList(raw)
	if err != nil {
		return angled(raw, enough, h.warn)
	}
	out := make([]Address, 0, min(len(list), enough))
	for _, a := range list[:min(len(list), enough)] {
		name := decodeText(a.Name, h.warn) // once more: many put encoded words in quotes
		out = append(out, Address{Name: name, Address: plainText(a.Address)})
	}
	return out
}

// angled reads "words <address>, …" where the words follow no rule.
func angled(raw string, enough int, warn func(string, ...any)) []Address {
	var out []Address
	rest := raw
	for len(out) < enough {
		words, tail, opened := strings.Cut(rest, "<")
		address, after, closed := strings.Cut(tail, ">")
		if !opened || !closed {
			break
		}
		words = strings.Trim(words, " \t,;\"'")
		if strings.Contains(address, "@") && !strings.ContainsAny(address, " \t,\"") {
			out = append(out, Address{Name: decodeText(words, warn), Address: plainText(address)})
		}
		rest = after
	}
	if len(out) == 0 {
		out = append(out, Address{Name: decodeText(raw, warn)})
	}
	return out
}

// subjectOf makes a name of the subject of a message of which head is the beginning.
func subjectOf(head []byte) string {
	h := header{warn: func(string, ...any) {}}
	for len(head) > 0 {
		line, rest, whole := bytes.Cut(head, []byte("\n"))
		if len(bytes.TrimRight(line, "\r")) == 0 || !whole && len(rest) > 0 {
			break
		}
		h.add(line, true)
		head = rest
	}
	return strings.NewReplacer("/", "_", `\`, "_").Replace(h.text("Subject")) // no path, whatever it looks like
}
