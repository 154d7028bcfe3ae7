package check

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"postern/internal/catalogue"
	"postern/internal/mail"
	"postern/internal/secret"
)

// Status is how a stage ended.
type Status string

// The ways a stage ends. Warn does not stop the check.
const (
	OK      Status = "ok"
	Warn    Status = "warn"
	Fail    Status = "fail"
	Skipped Status = "skipped"
)

// Detail is one thing a stage found out.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Stage is the outcome of one stage.
type Stage struct {
	Name    string        `json:"name"`
	Status  Status        `json:"status"`
	Took    time.Duration `json:"took_ns"`
	Summary string        `json:"summary"`           // what is so, in plain words
	Next    string        `json:"next,omitempty"`    // what to do about it
	Command string        `json:"command,omitempty"` // PowerShell that does it
	Link    string        `json:"link,omitempty"`    // the page where it is done or explained
	Who     catalogue.Who `json:"who,omitempty"`     // must act, where a server's answer says so
	Reply   string        `json:"reply,omitempty"`   // the server's own words
	Details []Detail      `json:"details,omitempty"`
}

// Report is a whole check.
type Report struct {
	Account    string      `json:"account"`
	Purpose    Purpose     `json:"purpose"`
	Mailbox    string      `json:"mailbox"`
	Server     mail.Server `json:"server"`
	Started    time.Time   `json:"started"`
	OK         bool        `json:"ok"`
	Headline   string      `json:"headline"` // "Connection successful", or "stage failed: what is so"
	Stages     []Stage     `json:"stages"`
	Transcript []string    `json:"transcript,omitempty"` // the dialogue with the mail server, without credentials
}

// Text is the stage as lines to read, each with its line end.
func (s Stage) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-7s  %-13s  %s", s.Status, s.Name, s.Summary)
	if s.Status != Skipped {
		fmt.Fprintf(&b, " (%d ms)", s.Took.Milliseconds())
	}
	b.WriteByte('\n')
	for _, d := range []Detail{{"next", s.Next}, {"who", s.who()}, {"command", s.Command}, {"link", s.Link}, {"server", s.Reply}} {
		d.write(&b)
	}
	return b.String()
}

// who is whom to ask.
func (s Stage) who() string {
	switch s.Who {
	case catalogue.Operator:
		return "whoever runs Postern and owns the app registration"
	case catalogue.User:
		return "whoever owns the mailbox"
	case catalogue.TenantAdmin:
		return "an administrator of Microsoft 365"
	case catalogue.Microsoft:
		return "Microsoft"
	}
	return ""
}

func (d Detail) write(b *strings.Builder) {
	if d.Value != "" {
		fmt.Fprintf(b, "%9s%s: %s\n", "", d.Name, d.Value)
	}
}

// Text is the whole report, to be copied into a ticket.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Connection check: %s for %s (account %s)\n", r.Purpose, r.Mailbox, r.Account)
	fmt.Fprintf(&b, "Server: %s, %s\nStarted: %s\n\n", r.Server.Address(), r.Server.TLS, r.Started.Format(time.RFC3339))
	for _, s := range r.Stages {
		b.WriteString(s.Text())
		for _, d := range s.Details {
			d.write(&b)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.Headline)
	if len(r.Transcript) > 0 {
		fmt.Fprintf(&b, "\nTranscript:\n%s\n", strings.Join(r.Transcript, "\n"))
	}
	return b.String()
}

// clean takes secrets and control characters out of everything a stage says.
func (s Stage) clean(secrets []secret.Text) Stage {
	for _, field := range []*string{&s.Summary, &s.Next, &s.Command, &s.Link, &s.Reply} {
		*field = clean(*field, secrets)
	}
	details := make([]Detail, 0, len(s.Details))
	for _, d := range s.Details {
		details = append(details, Detail{d.Name, clean(d.Value, secrets)})
	}
	s.Details = details
	return s
}

// clean also makes one line of it: servers' words end up on terminals.
func clean(text string, secrets []secret.Text) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, secret.Scrub(text, secrets...))
}
