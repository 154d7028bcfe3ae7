package catalogue

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Query is a reply to be explained. Empty fields are unknown.
type Query struct {
	Protocol string // oauth, smtp, hve, imap, pop3, graph
	Code     string // 535, NO, -ERR, an HTTP status, or the OAuth error value
	Enhanced string // 5.7.3, an AADSTS number, IMAP's or POP3's [CODE], or Graph's error code
	Text     string // the words
}

// unknownNumber marks the entry that answers Entra errors no other entry names.
const unknownNumber = "any"

// Lookup finds the entry that fits a reply most closely: an AADSTS number before
// all else, then the text, the enhanced code and the code. An Entra error with
// an unknown number gets the entry that links to Microsoft's page about it, with
// the class its OAuth error value asks for.
func (c *Catalogue) Lookup(q Query) (Entry, bool) {
	e, ok := c.lookup(read(q))
	if !ok && strings.EqualFold(q.Protocol, HVE) {
		q.Protocol = SMTP
		return c.lookup(read(q))
	}
	return e, ok
}

func (c *Catalogue) lookup(r reply) (Entry, bool) {
	best, bestScore := -1, 0
	for i, e := range c.entries {
		if score := r.score(e); score > bestScore {
			best, bestScore = i, score
		}
	}
	if r.number != "" && bestScore < scoreNumber {
		return c.unknown(r, best)
	}
	if best < 0 {
		return Entry{}, false
	}
	return c.entries[best], true
}

// unknown answers an AADSTS number that no entry has. byValue is the entry of
// the OAuth error value that came with it, or -1.
func (c *Catalogue) unknown(r reply, byValue int) (Entry, bool) {
	i := slices.IndexFunc(c.entries, func(e Entry) bool { return slices.Contains(e.Match.AADSTS, unknownNumber) })
	if i < 0 {
		return Entry{}, false
	}
	e := c.entries[i].Fill(map[string]string{"code": r.number})
	if byValue >= 0 {
		v := c.entries[byValue]
		e.Who, e.Class, e.Retry = v.Who, v.Class, v.Retry
	}
	return e, true
}

// What each part of a match is worth. A text outweighs both codes, because
// Exchange gives one code to many causes. The length of the text breaks ties.
const (
	scoreCode     = 1 << 10
	scoreRange    = 1 << 11
	scoreEnhanced = 1 << 12
	scoreText     = 1 << 13
	scoreNumber   = 1 << 16
)

// reply is a query made comparable.
type reply struct{ protocol, number, code, enhanced, text string }

func read(q Query) reply {
	r := reply{
		protocol: strings.ToLower(q.Protocol), code: strings.ToLower(strings.TrimSpace(q.Code)),
		enhanced: strings.ToLower(strings.TrimSpace(q.Enhanced)), text: strings.ToLower(q.Text),
	}
	switch r.protocol {
	case OAuth:
		r.number = number(r.enhanced, r.text)
	case SMTP, HVE:
		if r.enhanced == "" {
			r.enhanced = leadingEnhanced(r.text)
		}
	case IMAP, POP3:
		if code, rest, ok := bracketed(r.text); ok && r.enhanced == "" {
			r.enhanced, r.text = code, rest
		}
	}
	return r
}

// number is the AADSTS number of an Entra error, from its own field or, failing
// that, from the description, which begins with it.
func number(enhanced, text string) string {
	n := strings.TrimPrefix(enhanced, "aadsts")
	if isDigits(n) {
		return n
	}
	if m := regexp.MustCompile(`aadsts([0-9]{4,9})`).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// leadingEnhanced is the enhanced status code a reply's text begins with (RFC
// 3463), "" when it begins otherwise.
func leadingEnhanced(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	if class, rest, ok := strings.Cut(first, "."); ok && isDigits(class) && len(class) == 1 {
		if subject, detail, ok := strings.Cut(rest, "."); ok && isDigits(subject) && isDigits(strings.ReplaceAll(detail, "-", "")) {
			return first
		}
	}
	return ""
}

// bracketed takes the response code off a text that begins with one: "[IN-USE]
// words" (RFC 2449 §8, RFC 9051 §7.1). What may stand behind the code is dropped.
func bracketed(text string) (code, rest string, ok bool) {
	inner, ok := strings.CutPrefix(strings.TrimSpace(text), "[")
	if !ok {
		return "", text, false
	}
	code, rest, ok = strings.Cut(inner, "]")
	code, _, _ = strings.Cut(code, " ")
	return code, strings.TrimSpace(rest), ok
}

// score is how closely an entry fits the reply, 0 when it does not.
func (r reply) score(e Entry) int {
	if e.Protocol != r.protocol {
		return 0
	}
	m, total := e.Match, 0
	for _, part := range []struct {
		of    []string
		worth func(string) int
	}{
		{m.AADSTS, r.worthNumber},
		{m.Code, r.worthCode},
		{m.Enhanced, r.worthEnhanced},
		{m.Text, r.worthText},
	} {
		if len(part.of) == 0 {
			continue
		}
		best := 0
		for _, want := range part.of {
			best = max(best, part.worth(want))
		}
		if best == 0 {
			return 0
		}
		total += best
	}
	return total
}

func (r reply) worthNumber(want string) int { return worth(want == r.number, scoreNumber) }
func (r reply) worthCode(want string) int   { return worth(strings.EqualFold(want, r.code), scoreCode) }

func (r reply) worthEnhanced(want string) int {
	if strings.EqualFold(want, r.enhanced) {
		return scoreEnhanced
	}
	return worth(inRange(r.enhanced, want), scoreRange)
}

func (r reply) worthText(want string) int {
	return worth(strings.Contains(r.text, want), scoreText+len(want))
}

func worth(is bool, score int) int {
	if is {
		return score
	}
	return 0
}

// inRange reports whether an enhanced code lies in a range such as 5.7.700-749.
// A reply may itself be given as a range, of which the first number counts.
func inRange(enhanced, want string) bool {
	prefix, low, high, ok := bounds(want)
	first, _, _ := strings.Cut(enhanced, "-")
	detail, under := strings.CutPrefix(first, prefix)
	if !ok || !under || !isDigits(detail) {
		return false
	}
	n, err := strconv.Atoi(detail)
	return err == nil && low <= n && n <= high
}

func bounds(want string) (prefix string, low, high int, ok bool) {
	from, to, ok := strings.Cut(want, "-")
	dot := strings.LastIndexByte(from, '.')
	if !ok || dot < 0 {
		return "", 0, 0, false
	}
	low, errLow := strconv.Atoi(from[dot+1:])
	high, errHigh := strconv.Atoi(to)
	return from[:dot+1], low, high, errLow == nil && errHigh == nil && low < high
}
