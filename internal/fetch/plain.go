package fetch

import (
	"cmp"
	"strings"

	"postern/internal/secret"
)

// How a task is told in words, on a page as by a command.

// Where says which folders a task looks at.
func (t Task) Where() string {
	folders := cmp.Or(strings.Join(t.Source.Folders, ", "), "INBOX")
	if t.Source.Protocol == POP3 {
		folders += " (POP3)"
	}
	return folders
}

// Into says where files go.
func (h Handover) Into() string {
	var places []string
	if h.Directory != "" {
		places = append(places, h.Directory)
	}
	switch {
	case h.Object != nil:
		places = append(places, h.Object.URL)
	case h.Webhook != nil:
		places = append(places, secret.Address(h.Webhook.URL))
	case h.Command != nil:
		places = append(places, "the command "+h.Command.Path)
	}
	return strings.Join(places, ", then ")
}

// When says when a task runs.
func (s Schedule) When() string {
	var words []string
	if s.Watch {
		words = append(words, "as soon as mail arrives")
	}
	if s.Every > 0 {
		every, _ := s.Every.MarshalText() // never fails
		words = append(words, "every "+string(every))
	}
	if s.Cron != "" {
		words = append(words, strings.TrimSpace(s.Cron+" "+s.Zone))
	}
	return cmp.Or(strings.Join(words, ", and "), "by hand")
}
