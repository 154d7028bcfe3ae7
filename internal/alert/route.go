package alert

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Route is who hears of which events, and how: by mail or by webhook.
type Route struct {
	Name     string  `json:"name"`
	Events   []Event `json:"events,omitempty"` // none: all
	Disabled bool    `json:"disabled,omitempty"`
	PerHour  int     `json:"per_hour,omitempty"` // messages at most; 0: DefaultPerHour

	// By mail.
	Account  string         `json:"account,omitempty"` // whose mailbox sends it
	To       []mail.Address `json:"to,omitempty"`
	FromName string         `json:"from_name,omitempty"`
	ReplyTo  string         `json:"reply_to,omitempty"`
	Subject  string         `json:"subject,omitempty"` // templates; "": the built-in ones
	Text     string         `json:"text,omitempty"`
	HTML     string         `json:"html,omitempty"`

	// By webhook; its secret is kept elsewhere.
	Webhook string `json:"webhook,omitempty"`
}

// DefaultPerHour is how many messages an hour a route gets; what more there is comes in
// digests.
const DefaultPerHour = 12

// Wants reports whether the route is to hear of an event.
func (r Route) Wants(e Event) bool {
	return !r.Disabled && (len(r.Events) == 0 || slices.Contains(r.Events, e))
}

// ByMail reports whether it is a mail route.
func (r Route) ByMail() bool { return r.Webhook == "" }

func (r Route) perHour() int {
	if r.PerHour > 0 {
		return r.PerHour
	}
	return DefaultPerHour
}

// Check refuses what could never work. Whether the account is there is the caller's to
// ask.
func (r Route) Check() error {
	for _, e := range r.Events {
		if !slices.Contains(Events(), e) {
			return invalid("events: %q is not known; allowed: %s", e, names(Events()))
		}
	}
	switch {
	case r.PerHour < 0:
		return invalid("per_hour: cannot be below 0, which is %d", DefaultPerHour)
	case r.Webhook == "" && r.Account == "":
		return invalid("it needs either account and to, or webhook")
	case r.Webhook != "" && (r.Account != "" || len(r.To) > 0 || r.Subject+r.Text+r.HTML+r.FromName+r.ReplyTo != ""):
		return invalid("webhook: account, to, from_name, reply_to, subject, text and html are for mail; a webhook gets JSON")
	case r.Webhook != "":
		return checkWebhook(r.Webhook)
	case len(r.To) == 0:
		return invalid("to: at least one address is needed")
	case strings.ContainsFunc(r.FromName+r.ReplyTo, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return invalid("from_name, reply_to: a line end or control character is not allowed there")
	}
	if r.ReplyTo != "" {
		if _, err := mail.ParseAddress(r.ReplyTo); err != nil {
			return invalid("reply_to: %w", err)
		}
	}
	_, err := r.templates()
	return err
}

// checkWebhook wants HTTPS, for a body that says what does not work; this machine and
// its own network may do without.
func checkWebhook(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Fragment != "":
		return invalid("webhook: %q is not an address; allowed: https://host/path", address)
	case u.User != nil:
		return invalid("webhook: a name and password in the address would stand in logs; sign with secret instead")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && near(u.Hostname()):
		return nil
	}
	return invalid("webhook: https:// is needed; http:// is for this machine and private addresses")
}

func near(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (addr.IsLoopback() || addr.IsPrivate())
}

func invalid(format string, args ...any) error {
	return fault.Wrap(fault.Invalid, "check the alert route", fmt.Errorf(format, args...))
}

func names[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}

// SecretName is under which name the secret of a webhook is kept.
func SecretName(route string) string { return "alert/" + route }

// With is the route with the values that are given in place of its own. One who gives a
// webhook wants no mail, and the other way round.
func (r Route) With(given Route) Route {
	switch {
	case given.Webhook != "":
		r = Route{Name: r.Name, Events: r.Events, PerHour: r.PerHour}
	case given.Account != "" || len(given.To) > 0:
		r.Webhook = ""
	}
	if len(given.To) > 0 {
		r.To = given.To
	}
	for _, f := range []struct {
		at    *string
		given string
	}{
		{&r.Account, given.Account}, {&r.FromName, given.FromName}, {&r.ReplyTo, given.ReplyTo}, {&r.Webhook, given.Webhook},
		{&r.Subject, given.Subject}, {&r.Text, given.Text}, {&r.HTML, given.HTML},
	} {
		if f.given != "" {
			*f.at = f.given
		}
	}
	return r
}
