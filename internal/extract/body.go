package extract

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/text/transform"
)

// maxHTML bounds what of the HTML body is looked at, for words and for the pictures
// it shows.
const maxHTML = 256 << 10

// bodies finds the body of the message, as a mail client would: the first plain
// text and the first HTML, the second of the two only beside the first.
type bodies struct {
	plain, html beginning
}

// beginning keeps the first octets of a body.
type beginning struct {
	begun bool
	group int
	limit int
	kept  bytes.Buffer
	cids  map[string]bool // what HTML shows of the other parts
}

// Write keeps what fits.
func (b *beginning) Write(p []byte) (int, error) {
	_, _ = b.kept.Write(p[:min(len(p), b.room())])
	return len(p), nil
}

func (b *beginning) room() int { return max(0, b.limit-b.kept.Len()) }

// accepts reports whether a leaf is a body that is still missing.
func (b *bodies) accepts(l leaf) bool {
	if !isBodyType(l.ContentType) || l.Name != "" || l.within ||
		l.disposition != "" && l.disposition != "inline" {
		return false
	}
	mine, other := &b.plain, &b.html
	if l.ContentType == "text/html" {
		mine, other = other, mine
	}
	return !mine.begun && (!other.begun || l.group != 0 && l.group == other.group)
}

func (b *bodies) of(k Kind) *beginning {
	if k == BodyHTML {
		return &b.html
	}
	return &b.plain
}

// asBody gives a body in UTF-8 and keeps its beginning. HTML gets a byte order mark:
// a file has no header to name its charset, and the mark overrules what the HTML
// says of itself.
func (w *walker) asBody(l leaf, head []byte, r io.Reader) io.Reader {
	b := w.bodies.of(l.Kind)
	b.begun, b.group, b.limit = true, l.group, w.limits.Text
	if l.Kind == BodyHTML {
		b.limit = maxHTML
	}
	enc, known := bodyEncoding(l, head)
	if !known {
		w.warnPart("unknown charset %.40q; taken for UTF-8 or Windows-1252", l.charset)
	}
	r = io.TeeReader(transform.NewReader(r, enc.NewDecoder()), b)
	if l.Kind == BodyHTML {
		return io.MultiReader(strings.NewReader("\ufeff"), r)
	}
	return r
}

// complete reads as much of a body as is to be kept and take left.
func (w *walker) complete(l leaf, r io.Reader) error {
	b := w.bodies.of(l.Kind)
	if _, err := io.CopyN(io.Discard, r, int64(b.room())); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if l.Kind == BodyHTML {
		b.cids = cids(b.kept.Bytes())
	}
	return nil
}

// refersTo reports whether the HTML body shows the part of a Content-ID.
func (b *bodies) refersTo(id string) bool { return b.html.cids[id] }

// text is the body for people who read no HTML.
func (b *bodies) text(limit int) string {
	if limit <= 0 {
		return ""
	}
	s := plainLines(b.plain.kept.Bytes())
	if s == "" {
		s = htmlText(b.html.kept.Bytes(), limit)
	}
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// plainLines ends lines with \n and drops what is neither text nor space.
func plainLines(p []byte) string {
	s := strings.ReplaceAll(strings.ToValidUTF8(string(p), ""), "\r\n", "\n")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r == '\r':
			return '\n'
		case unicode.IsControl(r), r == '\ufeff':
			return -1
		}
		return r
	}, s))
}

// cids lists the parts that HTML shows: RFC 2392 URLs, wherever they stand.
func cids(p []byte) map[string]bool {
	const enough = 1000
	found := make(map[string]bool)
	for len(found) < enough {
		before, after, ok := bytes.Cut(p, []byte(":"))
		if !ok {
			break
		}
		p = after
		if n := len(before); n < 3 || !strings.EqualFold(string(before[n-3:]), "cid") {
			continue
		}
		id := p[:min(len(p), 500)]
		if end := bytes.IndexAny(id, "\"'<>) \t\r\n"); end >= 0 {
			id = id[:end]
		}
		s := strings.TrimRight(html.UnescapeString(string(id)), "\"'")
		if plain, err := url.PathUnescape(s); err == nil {
			s = plain
		}
		found[s] = true
	}
	return found
}

// htmlText is what HTML says, simply: words in order, a line for each block. It stops
// when it has what makes limit octets, blanks aside.
func htmlText(p []byte, limit int) string {
	var b strings.Builder
	z := html.NewTokenizer(bytes.NewReader(p))
	hidden := ""
	for {
		token := z.Next()
		if b.Len() > 4*limit+1<<10 {
			token = html.ErrorToken
		}
		switch token {
		case html.ErrorToken:
			return plainLines([]byte(tidyLines(b.String())))
		case html.TextToken:
			if hidden == "" {
				b.Write(bytes.Map(oneSpace, z.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			tag := string(name)
			if hidden == "" && isHidden(tag) {
				hidden = tag
			}
			breakLine(&b, tag)
		case html.EndTagToken:
			name, _ := z.TagName()
			tag := string(name)
			if tag == hidden {
				hidden = ""
			}
			breakLine(&b, tag)
		}
	}
}

func isHidden(tag string) bool {
	return tag == "script" || tag == "style" || tag == "title" || tag == "template"
}

func breakLine(b *strings.Builder, tag string) {
	switch tag {
	case "br", "p", "div", "tr", "li", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "blockquote", "pre":
		b.WriteByte('\n')
	case "td", "th":
		b.WriteByte(' ')
	}
}

func oneSpace(r rune) rune {
	if r == '\n' || r == '\r' || r == '\t' || r == '\u00a0' {
		return ' '
	}
	return r
}

// tidyLines joins runs of blanks and of empty lines.
func tidyLines(s string) string {
	var b strings.Builder
	empty := true
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.Join(strings.Fields(line), " ")
		if line == "" && empty {
			continue
		}
		empty = line == ""
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}
