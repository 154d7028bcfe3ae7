package imap

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"postern/internal/fault"
)

func TestSearchExpressions(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	from := func(words string) imap.SearchCriteria {
		return imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "FROM", Value: words}}}
	}
	for text, want := range map[string]imap.SearchCriteria{
		"ALL":                          {},
		`from "a \"b\" c"`:             from(`a "b" c`),
		"FROM a@b.c":                   from("a@b.c"),
		`NOT FROM a`:                   {Not: []imap.SearchCriteria{from("a")}},
		`OR (FROM a) FROM "b"`:         {Or: [][2]imap.SearchCriteria{{from("a"), from("b")}}},
		"UNSEEN KEYWORD $Done":         {Flag: []imap.Flag{"$Done"}, NotFlag: []imap.Flag{imap.FlagSeen}},
		"LARGER 10 SMALLER 99 SEEN":    {Larger: 10, Smaller: 99, Flag: []imap.Flag{imap.FlagSeen}},
		"SINCE 1-Feb-2026":             {Since: day},
		"ON 1-feb-2026":                {Since: day, Before: day.AddDate(0, 0, 1)},
		`HEADER List-Id "" TEXT "für"`: {Header: []imap.SearchCriteriaHeaderField{{Key: "List-Id"}}, Text: []string{"für"}},
	} {
		got, err := parseSearch(text)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s is %+v (%v), want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "  ", "NOT", "OR SEEN", "(SEEN", "SEEN)", "FROM", `FROM "a`, "LARGER x", "LARGER -1", "SINCE yesterday", "KEYWORD (", "1:5", "UID 4",
		"SEEN\r\nT9 DELETE INBOX", strings.Repeat("(", 1000) + "SEEN", strings.Repeat("NOT ", 400) + "SEEN", strings.Repeat("SEEN ", 1000),
	} {
		if _, err := parseSearch(text); !errors.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzSearchExpression(f *testing.F) {
	for _, s := range []string{`FROM "a" NOT (SEEN OR LARGER 1 KEYWORD x)`, `HEADER "X" "\\"`, "ON 1-Feb-2026 SENTON 2-Feb-2026", "(((", "\x00\"\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseSearch(text)
		if err != nil {
			return
		}
		var check func(imap.SearchCriteria)
		check = func(c imap.SearchCriteria) {
			for _, w := range c.Header {
				if strings.ContainsAny(w.Key+w.Value, "\r\n\x00") {
					t.Errorf("%q lets a line end through", text)
				}
			}
			for _, n := range c.Not {
				check(n)
			}
			for _, o := range c.Or {
				check(o[0])
				check(o[1])
			}
		}
		check(*c)
	})
}
