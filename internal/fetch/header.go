package fetch

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"net/textproto"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding/charmap"
)

// header is one header block: fields in order, values unfolded and undecoded.
// Lines that are no fields are skipped.
type header struct {
	fields []field
	junk   bool // the last line was no field; its continuation is none either
}

type field struct {
	name  string
	value []byte
}

// add takes the next line, or piece of a line.
func (h *header) add(fragment []byte, first bool) {
	text := bytes.TrimRight(fragment, "\r\n")
	if !first || text[0] == ' ' || text[0] == '\t' {
		if n := len(h.fields); n > 0 && !h.junk {
			if first {
				text = append([]byte{' '}, bytes.TrimLeft(text, " \t")...)
			}
			h.fields[n-1].value = append(h.fields[n-1].value, text...)
		}
		return
	}
	name, value, ok := bytes.Cut(text, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	h.junk = !ok || len(name) == 0 || bytes.ContainsAny(name, " \t")
	if !h.junk {
		h.fields = append(h.fields, field{
			name:  textproto.CanonicalMIMEHeaderKey(string(name)),
			value: bytes.Clone(bytes.TrimLeft(value, " \t")),
		})
	}
}

// get returns the first field of a name, given in canonical form.
func (h *header) get(name string) string {
	for _, f := range h.fields {
		if f.name == name {
			return strings.TrimSpace(string(f.value))
		}
	}
	return ""
}

// text returns a field for people: decoded, one line, bounded.
func (h *header) text(name string) string { return decodeText(h.get(name)) }

// date is the Date field, zero when there is none that can be read.
func (h *header) date() time.Time {
	t, err := mail.ParseDate(h.get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t
}

// addresses returns the bare addresses of a field, or its words where they are no addresses.
func (h *header) addresses(name string) []string {
	const enough = 200
	raw := bounded(h.get(name))
	if raw == "" {
		return []string{}
	}
	parser := mail.AddressParser{WordDecoder: wordDecoder()}
	list, err := parser.ParseList(raw)
	if err != nil {
		return []string{decodeText(raw)}
	}
	out := make([]string, 0, min(len(list), enough))
	for _, a := range list[:min(len(list), enough)] {
		out = append(out, validText(a.Address))
	}
	return out
}

func wordDecoder() *mime.WordDecoder {
	return &mime.WordDecoder{CharsetReader: func(label string, input io.Reader) (io.Reader, error) {
		return charset.Reader(label, input)
	}}
}

// maxText bounds a value before it is decoded.
const maxText = 8 << 10

func bounded(s string) string {
	if len(s) > maxText {
		return s[:maxText]
	}
	return s
}

// decodeText decodes RFC 2047 words and raw octets of no known charset.
func decodeText(s string) string {
	s = bounded(s)
	if decoded, err := wordDecoder().DecodeHeader(s); err == nil {
		s = decoded
	}
	return validText(s)
}

// validText makes UTF-8 of octets that are none; Windows-1252 is what they mostly are.
func validText(s string) string {
	if !utf8.ValidString(s) {
		if latin, err := charmap.Windows1252.NewDecoder().String(s); err == nil {
			s = latin
		}
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// parseParams reads "value; name=value; …" (RFC 2045 §5.1) as senders write it:
// quotes missing, doubled or never closed, blanks where none belong, octets above
// 127. RFC 2231 charsets and continuations and RFC 2047 words are decoded.
func parseParams(s string) (value string, params map[string]string) {
	value, rest, _ := strings.Cut(bounded(s), ";")
	value = strings.TrimSpace(value)
	if i := strings.IndexAny(value, " \t("); i >= 0 { // a comment, or a forgotten semicolon
		value = value[:i]
	}
	raw := make(map[string]string)
	for rest != "" {
		var name, v string
		name, v, rest = parseParam(rest)
		if _, twice := raw[name]; name != "" && !twice {
			raw[name] = v
		}
	}
	return value, joinParams(raw)
}

// parseParam reads one parameter and returns what follows its semicolon.
func parseParam(s string) (name, value, rest string) {
	i := strings.IndexAny(s, "=;")
	if i < 0 {
		return "", "", ""
	}
	if s[i] == ';' {
		return "", "", s[i+1:]
	}
	name = strings.ToLower(strings.TrimSpace(s[:i]))
	s = strings.TrimLeft(s[i+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ";")
		return name, strings.TrimSpace(value), rest
	}
	var b strings.Builder
	for i = 1; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\') {
			i++
		}
		b.WriteByte(s[i])
	}
	_, rest, _ = strings.Cut(s[min(i, len(s)):], ";")
	return name, b.String(), rest
}

// joinParams puts RFC 2231 pieces (name*0*, name*1 …) together and decodes all.
func joinParams(raw map[string]string) map[string]string {
	type piece struct {
		index   int
		value   string
		encoded bool
	}
	pieces := make(map[string][]piece)
	out := make(map[string]string, len(raw))
	for name, value := range raw {
		base, suffix, extended := strings.Cut(name, "*")
		if !extended {
			out[name] = decodeText(value)
			continue
		}
		suffix, encoded := strings.CutSuffix("*"+suffix, "*")
		index, err := strconv.Atoi(strings.TrimPrefix(suffix, "*"))
		if err != nil {
			index = 0
		}
		pieces[base] = append(pieces[base], piece{index, value, encoded || suffix == ""})
	}
	for base, list := range pieces {
		sort.SliceStable(list, func(i, j int) bool { return list[i].index < list[j].index })
		label, joined := "", strings.Builder{}
		for i, p := range list {
			v := p.value
			if p.encoded {
				if i == 0 {
					if parts := strings.SplitN(v, "'", 3); len(parts) == 3 {
						label, v = parts[0], parts[2]
					}
				}
				v = percentDecode(v)
			}
			joined.WriteString(v)
		}
		out[base] = fromCharset(label, joined.String()) // more telling than a plain one beside it
	}
	return out
}

func percentDecode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	return string(unhexPairs([]byte(s), '%'))
}

// unhexPairs replaces a mark and two hexadecimal digits by the octet they stand
// for. A mark that has no digits behind it is kept as it is.
func unhexPairs(p []byte, mark byte) []byte {
	out := make([]byte, 0, len(p)+2) // a line end may be added by the caller
	for i := 0; i < len(p); i++ {
		if p[i] == mark && i+2 < len(p) {
			high, ok1 := unhex(p[i+1])
			low, ok2 := unhex(p[i+2])
			if ok1 && ok2 {
				out = append(out, high<<4|low)
				i += 2
				continue
			}
		}
		out = append(out, p[i])
	}
	return out
}

func fromCharset(label, s string) string {
	if label != "" && !strings.EqualFold(label, "utf-8") {
		if r, err := charset.Reader(label, strings.NewReader(s)); err == nil {
			if b, err := io.ReadAll(r); err == nil {
				s = string(b)
			}
		}
	}
	return decodeText(s)
}
