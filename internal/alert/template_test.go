package alert_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/fault"
	"postern/internal/mail"
)

func route(subject, text, html string) alert.Route {
	return alert.Route{Name: "ops", Account: "scan", To: []mail.Address{{Local: "a", Domain: "contoso.com"}}, Subject: subject, Text: text, HTML: html}
}

func news(e alert.Event, account, what string) alert.Alert {
	return alert.Alert{ID: "01", Batch: "01", Route: "ops", News: alert.News{
		Event: e, Account: account, What: what, Why: `535 5.7.139 <no>`, Next: "postern check scan", Until: time.Date(2027, 1, 2, 3, 4, 0, 0, time.UTC), At: time.Unix(0, 0), Host: "gate",
	}}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	r := route("[{{.Event}}]\n{{.What}}", `{{if and .Why (not .Link)}}{{.Why}}{{else}}none{{end}} until {{.Until}}`, `<p>{{.Why}}</p>`)
	l, err := alert.Write(r, []alert.Alert{news(alert.NeedsAdmin, "scan", "it is paused")})
	if err != nil {
		t.Fatal(err)
	}
	if l.Subject != "[account_needs_admin] it is paused" || l.Text != "535 5.7.139 <no> until 2027-01-02 03:04 UTC" || l.HTML != "<p>535 5.7.139 &lt;no&gt;</p>" {
		t.Errorf("wrote %+v", l)
	}
	if len(l.About) != 1 || l.About[0] != "scan" {
		t.Errorf("it is about %q", l.About)
	}
}

func TestBuiltInTemplates(t *testing.T) {
	t.Parallel()
	l, err := alert.Write(route("", "", ""), []alert.Alert{news(alert.AccountWorks, "scan", "it works")})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"it works.\n", "Why: 535", "Next step: postern check scan", "Until: 2027", "account_works, account scan, noticed by gate at 1970"} {
		if !strings.Contains(l.Text, want) {
			t.Errorf("no %q in\n%s", want, l.Text)
		}
	}
	if l.Subject != "Postern: it works" || len(l.About) != 0 {
		t.Errorf("wrote %+v", l)
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	var many []alert.Alert
	for range 60 {
		many = append(many, news(alert.MessageFailed, "scan", strings.Repeat("long ", 100)))
	}
	l, err := alert.Write(route("", "", "<b>{{.What}}</b>"), many)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(l.Subject, "Postern: 60 alerts, the first: long") || len([]rune(l.Subject)) > 200 {
		t.Errorf("subject %q", l.Subject)
	}
	if n := strings.Count(l.Text, "Why:"); n != 50 || !strings.Contains(l.Text, "And 10 more: postern alerts history --route ops") || !strings.Contains(l.HTML, "And 10 more") {
		t.Errorf("%d are written out", n)
	}
}

func TestTemplatesThatCannotBe(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`{{.Whom}}`:                        ".NextStep",
		`{{if false}}{{.Whom}}{{end}}`:     ".Whom is not known; allowed: .Event, .Account",
		`{{.What.Sub}}`:                    "is not known",
		`{{printf "%99999999d" 1}}`:        "printf is not a function here",
		`{{range $i, $x := .What}}{{end}}`: "not allowed",
		`{{with .What}}{{.}}{{end}}`:       "not allowed",
		`{{$x := .What}}{{$x}}`:            "variables of your own",
		`{{define "x"}}{{end}}`:            "define and block",
		`{{template "x"}}`:                 "not allowed",
		`{{.What`:                          "unclosed action",
		`{{.}}`:                            "not allowed",
		strings.Repeat("x", 17<<10):        "octets",
	} {
		err := route("", source, "").Check()
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", source, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{alert.DefaultText, alert.DefaultSubject, `{{if eq .Event "x"}}a{{else if .Why}}b{{end}}`, `<a href="{{.Link}}">{{/* c */}}`, "{{- .What -}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		r := route(source, source, source)
		if err := r.Check(); err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("unclassified: %v", err)
			}
			return
		}
		l, err := alert.Write(r, []alert.Alert{news(alert.QueueOld, "scan", "it\r\nwaits")})
		if err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("unclassified: %v", err)
		}
		if strings.ContainsAny(l.Subject, "\r\n") {
			t.Errorf("two lines: %q", l.Subject)
		}
	})
}
