package guide_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postern/internal/check"
	"postern/internal/guide"
)

func load(t *testing.T) *guide.Guides {
	t.Helper()
	g, err := guide.Load()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestEveryStepIsFitToFollow is the lint of the data.
func TestEveryStepIsFitToFollow(t *testing.T) {
	t.Parallel()
	known := []string{"{mailbox}", "{domain}", "{tenant}", "{client_id}", "{account}", "{app}", "{redirect_uri}", "{object_id}", "{retirement}"}
	stages := []string{check.StageSettings, check.StageToken, check.StageContent, check.StagePassword, check.StageSignIn, check.StageMailbox, check.StageSender}
	for _, r := range load(t).Roads() {
		proved := 0
		for _, s := range r.Steps {
			id := r.Name + "." + s.Name
			for _, text := range []string{s.Do, s.See} {
				if !strings.HasSuffix(text, ".") || strings.Count(text, ". ") > 0 {
					t.Errorf("%s: %q is not one sentence", id, text)
				}
			}
			if u, err := url.Parse(s.Link); s.Link != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
				t.Errorf("%s: link %q", id, s.Link)
			}
			for _, p := range regexp.MustCompile(`\{[^}]*\}?`).FindAllString(r.About+r.Warning+s.Do+s.See+s.Command+s.Link, -1) {
				if !slices.Contains(known, p) {
					t.Errorf("%s: unknown placeholder %s", id, p)
				}
			}
			for _, p := range regexp.MustCompile(`.?\{[a-z_]+\}.?`).FindAllString(s.Command, -1) {
				if p[0] != '\'' || p[len(p)-1] != '\'' {
					t.Errorf("%s: %s does not stand in single quotes", id, p)
				}
			}
			if s.Stage != "" && !slices.Contains(stages, s.Stage) {
				t.Errorf("%s: the check has no stage %q", id, s.Stage)
			}
			if s.Stage != "" {
				proved++
			}
			if !regexp.MustCompile(`^[1-6](\.[1-6])?( |$)`).MatchString(s.Source) {
				t.Errorf("%s: no section is called %q", id, s.Source)
			}
		}
		if proved < 2 || r.Steps[len(r.Steps)-1].Stage == "" {
			t.Errorf("%s: the check proves %d steps, or not the last one", r.Name, proved)
		}
	}
}

// TestEveryRoadIsThere that the product promises, and each account has one.
func TestEveryRoadIsThere(t *testing.T) {
	t.Parallel()
	g := load(t)
	for _, name := range []string{"delegated", "application", "application-rbac", "hve", "hve-password", "app-password", "reading"} {
		if _, ok := g.Road(name); !ok {
			t.Errorf("there is no road %s", name)
		}
	}
	for account, want := range map[string]string{
		"delegated send": "delegated", "delegated imap": "delegated reading", "delegated graph": "delegated",
		"application send": "application application-rbac", "application send pop3": "application application-rbac reading", "application graph": "application",
		"application hve": "hve", "application send hve": "application application-rbac hve",
		"password hve": "hve-password", "app_password send": "app-password", "app_password imap": "app-password",
	} {
		words := strings.Fields(account)
		var names []string
		for _, r := range g.For(words[0], words[1:]...) {
			names = append(names, r.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s goes by %q, want %q", account, got, want)
		}
	}
}

// TestTheAppPasswordComesLast: OAuth is named first, the end of passwords is told, and
// what weakening Security Defaults means.
func TestTheAppPasswordComesLast(t *testing.T) {
	t.Parallel()
	r, _ := load(t).Road("app-password")
	if !strings.Contains(r.Steps[0].Do, "OAuth") || !strings.Contains(r.Warning, "{retirement}") {
		t.Errorf("%q, %q", r.Steps[0].Do, r.Warning)
	}
	i := slices.IndexFunc(r.Steps, func(s guide.Step) bool { return strings.Contains(s.Do, "Security Defaults") })
	if i < 0 || !strings.Contains(r.Steps[i].Do, "weakens the whole tenant") || !strings.Contains(r.Steps[i].Do, "OAuth") {
		t.Error("Security Defaults are not explained")
	}
}

func TestFillAndCheck(t *testing.T) {
	t.Parallel()
	r, _ := load(t).Road("application")
	filled := r.Fill(map[string]string{"mailbox": "o'neil@contoso.com", "object_id": "1234"})
	i := slices.IndexFunc(filled.Steps, func(s guide.Step) bool { return s.Name == "access" })
	if want := "Add-MailboxPermission -Identity 'o''neil@contoso.com' -User '1234' -AccessRights FullAccess"; filled.Steps[i].Command != want {
		t.Error(filled.Steps[i].Command)
	}
	if filled.Steps[1].Link != "" || r.Steps[1].Link == "" {
		t.Errorf("a link without its client id is %q, was %q", filled.Steps[1].Link, r.Steps[1].Link)
	}
	last := r.Steps[len(r.Steps)-1]
	for purposes, want := range map[string]string{"send imap": "send sender", "imap": "imap mailbox", "pop3 imap": "imap mailbox", "graph": " "} {
		p, s := r.Check(last, strings.Fields(purposes))
		if p+" "+s != want {
			t.Errorf("of %s it is %s %s, want %s", purposes, p, s, want)
		}
	}
	reading, _ := load(t).Road("reading")
	if p, s := reading.Check(reading.Steps[len(reading.Steps)-1], []string{"pop3"}); p != "" || s != "" {
		t.Errorf("a check of IMAP for an account without it: %s %s", p, s)
	}
}
