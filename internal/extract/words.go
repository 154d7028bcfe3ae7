package extract

import (
	"encoding/base64"
	"io"
	"mime"
	"strings"
	"unicode"
)

// maxText bounds a value before it is decoded.
const maxText = 8 << 10

func bounded(s string) string {
	if len(s) > maxText {
		return s[:maxText]
	}
	return s
}

// plainText makes one line of UTF-8 of octets of no known charset.
func plainText(s string) string {
	s, _ = toUTF8("", []byte(s))
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// encodedWord is one "=?charset?B?…?=" (RFC 2047).
type encodedWord struct {
	charset string
	octets  []byte
}

// decodeText decodes RFC 2047 words. Senders cut characters in two between words,
// so neighbours of one charset are decoded together; a word of unknown charset is
// read as well as its octets allow.
func decodeText(s string, warn func(string, ...any)) string {
	s = bounded(s)
	if !strings.Contains(s, "=?") {
		return plainText(s)
	}
	var out strings.Builder
	var held encodedWord
	flush := func() {
		if len(held.octets) > 0 {
			decoded, known := toUTF8(held.charset, held.octets)
			if !known {
				warn("unknown charset %.40q in a header", held.charset)
			}
			out.WriteString(decoded)
		}
		held = encodedWord{}
	}
	for s != "" {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		between := s[:i]
		word, length := parseWord(s[i:])
		if length == 0 {
			flush()
			out.WriteString(plainText(s[:i+2]))
			s = s[i+2:]
			continue
		}
		blank := strings.Trim(between, " \t") == ""
		if !blank || !strings.EqualFold(held.charset, word.charset) {
			wasWord := held.charset != ""
			flush()
			if !blank || !wasWord {
				out.WriteString(plainText(between))
			}
		}
		held.charset = word.charset
		held.octets = append(held.octets, word.octets...)
		s = s[i+length:]
	}
	flush()
	out.WriteString(plainText(s))
	return plainText(out.String())
}

// parseWord reads the word that s begins with; length 0: there is none.
func parseWord(s string) (word encodedWord, length int) {
	label, rest, ok := strings.Cut(s[2:], "?")
	if !ok || label == "" || len(label) > 60 || strings.ContainsAny(label, " \t=\"") || len(rest) < 2 || rest[1] != '?' {
		return word, 0
	}
	end := strings.Index(rest[2:], "?=")
	if end < 0 {
		return word, 0
	}
	text := rest[2 : 2+end]
	word.charset, _, _ = strings.Cut(label, "*") // RFC 2231 §5 adds a language
	switch rest[0] {
	case 'b', 'B':
		word.octets = lenientBase64(text)
	case 'q', 'Q':
		word.octets, _ = unhexPairs(nil, []byte(strings.ReplaceAll(text, "_", " ")), '=')
	default:
		return word, 0
	}
	return word, 2 + len(label) + 1 + 2 + end + 2
}

// lenientBase64 skips what is none.
func lenientBase64(s string) []byte {
	if out, err := base64.StdEncoding.DecodeString(s); err == nil {
		return out
	}
	var r base64Reader
	r.reset(&single{[]byte(s)})
	out, _ := io.ReadAll(&r) // the only error is the end
	return out
}

// single is all in one stretch.
type single struct{ octets []byte }

func (s *single) next() ([]byte, error) {
	if s.octets == nil {
		return nil, io.EOF
	}
	p := s.octets
	s.octets = nil
	return p, nil
}

// wordDecoder serves net/mail.
func wordDecoder(warn func(string, ...any)) *mime.WordDecoder {
	return &mime.WordDecoder{CharsetReader: func(label string, input io.Reader) (io.Reader, error) {
		octets, err := io.ReadAll(input)
		if err != nil {
			return nil, err
		}
		decoded, known := toUTF8(label, octets)
		if !known {
			warn("unknown charset %.40q in a header", label)
		}
		return strings.NewReader(decoded), nil
	}}
}
