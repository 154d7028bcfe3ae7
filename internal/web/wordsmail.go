package web

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fetch"
	"postern/internal/relay"
)

// label is a word for people, with how it is set: good, warn, bad or "".
type label struct{ Text, Look string }

// stateOf names the states of the queue.
func stateOf(s relay.State) label {
	switch s {
	case relay.Queued:
		return label{"waiting", ""}
	case relay.Held:
		return label{"held back", "warn"}
	case relay.Delivering:
		return label{"going out", ""}
	case relay.Delivered:
		return label{"delivered", "good"}
	case relay.Failed:
		return label{"failed", "bad"}
	case relay.Simulated:
		return label{"simulated", "warn"}
	}
	return label{Text: string(s)}
}

// outcomeOf names what became of a recipient.
func outcomeOf(r relay.Recipient) label {
	switch {
	case r.State == relay.Accepted:
		return label{"accepted by the server", "good"}
	case r.State == relay.Refused:
		return label{"refused for good", "bad"}
	case r.State == relay.Spared:
		return label{"simulated", "warn"}
	case r.InDoubt:
		return label{"waiting; may have got it", "warn"}
	}
	return label{"waiting", ""}
}

// entryState names the states of the ledger.
func entryState(s fetch.EntryState) label {
	switch s {
	case fetch.Seen:
		return label{"older than the task", ""}
	case fetch.NoMatch:
		return label{"not wanted", ""}
	case fetch.Staged:
		return label{"being saved", ""}
	case fetch.Saved:
		return label{"saved", "good"}
	case fetch.HandedOver:
		return label{"handed over", "good"}
	case fetch.ActionFailed:
		return label{"mailbox refuses", "warn"}
	case fetch.Done:
		return label{"done", "good"}
	case fetch.EntryFailed:
		return label{"failed, tried again", "warn"}
	case fetch.Parked:
		return label{"parked", "bad"}
	}
	return label{Text: string(s)}
}

// octets is a size as people read it.
func octets(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
}

// counted is a count that was not counted to its end.
func counted(n, upTo int) string {
	if n >= upTo {
		return "more than " + number(int64(upTo-1))
	}
	return number(int64(n))
}

// many is a count with its thing: 1 message, 2 messages.
func many(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return number(int64(n)) + " " + thing + "s"
}

// whoActs says who must act, after the catalogue.
func whoActs(w catalogue.Who) string {
	switch w {
	case catalogue.Operator:
		return "Whoever runs Postern and owns the app registration"
	case catalogue.User:
		return "Whoever sent the message or owns the mailbox"
	case catalogue.TenantAdmin:
		return "An administrator of Microsoft 365"
	case catalogue.Microsoft:
		return "Microsoft"
	}
	return "Nobody: it passes, or Postern goes on by itself"
}

// took is how long something lasted.
func took(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return ""
	}
	d := to.Sub(from)
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
}

// shortened keeps a table's cell short; the whole stands on a page of its own.
func shortened(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// tick draws one box to tick: {{template "tick" (tick .Form "name" "Label")}}.
func tick(f form, name, text string) field {
	return field{Name: name, Label: text, Value: f.Get(name), Wrong: f.Wrong[name]}
}

// deeds are what can be done to a message in its mailbox; not all of them to one that
// failed.
func deeds(all bool) []choice {
	list := []choice{
		{Value: string(fetch.Nothing), Label: "is left as it is"}, {Value: string(fetch.MarkRead), Label: "is marked as read"},
		{Value: string(fetch.Flag), Label: "is flagged"}, {Value: string(fetch.Tag), Label: "gets a keyword"},
		{Value: string(fetch.Move), Label: "is moved to a folder"}, {Value: string(fetch.Delete), Label: "is deleted"},
	}
	if all {
		return list
	}
	return []choice{list[0], list[2], list[4]}
}

// upTo is a count of a task's messages, which are not counted to their end.
func upTo(n int) string {
	if n >= fetch.CountedUpTo {
		return number(int64(n)) + " or more"
	}
	return number(int64(n))
}
