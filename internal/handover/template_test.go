package handover_test

import (
	"errors"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
)

func TestTemplatesMakePaths(t *testing.T) {
	t.Parallel()
	sample := handover.Sample()
	hostile := sample
	hostile.Subject, hostile.FromAddress, hostile.Filename = "../../etc/passwd\x00\r\n", "nobody", "CON"
	hostile.Folder, hostile.BodyText = `..\..\Windows`, "\u202eexe.txt"
	for _, c := range []struct {
		template string
		vars     handover.Vars
		want     string
	}{
		{"{yyyy}/{MM}/{filename}", sample, "2026/01/invoice 017.pdf"},
		{"{date_received:yyyy-MM-dd HH.mm.ss}/{basename}-{index:3}.{ext:upper}", sample, "2026-01-31 09.15.30/invoice 017-001.PDF"},
		{"{from_domain}/{subject:7}/{attachment_size}", sample, "fabrikam.example/Invoice/60211"},
		{"{subject}", sample, "Invoice 2026_017"},
		{"{{{from_name:lower}}}", sample, "{ada example}"},
		{"{date_sent}.txt", sample, "2026-01-31.txt"},
		{"{dd}{HH}{mm}", sample, "310915"},
		{"{subject}/x", hostile, "_.._etc_passwd/x"},
		{"{from_domain}/x", hostile, "_/x"},
		{"{filename}", hostile, "_CON"},
		{"{folder}/x", hostile, "_.._Windows/x"},
		{"{body_text}", hostile, "exe.txt"},
		{"{subject}/x", handover.Vars{}, "_/x"},
	} {
		t.Run(c.template, func(t *testing.T) {
			t.Parallel()
			p, err := handover.ParsePath(c.template)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := p.Make(c.vars, extract.SafeName); got != c.want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestDatesAreShownInTheZoneOfArrival(t *testing.T) {
	t.Parallel()
	v := handover.Sample()
	v.DateReceived = time.Date(2026, 12, 31, 23, 30, 0, 0, time.UTC).In(time.FixedZone("", 3600))
	v.DateSent = time.Time{}
	p, err := handover.ParsePath("{yyyy}/{date_sent:yyyy-MM-dd}/{date_received:yy}")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := p.Make(v, extract.SafeName); got != "2027/2027-01-01/27" {
		t.Error(got)
	}
}

func TestTemplateErrorsNameThePlaceAndWhatIsKnown(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ at, hint string }{
		"{yyyy}/{subjekt}":       {"character 8: there is no variable {subjekt}", "subject"},
		"ä{":                     {"character 2: the brace is not closed", "{{"},
		"a}b":                    {"character 2: a closing brace", "}}"},
		"{a{subject}}":           {"character 1", "{{"},
		"{}":                     {"character 1: there is no variable {}", "filename"},
		"{subject:wide}":         {"character 1: \"wide\" cannot stand after {subject:", "upper"},
		"{subject:0}":            {"character 1", "number"},
		"{date_sent:Jan}":        {"character 1: \"Jan\" is no date pattern", "yyyy"},
		"{date_sent:}":           {"character 1", "yyyy"},
		"{date_sent:2006-01-02}": {"character 1", "yyyy"},
		"{yyyy:yy}":              {"character 1: {yyyy} takes nothing after a colon", ""},
		"/etc/{filename}":        {"character 1: \"\" is no part of a path", "below the root"},
		"a/../{filename}":        {"character 3: \"..\" is no part of a path", "below the root"},
		`a\{filename}`:           {"is no part of a path", "backslash"},
		"a//b":                   {"character 3", "slash"},
		"":                       {"character 1", "filename"},
		"x/{saved_path}":         {"character 3: {saved_path} is only known afterwards", "filename"},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := handover.ParsePath(text)
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want.at) || !strings.Contains(fault.HintOf(err), want.hint) {
				t.Errorf("%v, next %q", err, fault.HintOf(err))
			}
		})
	}
}

// The list is reference: what is offered must not shrink.
func TestEveryVariableIsThere(t *testing.T) {
	t.Parallel()
	const wanted = "message_id uid uidvalidity folder mailbox from_name from_address from_domain to cc reply_to subject date_sent date_received size attachment_count body_text filename basename ext index content_type attachment_size sha256 saved_path run_id yyyy MM dd HH mm"
	known := strings.Join(handover.Variables(), " ") + " "
	for name := range strings.FieldsSeq(wanted) {
		if !strings.Contains(known, name+" ") {
			t.Errorf("%s is not listed", name)
		}
	}
	v := handover.Sample()
	v.Cc, v.ReplyTo = []string{"c@contoso.com"}, []string{"r@contoso.com"}
	for _, name := range handover.Variables() {
		tmpl, err := handover.Parse("{" + name + "}")
		if err != nil || tmpl.Text(v) == "" {
			t.Errorf("{%s}: %q, %v", name, tmpl.Text(v), err)
		}
	}
}

func TestLongPathsAreCutAndKeepTheirEnding(t *testing.T) {
	t.Parallel()
	v := handover.Sample()
	v.Subject, v.Filename = strings.Repeat("ä", 5000), strings.Repeat("x", 150)+".pdf"
	p, err := handover.ParsePath(strings.Repeat("{subject}/", 8) + "{basename}{basename}.{ext}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Make(v, extract.SafeName)
	if err != nil || len(got) > 1000 || !strings.HasSuffix(got, ".pdf") || strings.Count(got, "/") != 8 {
		t.Errorf("%d octets, %v: %s", len(got), err, got)
	}
}

func TestPreviewShowsASampleMessage(t *testing.T) {
	t.Parallel()
	p, err := handover.ParsePath("{yyyy}/{MM}/{filename}")
	if err != nil || p.Preview(extract.SafeName) != "2026/01/invoice 017.pdf" {
		t.Error(p.Preview(extract.SafeName), err)
	}
}

func FuzzPath(f *testing.F) {
	f.Add("{yyyy}/{MM}/{filename}", "Invoice 1/2", "a.pdf")
	f.Add("{subject:3}/{{x}}.{ext:upper}", "../..", "CON.txt")
	f.Add("{folder}.{basename}/{date_sent:yyyy}{index:2}", "\x00", "..")
	f.Fuzz(func(t *testing.T, template, text, name string) {
		p, err := handover.ParsePath(template)
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatalf("%v is %v", err, fault.KindOf(err))
			}
			return
		}
		if len(template) > 2000 {
			return
		}
		v := handover.Sample()
		v.Subject, v.Folder, v.FromAddress, v.FromName, v.MessageID, v.BodyText = text, text, text, text, text, text
		v = v.With(handover.File{Name: name, ContentType: text, Index: 3}, extract.SafeName)
		made, err := p.Make(v, extract.SafeName)
		if err != nil {
			t.Fatalf("%q: %v", template, err)
		}
		if !filepath.IsLocal(made) || path.Clean(made) != made || strings.Count(made, "/") != strings.Count(template, "/") {
			t.Fatalf("%q made %q", template, made)
		}
		for s := range strings.SplitSeq(made, "/") {
			if s == "" || strings.Trim(s, ". ") == "" || len(s) > 255 || strings.ContainsAny(s, "\\:\x00\n") {
				t.Fatalf("%q made the segment %q of %q", template, s, made)
			}
		}
	})
}
