package fetch_test

import (
	"testing"
	"time"

	"postern/internal/fetch"
	"postern/internal/handover"
)

func TestTaskInWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{fetch.Task{}.Where(), "INBOX"},
		{fetch.Task{Spec: fetch.Spec{Source: fetch.Origin{Folders: []string{"Invoices", "Bills"}, Protocol: fetch.POP3}}}.Where(), "Invoices, Bills (POP3)"},
		{fetch.Handover{Directory: "/srv/in"}.Into(), "/srv/in"},
		{fetch.Handover{Directory: "/srv/in", Spec: handover.Spec{Command: &handover.Command{Path: "/usr/bin/ocr"}}}.Into(), "/srv/in, then the command /usr/bin/ocr"},
		{fetch.Handover{Spec: handover.Spec{Webhook: &handover.Webhook{URL: "https://hooks.example.com/services/T0/B0/key?sig=x"}}}.Into(), "https://hooks.example.com/…"},
		{fetch.Schedule{}.When(), "by hand"},
		{fetch.Schedule{Watch: true, Every: fetch.Duration(10 * time.Minute)}.When(), "as soon as mail arrives, and every 10m"},
		{fetch.Schedule{Cron: "0 6 * * 1-5", Zone: "Europe/Berlin"}.When(), "0 6 * * 1-5 Europe/Berlin"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
