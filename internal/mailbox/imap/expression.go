package imap

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"postern/internal/fault"
)

// parseSearch reads a search expression as RFC 9051 §6.4.4 writes it: FROM "billing"
// NOT SUBJECT reminder, OR LARGER 10000 UNSEEN. It is read rather than passed on, so
// that whatever stands in it stays inside the SEARCH command.
func parseSearch(text string) (*imap.SearchCriteria, error) {
	p := &expression{rest: text}
	c, err := p.keys(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("%q is left over", short(p.rest))
	}
	if err == nil {
		return c, nil
	}
	return nil, fault.New(fault.Invalid, "search expression", "%w", err).
		WithHint(`write it as IMAP does, for example: FROM "billing@" SINCE 1-Jan-2026 NOT SUBJECT reminder`)
}

// CheckSearch says what is wrong with a search expression, before a server is asked.
func CheckSearch(text string) error {
	_, err := parseSearch(text)
	return err
}

const (
	maxDepth      = 20
	maxExpression = 2000 // octets: Exchange refuses long commands
)

// expression is what is still to be read.
type expression struct{ rest string }

func (p *expression) keys(depth int) (*imap.SearchCriteria, error) {
	if len(p.rest) > maxExpression {
		return nil, fmt.Errorf("it has more than %d octets", maxExpression)
	}
	all := &imap.SearchCriteria{}
	for n := 0; ; n++ {
		p.space()
		if p.rest == "" || p.rest[0] == ')' {
			if n == 0 {
				return nil, errors.New("a search key is missing")
			}
			return all, nil
		}
		c, err := p.key(depth)
		if err != nil {
			return nil, err
		}
		and(all, c)
	}
}

// and narrows c. The library's own takes no limit for the smallest one.
func and(c, other *imap.SearchCriteria) {
	smaller := c.Smaller
	if smaller == 0 || other.Smaller > 0 && other.Smaller < smaller {
		smaller = other.Smaller
	}
	c.And(other)
	c.Smaller = smaller
}

func (p *expression) key(depth int) (*imap.SearchCriteria, error) {
	if depth > maxDepth {
		return nil, errors.New("it is nested too deeply")
	}
	p.space()
	if p.take('(') {
		c, err := p.keys(depth + 1)
		if err == nil && !p.take(')') {
			err = errors.New("a closing parenthesis is missing")
		}
		return c, err
	}
	name := strings.ToUpper(p.atom())
	switch name {
	case "NOT":
		c, err := p.key(depth + 1)
		if err != nil {
			return nil, err
		}
		return &imap.SearchCriteria{Not: []imap.SearchCriteria{*c}}, nil
	case "OR":
		a, err := p.key(depth + 1)
		if err != nil {
			return nil, err
		}
		b, err := p.key(depth + 1)
		if err != nil {
			return nil, err
		}
		return &imap.SearchCriteria{Or: [][2]imap.SearchCriteria{{*a, *b}}}, nil
	}
	return p.plain(name)
}

// plain is a key that holds no other.
func (p *expression) plain(name string) (*imap.SearchCriteria, error) {
	c := &imap.SearchCriteria{}
	switch name {
	case "ALL":
	case "SEEN", "ANSWERED", "FLAGGED", "DELETED", "DRAFT":
		c.Flag = []imap.Flag{systemFlag(name)}
	case "UNSEEN", "UNANSWERED", "UNFLAGGED", "UNDELETED", "UNDRAFT":
		c.NotFlag = []imap.Flag{systemFlag(name[2:])}
	case "KEYWORD", "UNKEYWORD":
		return p.keyword(c, name)
	case "FROM", "TO", "CC", "BCC", "SUBJECT", "HEADER", "BODY", "TEXT":
		return p.words(c, name)
	case "SINCE", "BEFORE", "ON", "SENTSINCE", "SENTBEFORE", "SENTON":
		return p.date(c, name)
	case "LARGER", "SMALLER":
		n, err := strconv.ParseInt(p.astring(), 10, 64)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%s wants a number of octets", name)
		}
		if name == "LARGER" {
			c.Larger = n
		} else {
			c.Smaller = n
		}
	default:
		return nil, fmt.Errorf("%q is no search key", short(name+p.rest))
	}
	return c, nil
}

func systemFlag(name string) imap.Flag {
	return imap.Flag(`\` + name[:1] + strings.ToLower(name[1:]))
}

func (p *expression) keyword(c *imap.SearchCriteria, name string) (*imap.SearchCriteria, error) {
	word := p.astring()
	if !isKeyword(word) {
		return nil, fmt.Errorf("%s wants a keyword", name)
	}
	if name == "KEYWORD" {
		c.Flag = []imap.Flag{imap.Flag(word)}
	} else {
		c.NotFlag = []imap.Flag{imap.Flag(word)}
	}
	return c, nil
}

func (p *expression) words(c *imap.SearchCriteria, name string) (*imap.SearchCriteria, error) {
	field := name
	if name == "HEADER" {
		if field = p.astring(); field == "" {
			return nil, errors.New("HEADER wants the name of a field and words")
		}
	}
	p.space()
	quoted := strings.HasPrefix(p.rest, `"`)
	words := p.astring()
	if words == "" && !quoted {
		return nil, fmt.Errorf("%s wants words", name)
	}
	switch name {
	case "BODY":
		c.Body = []string{words}
	case "TEXT":
		c.Text = []string{words}
	default:
		c.Header = []imap.SearchCriteriaHeaderField{{Key: field, Value: words}}
	}
	return c, nil
}

func (p *expression) date(c *imap.SearchCriteria, name string) (*imap.SearchCriteria, error) {
	day, err := time.Parse("2-Jan-2006", p.astring())
	if err != nil {
		return nil, fmt.Errorf("%s wants a day such as 1-Feb-2026", name)
	}
	next := day.AddDate(0, 0, 1)
	switch name {
	case "SINCE":
		c.Since = day
	case "BEFORE":
		c.Before = day
	case "ON":
		c.Since, c.Before = day, next
	case "SENTSINCE":
		c.SentSince = day
	case "SENTBEFORE":
		c.SentBefore = day
	case "SENTON":
		c.SentSince, c.SentBefore = day, next
	}
	return c, nil
}

func (p *expression) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *expression) take(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// atom reads up to a space or parenthesis; "" when there is nothing.
func (p *expression) atom() string {
	p.space()
	end := strings.IndexAny(p.rest, " \t\r\n()\"")
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// astring reads an atom or a quoted string. Control characters are dropped: they are
// never part of what anybody looks for.
func (p *expression) astring() string {
	if !p.take('"') {
		return printable(p.atom())
	}
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return printable(b.String())
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	p.rest = `"` // never closed: this is left over, and so an error
	return ""
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

func short(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
