package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// words are what the templates say in plain language.
func (s *Server) words() template.FuncMap {
	return template.FuncMap{
		"when": when, "left": func(t time.Time) string { return left(t.Sub(s.now())) }, "sentence": sentence, "browser": browserName,
		"road": road, "party": party, "stage": stage, "may": may, "told": told,
		"moment": moment, "clock": clock, "event": eventWords, "number": wholeNumber, "input": input, "pick": pick, "options": options, "asset": asset,
		"state": state, "proof": proof, "day": day, "some": some, "own": own, "way": way, "grave": grave, "transport": transport, "limits": limits, "passwordLabel": passwordLabel,
		"octets": octets, "many": many, "short": shortened, "tick": tick, "deeds": deeds, "upTo": upTo, "because": because, "host": secret.Address,
	}
}

func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2 January 2006, 15:04 UTC")
}

// day is a date; the hour of an end in a year is of no use.
func day(t time.Time) string { return t.UTC().Format("2 January 2006") }

// some names the first of many.
func some(names []string) string {
	const most = 3
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > most:
		return strings.Join(names[:most], ", ") + " and " + number(int64(n-most)) + " more"
	}
	return strings.Join(names, ", ")
}

// proof says how an app proves itself.
func proof(p vault.Shown) string {
	switch p.Kind {
	case "secret":
		return "a client secret"
	case "certificate":
		return "a certificate"
	}
	return "nothing"
}

// ownServer is the fields of one mail server.
type ownServer struct {
	Form             form
	Name, Label, TLS string
}

func own(f form, name, label string) ownServer { return ownServer{f, name, label, name + "_tls"} }

// moment is a time that a machine can read too; the script adds the reader's own clock.
func moment(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2 Jan 2006, 15:04:05 UTC") + `</time>`) //nolint:gosec // nothing of it was typed by anybody
}

// clock is a moment without its seconds and year.
func clock(t time.Time) template.HTML {
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2 Jan, 15:04 UTC") + `</time>`) //nolint:gosec // nothing of it was typed by anybody
}

// wholeNumber is number for templates, which have counts of several kinds.
func wholeNumber(n any) string {
	switch n := n.(type) {
	case int:
		return number(int64(n))
	case int64:
		return number(n)
	}
	return fmt.Sprint(n)
}

// number groups a count's digits: 1 234 567.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:] // a narrow blank that does not break the line
	}
	return s
}

// asset is the address of a file that every page loads, with what tells its versions
// apart.
func asset(name string) (string, error) {
	b, err := pages.ReadFile("pages/" + name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return "/" + name + "?" + hex.EncodeToString(sum[:6]), nil
}

// left says roughly how long something still lasts, for people whose clock is not UTC.
func left(d time.Duration) string {
	count := func(n int, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	switch {
	case d <= 0:
		return "no time"
	case d < 100*time.Second:
		return count(int((d + time.Second - 1).Seconds()), "second")
	case d < 100*time.Minute:
		return count(int(d.Round(time.Minute).Minutes()), "minute")
	case d < 48*time.Hour:
		return count(int(d.Round(time.Hour).Hours()), "hour")
	}
	return count(int(d.Hours()/24), "day")
}

// road says how an account comes to its tokens.
func road(m vault.Method) string {
	switch m {
	case vault.Delegated:
		return "A person signs in at Microsoft, once"
	case vault.Application:
		return "By app permission, without a person"
	case vault.Password:
		return "By the mailbox's own password, exchanged for tokens"
	case vault.AppPassword:
		return "By an app password, which the mail servers take themselves"
	}
	return string(m)
}

// way is road in a list's few words.
func way(m vault.Method) string {
	switch m {
	case vault.Delegated:
		return "a person, once"
	case vault.Application:
		return "app permission"
	case vault.Password:
		return "password"
	case vault.AppPassword:
		return "app password"
	}
	return string(m)
}

// passwordLabel asks for the password of a method that has one.
func passwordLabel(m vault.Method) string {
	if m == vault.AppPassword {
		return "App password"
	}
	return "Password of the mailbox"
}

// transport says by what mail leaves.
func transport(t string) string {
	switch t {
	case vault.OverSMTP:
		return "SMTP only"
	case vault.OverGraph:
		return "Microsoft Graph only"
	case vault.OverHVE:
		return "High Volume Email only"
	}
	return "whatever works"
}

// limits says how much may go, in words; what has no limit is left away.
func limits(l *mail.Limits) string {
	var said []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{l.Connections, "messages at once"}, {l.PerMinute, "messages in a minute"},
		{l.RecipientsPerDay, "recipients in 24 hours"}, {l.RecipientsPerMessage, "recipients of one message"},
	} {
		if part.n > 0 {
			said = append(said, number(int64(part.n))+" "+part.what)
		}
	}
	if len(said) == 0 {
		return "none"
	}
	return strings.Join(said, ", ")
}

// party says on whose word an account is paused.
func party(p vault.Party) string {
	switch p {
	case vault.Provider:
		return "by Microsoft's sign-in"
	case vault.Server:
		return "by the mail server"
	case vault.Person:
		return "by a change of the settings"
	}
	return ""
}

// stage says how near an end is.
func stage(s vault.Stage) string {
	switch s {
	case vault.Over:
		return "over"
	case vault.In3:
		return "within 3 days"
	case vault.In14:
		return "within 14 days"
	case vault.In30:
		return "within 30 days"
	}
	return "later"
}

// grave is how a near end is coloured.
func grave(s vault.Stage) string {
	if s == vault.Over || s == vault.In3 {
		return "bad"
	}
	return "warn"
}

// may says what Postern may do with a mailbox, to somebody who knows no protocol.
func may(purposes []vault.Purpose) string {
	said := map[vault.Purpose]string{
		vault.Send: "send mail", vault.Graph: "send mail through Microsoft Graph", vault.HVE: "send mail in bulk (High Volume Email)",
		vault.IMAP: "read and sort mail (IMAP)", vault.POP3: "fetch mail (POP3)",
	}
	words := make([]string, len(purposes))
	for i, p := range purposes {
		words[i] = said[p]
	}
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// state says how an account is.
func state(s vault.State) string {
	switch s {
	case vault.Active:
		return "active"
	case vault.NeedsSignIn:
		return "needs sign-in"
	case vault.NeedsAdmin:
		return "needs an administrator"
	}
	return "new"
}

// advised is what to do about an account: a sentence, and where it is done.
type advised struct{ Words, Label, To string }

// nextStep is one sentence for whoever looks at an account, and the next page.
func nextStep(a vault.Account) advised {
	check := advised{Label: "Check the connection", To: checkOf(a.Name, a.Purposes...)}
	say := func(words string) advised { return advised{words, check.Label, check.To} }
	switch {
	case a.State == vault.Active:
		return say("Works.")
	case a.State == vault.NeedsAdmin:
		return say("Paused until an administrator has changed something; tried again by itself. Its mail waits and is kept. The check says what must change.")
	case a.Method == vault.Application:
		return say("Acts by app permission; nobody signs in.")
	case a.Method == vault.Delegated && a.State == vault.NeedsSignIn:
		return advised{Words: "Paused: sign in again, below. Its mail waits and is kept."}
	case a.Method == vault.Delegated:
		return advised{Words: "Sign in once, below; then check the connection."}
	case a.State == vault.NeedsSignIn:
		return advised{Words: "Paused: enter its password again, below. Its mail waits and is kept."}
	case len(a.Password) == 0:
		return advised{Words: "Nobody has entered its password yet. Do it below."}
	default:
		return say("Its password has not been tried yet.")
	}
}

// sentence makes one of a message: a capital, a full stop. An address keeps its case,
// and a command at its beginning or end its spelling, to be copied.
func sentence(s string) string {
	if strings.HasPrefix(s, command) {
		return "Run: " + s
	}
	if s == "" {
		return ""
	}
	if word, _, _ := strings.Cut(s, " "); !strings.Contains(word, "@") {
		first, size := utf8.DecodeRuneInString(s)
		s = string(unicode.ToUpper(first)) + s[size:]
	}
	if strings.ContainsAny(s[len(s)-1:], ".?!") || strings.Contains(s, ": "+command) {
		return s
	}
	return s + "."
}

const command = "postern "

// advice is a sentence and the command it ends with, if any.
type advice struct{ Words, Command string }

// told takes the command off, so that a page can set it as what is typed.
func told(s string) advice {
	if i := strings.LastIndex(s, ": "+command); i >= 0 {
		return advice{Words: s[:i+1], Command: s[i+2:]}
	}
	return advice{Words: s}
}
