package extract

import (
	"sort"
	"strconv"
	"strings"
)

// parseParams reads "value; name=value; …" (RFC 2045 §5.1) as senders write it:
// quotes missing, doubled or never closed, blanks where none belong, octets above
// 127, no value at all. RFC 2231 charsets and continuations and RFC 2047 words are
// decoded.
func parseParams(s string, warn func(string, ...any)) (value string, params map[string]string) {
	s = bounded(s)
	value, rest, _ := strings.Cut(s, ";")
	value = strings.TrimSpace(value)
	if i := strings.IndexAny(value, " \t("); i >= 0 { // a comment, or a forgotten semicolon
		if strings.Contains(value[i:], "=") {
			rest = strings.TrimSpace(s)[i:]
		}
		value = value[:i]
	}
	if strings.Contains(value, "=") { // the value was forgotten
		value, rest = "", s
	}
	if rest == "" {
		return strings.Trim(value, `"`), nil
	}
	raw := make(map[string]string)
	for rest != "" {
		var name, v string
		name, v, rest = parseParam(rest)
		if _, twice := raw[name]; name != "" && !twice {
			raw[name] = v
		}
	}
	return strings.Trim(value, `"`), joinParams(raw, warn)
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

// piece is one of name*0*, name*1 and so on (RFC 2231 §3).
type piece struct {
	index   int
	value   string
	encoded bool
}

// joinParams puts the pieces together and decodes all.
func joinParams(raw map[string]string, warn func(string, ...any)) map[string]string {
	pieces := make(map[string][]piece)
	out := make(map[string]string, len(raw))
	for name, value := range raw {
		base, suffix, extended := strings.Cut(name, "*")
		if !extended {
			out[name] = decodeText(value, warn)
			continue
		}
		number, encoded := strings.CutSuffix(suffix, "*")
		index, err := strconv.Atoi(number)
		if err != nil {
			index, encoded = 0, encoded || suffix == ""
		}
		pieces[base] = append(pieces[base], piece{index, value, encoded})
	}
	for base, list := range pieces {
		if joined := joinPieces(list, warn); joined != "" {
			out[base] = joined // more telling than a plain one beside it
		}
	}
	return out
}

// joinPieces decodes the octets of all pieces at once, for senders cut characters in
// two. Equal numbers, which no honest sender gives, are put in order too.
func joinPieces(list []piece, warn func(string, ...any)) string {
	sort.Slice(list, func(i, j int) bool {
		if list[i].index != list[j].index {
			return list[i].index < list[j].index
		}
		return list[i].value < list[j].value
	})
	label := ""
	var octets []byte
	for i, p := range list {
		v := p.value
		if p.encoded && i == 0 {
			if parts := strings.SplitN(v, "'", 3); len(parts) == 3 {
				label, v = parts[0], parts[2]
			}
		}
		if !p.encoded {
			octets = append(octets, v...)
			continue
		}
		octets, _ = unhexPairs(octets, []byte(v), '%')
	}
	s, known := toUTF8(label, octets)
	if !known {
		warn("unknown charset %.40q in a header", label)
	}
	return decodeText(s, warn) // some wrap the one into the other
}
