package catalogue_test

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/catalogue"
)

func load(t *testing.T) *catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// asked takes a reply as it stands on the wire apart.
func asked(protocol, line string) catalogue.Query {
	q := catalogue.Query{Protocol: protocol}
	q.Code, q.Text, _ = strings.Cut(line, " ")
	if protocol == catalogue.Graph {
		q.Enhanced, q.Text, _ = strings.Cut(q.Text, " ")
	}
	return q
}

func TestEveryExampleFindsItsEntry(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, e := range c.All() {
		if e.Protocol != catalogue.OAuth && len(e.Examples) == 0 {
			t.Errorf("%s has no example", e.ID)
		}
		for _, line := range e.Examples {
			if got, _ := c.Lookup(asked(e.Protocol, line)); got.ID != e.ID {
				t.Errorf("%q of %s finds %q", line, e.ID, got.ID)
			}
		}
	}
}

// A match that another entry always wins is dead: every combination an entry
// names must find it.
func TestNoEntryIsShadowed(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, e := range c.All() {
		for _, q := range combinations(e) {
			got, ok := c.Lookup(q)
			if !ok || got.ID != e.ID {
				t.Errorf("%+v of %s finds %q", q, e.ID, got.ID)
			}
		}
	}
}

func combinations(e catalogue.Entry) []catalogue.Query {
	if slices.Contains(e.Match.AADSTS, "any") {
		return []catalogue.Query{{Protocol: e.Protocol, Enhanced: "999999"}}
	}
	list := func(l []string) []string {
		if len(l) == 0 {
			return []string{""}
		}
		return l
	}
	var all []catalogue.Query
	for _, number := range e.Match.AADSTS {
		all = append(all, catalogue.Query{Protocol: e.Protocol, Code: "invalid_grant", Enhanced: number})
	}
	if all != nil {
		return all
	}
	for _, code := range list(e.Match.Code) {
		for _, enhanced := range list(e.Match.Enhanced) {
			for _, text := range list(e.Match.Text) {
				for _, end := range ends(enhanced) {
					all = append(all, catalogue.Query{Protocol: e.Protocol, Code: code, Enhanced: end, Text: strings.ToUpper(text)})
				}
			}
		}
	}
	return all
}

// ends are the first and the last code of a range, or the code itself.
func ends(enhanced string) []string {
	m := regexp.MustCompile(`^(.*\.)(\d+)-(\d+)$`).FindStringSubmatch(enhanced)
	if m == nil {
		return []string{enhanced}
	}
	return []string{m[1] + m[2], m[1] + m[3]}
}

func TestNoTwoEntriesMatchTheSame(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, e := range load(t).All() {
		for _, q := range combinations(e) {
			q.Code = strings.ToLower(q.Code)
			key := fmt.Sprintf("%+v", q)
			if seen[key] != "" {
				t.Errorf("%s and %s both answer %s", seen[key], e.ID, key)
			}
			seen[key] = e.ID
		}
	}
}

// The AADSTS codes of section 3 of the Microsoft reference, by its columns "must the user
// sign in again" (S) and "retry" (R). Two stand apart: 50053 is never tried again by
// itself whatever R says, and 50196 asks for minutes.
const (
	nobodySignsIn = `
7000215 7000222 7000218 700025 70002 700027 700024 700030 50012 50013 500133 50048 50003 50146
700016 700011 90002 90038 50059 90019 50128 50194 9001023 90130 90124 9002332 50001 650057 65002
50011 500113 900971 70004 90014 900144 90023 90100 90004 900561 70003 70005 70007 70011 28002 28003 700022 700023 901002 700054
50000 90036 50086`
	userSignsIn = `
9002313 50147 501491 501481 9002327
54005 700005 70000 70008 700082 700084 70043 50173 50089 50132 50133 50085 700020 16000
65001 65004 50020 50034 51004 50053 50055 50144 50056 50126 50064 500208 90072
50058 50072 50079 50074 50076 50078 50125 50135 50158 53004 70018 90119 70019 90120 50199`
	adminFirst = `
70001 7000112 500011 650052 650056 65005 90094 90095 90008 50014 50057 50105
50131 50097 50155 50187 53000 53001 53002 53003 53010 53011 530032 530034 530035 50002 500021 500022 500212 500213 80012 80013`
	passes    = `50033 50087 90006 90012 90024 90033 90090 70012 40010 80001 80002 80005 80014 70016`
	throttled = `50088 90055 50196`

	// Not in the reference, but answers of the real Entra and of the simulator's.
	othersAdmin = `7000216 700021 7000229 1002012 900382`
	othersUser  = `500112 70017`
)

func TestEveryNumberOfTheReferenceAsksForWhatTheReferenceSays(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, group := range []struct {
		numbers string
		want    catalogue.Class
		retry   []catalogue.Retry
	}{
		{nobodySignsIn + " " + adminFirst + " " + othersAdmin, catalogue.NeedsAdmin, []catalogue.Retry{catalogue.No, catalogue.Once}},
		{userSignsIn + " " + othersUser, catalogue.NeedsSignIn, []catalogue.Retry{catalogue.No}},
		{passes, catalogue.Temporary, []catalogue.Retry{catalogue.Backoff, catalogue.Poll}},
		{throttled, catalogue.Throttled, []catalogue.Retry{catalogue.Backoff}},
	} {
		for _, number := range strings.Fields(group.numbers) {
			got, ok := c.Lookup(catalogue.Query{Protocol: catalogue.OAuth, Code: "invalid_grant", Text: "AADSTS" + number + ": words. Trace ID: 1"})
			if !ok || !slices.Contains(got.Match.AADSTS, number) {
				t.Errorf("AADSTS%s finds %q", number, got.ID)
				continue
			}
			if got.Class != group.want || !slices.Contains(group.retry, got.Retry) {
				t.Errorf("AADSTS%s (%s): class %s, retry %s; want %s, one of %s", number, got.ID, got.Class, got.Retry, group.want, group.retry)
			}
		}
	}
}

// An account never fails for good: each answer of Entra's either passes or names
// somebody who can mend it.
func TestNoAnswerOfEntrasIsPermanent(t *testing.T) {
	t.Parallel()
	for _, e := range load(t).All() {
		if e.Protocol == catalogue.OAuth && (e.Class == catalogue.Permanent || e.Class == catalogue.Quota) {
			t.Errorf("%s is %s", e.ID, e.Class)
		}
		if waits := e.Class == catalogue.Temporary || e.Class == catalogue.Throttled; e.Protocol == catalogue.OAuth && !waits && e.Who == catalogue.Nobody {
			t.Errorf("%s pauses, and nobody is to act", e.ID)
		}
	}
}

func TestTheWordsAreFitToPrint(t *testing.T) {
	t.Parallel()
	known := []string{"{mailbox}", "{tenant}", "{client_id}", "{domain}", "{sign_in_host}"}
	for _, e := range load(t).All() {
		for _, s := range []string{e.Meaning, e.Fix} {
			if !strings.HasSuffix(s, ".") || strings.TrimSpace(s) != s {
				t.Errorf("%s: %q is no sentence", e.ID, s)
			}
		}
		if u, err := url.Parse(e.Link); e.Link != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
			t.Errorf("%s: link %q", e.ID, e.Link)
		}
		for _, p := range regexp.MustCompile(`\{[^}]*\}?`).FindAllString(e.Meaning+e.Fix+e.Command+e.Link, -1) {
			if !slices.Contains(known, p) && (p != "{code}" || !slices.Contains(e.Match.AADSTS, "any")) {
				t.Errorf("%s: unknown placeholder %s", e.ID, p)
			}
		}
		for _, p := range regexp.MustCompile(`.?\{[a-z_]+\}.?`).FindAllString(e.Command, -1) {
			if p[0] != '\'' || p[len(p)-1] != '\'' {
				t.Errorf("%s: %s does not stand in single quotes", e.ID, p)
			}
		}
	}
}

// Whoever must act in the tenant is told where: a page, a command, or both. And the
// source of each entry is a section that there is.
func TestAdministratorsAreToldWhere(t *testing.T) {
	t.Parallel()
	classes := []catalogue.Class{catalogue.Temporary, catalogue.Throttled, catalogue.Quota, catalogue.NeedsSignIn, catalogue.NeedsAdmin, catalogue.Permanent}
	for _, e := range load(t).All() {
		if e.Who == catalogue.TenantAdmin && e.Link == "" && e.Command == "" {
			t.Errorf("%s tells an administrator neither page nor command", e.ID)
		}
		if !slices.Contains(classes, e.Class) {
			t.Errorf("%s has the unknown class %q", e.ID, e.Class)
		}
		if !regexp.MustCompile(`^(mail-tasks )?[1-7](\.[1-8])?( |$)`).MatchString(e.Source) {
			t.Errorf("%s: no section is called %q", e.ID, e.Source)
		}
	}
}

// Security Defaults protect the whole tenant: OAuth must be named before any way
// of replacing them.
func TestOAuthComesBeforeWeakeningAnything(t *testing.T) {
	t.Parallel()
	for _, e := range load(t).All() {
		if !strings.Contains(e.Meaning, "Security Defaults") {
			continue
		}
		oauth, defaults := strings.Index(e.Fix, "OAuth"), strings.Index(e.Fix, "Security Defaults")
		if oauth < 0 || defaults >= 0 && defaults < oauth {
			t.Errorf("%s: %q", e.ID, e.Fix)
		}
	}
}

func TestLookupPrefersTheMostSpecific(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, tc := range []struct {
		q    catalogue.Query
		want string
	}{
		{catalogue.Query{Protocol: "SMTP", Code: "535", Enhanced: "5.7.139", Text: "no reason"}, "smtp.auth_policy"},
		{catalogue.Query{Protocol: "smtp", Code: "535", Enhanced: "5.7.139", Text: "SmtpClientAuthentication is disabled for the Mailbox."}, "smtp.auth_disabled_mailbox"},
		{catalogue.Query{Protocol: "smtp", Code: "535", Text: "5.7.139 basic authentication is disabled"}, "smtp.basic_disabled"},
		{catalogue.Query{Protocol: "smtp", Code: "535", Enhanced: "5.9.9"}, "smtp.auth_other"},
		{catalogue.Query{Protocol: "hve", Code: "535", Enhanced: "5.7.3"}, "hve.auth_refused"},
		{catalogue.Query{Protocol: "hve", Code: "535", Text: "5.7.139 basic authentication is disabled"}, "smtp.basic_disabled"},
		{catalogue.Query{Protocol: "smtp", Code: "451", Enhanced: "4.7.650"}, "smtp.address_throttled"},
		{catalogue.Query{Protocol: "smtp", Code: "451", Text: "4.7.500-699 (AS761) Server busy"}, "smtp.address_throttled"},
		{catalogue.Query{Protocol: "smtp", Code: "451", Enhanced: "4.7.700"}, ""},
		{catalogue.Query{Protocol: "smtp", Code: "250", Enhanced: "2.0.0", Text: "OK"}, ""},
		{catalogue.Query{Protocol: "imap", Code: "no", Text: "AUTHENTICATE failed."}, "imap.auth_refused"},
		{catalogue.Query{Protocol: "pop3", Code: "NO", Text: "AUTHENTICATE failed."}, ""},
		{catalogue.Query{Protocol: "graph", Code: "403", Enhanced: "erroraccessdenied"}, "graph.access_denied"},
		{catalogue.Query{Protocol: "oauth", Code: "invalid_grant"}, "oauth.invalid_grant"},
		{catalogue.Query{Protocol: "oauth", Code: "invalid_grant", Enhanced: "AADSTS50173"}, "oauth.grant_revoked"},
		{catalogue.Query{Protocol: "oauth", Code: "what_is_this"}, ""},
		{catalogue.Query{}, ""},
	} {
		got, ok := c.Lookup(tc.q)
		if got.ID != tc.want || ok != (tc.want != "") {
			t.Errorf("%+v finds %q, want %q", tc.q, got.ID, tc.want)
		}
	}
}

func TestAnUnknownNumberLinksToMicrosoftsPage(t *testing.T) {
	t.Parallel()
	c := load(t)
	got, ok := c.Lookup(catalogue.Query{Protocol: catalogue.OAuth, Code: "temporarily_unavailable", Text: "AADSTS123456: news."})
	if !ok || got.Link != "https://login.microsoftonline.com/error?code=123456" || !strings.Contains(got.Meaning, "AADSTS123456") {
		t.Errorf("%+v", got)
	}
	if got.Class != catalogue.Temporary || got.Retry != catalogue.Backoff {
		t.Errorf("class %s and retry %s are not those of the OAuth error value", got.Class, got.Retry)
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	e := catalogue.Entry{
		Meaning: "About {mailbox} in {tenant}.", Fix: "Nothing.", Command: "Set-CASMailbox -Identity '{mailbox}' -Domain '{domain}'",
		Link: "https://x.example/{tenant}?id={client_id}",
	}
	got := e.Fill(map[string]string{"mailbox": "o'neil’s@contoso.com", "tenant": "a/b c", "client_id": "1&2", "domain": "a\nb"})
	want := e
	want.Meaning = "About o'neil’s@contoso.com in a/b c."
	want.Command = "Set-CASMailbox -Identity 'o''neil’’s@contoso.com' -Domain '{domain}'"
	want.Link = "https://x.example/a%2Fb+c?id=1%262"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := e.Fill(nil).Link; got != "" {
		t.Errorf("a link without its values is left: %q", got)
	}
}
