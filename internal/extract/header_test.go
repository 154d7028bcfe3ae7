package extract

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestFilenames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"token", `attachment; filename=a.pdf`, "a.pdf"},
		{"quoted", `attachment; filename="a; b \"c\".pdf"`, `a; b "c".pdf`},
		{"not closed", `attachment; filename="a.pdf`, "a.pdf"},
		{"blanks without quotes", `attachment; filename=my file.pdf; size=3`, "my file.pdf"},
		{"blanks around", `attachment ; filename = "a.pdf" ;`, "a.pdf"},
		{"RFC 2231", `attachment; filename*=UTF-8'de'Stra%C3%9Fe.pdf`, "Straße.pdf"},
		{"RFC 2231 in Latin 1", `attachment; filename*=iso-8859-1''Stra%DFe.pdf`, "Straße.pdf"},
		{"RFC 2231 continued", `attachment; filename*0*=utf-8''%E2%82%AC; filename*1=" rates"; filename*2*=%2Epdf`, "€ rates.pdf"},
		{"RFC 2231 out of order", `attachment; filename*1=b.pdf; filename*0=a`, "ab.pdf"},
		{"RFC 2231 split inside a character", `attachment; filename*0*=utf-8''%E2%82; filename*1*=%AC.pdf`, "€.pdf"},
		{"the extended one wins", `attachment; filename="plain.pdf"; filename*=utf-8''ext%C3%A4nded.pdf`, "extänded.pdf"},
		{"RFC 2047 in quotes", `attachment; filename="=?utf-8?Q?Stra=C3=9Fe.pdf?="`, "Straße.pdf"},
		{"RFC 2047 in Shift JIS", `attachment; filename="=?shift_jis?B?k/qWey5wZGY=?="`, "日本.pdf"},
		{"raw UTF-8", `attachment; filename="Straße.pdf"`, "Straße.pdf"},
		{"raw Windows-1252", "attachment; filename=\"Stra\xdfe \x80.pdf\"", "Straße €.pdf"},
		{"twice", `attachment; filename=a.pdf; filename=b.pdf`, "a.pdf"},
		{"bad percent", `attachment; filename*=utf-8''a%zz%2`, "a%zz%2"},
		{"none", `attachment`, ""},
		{"nonsense", `;;;=;"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, params := parseParams(tt.in, ignore); params["filename"] != tt.want {
				t.Errorf("%q, want %q", params["filename"], tt.want)
			}
		})
	}
}

func ignore(string, ...any) {}

func TestSummary(t *testing.T) {
	t.Parallel()
	s, _, err := walkAll(strings.NewReader(crlf(`Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=
  aus =?iso-8859-1?Q?K=F6ln?=
From: =?utf-8?Q?M=C3=BCller?= <m@x.de>, b@x.de
To: undisclosed recipients:;
Cc: not an address
Reply-To: Doe, John [Sales] <j@x.de>; <k@x.de>
Message-ID: <1@x>
Date: Wed, 04 Mar 2026 05:06:07 +0100

`)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{
		MessageID: "<1@x>", Subject: "Grüße aus Köln",
		From:    []Address{{"Müller", "m@x.de"}, {"", "b@x.de"}},
		To:      []Address{},
		Cc:      []Address{{"not an address", ""}},
		ReplyTo: []Address{{"Doe, John [Sales]", "j@x.de"}, {"", "k@x.de"}},
		Date:    s.Date, Size: s.Size, Parts: 1,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	if s.Date.Unix() != 1772597167 {
		t.Errorf("date %v (%d)", s.Date, s.Date.Unix())
	}
}

func FuzzParams(f *testing.F) {
	f.Add(`attachment; filename*0*=utf-8''%E2; filename*1="b`)
	f.Add(`text/plain; charset="x\"`)
	f.Fuzz(func(t *testing.T, s string) {
		_, params := parseParams(s, ignore)
		for name, value := range params {
			if !utf8.ValidString(value) || strings.ContainsAny(value, "\r\n\x00") {
				t.Errorf("%s is %q", name, value)
			}
		}
	})
}
