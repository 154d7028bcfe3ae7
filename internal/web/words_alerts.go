package web

import (
	"time"

	"postern/internal/alert"
)

// eventChoices are the events that a route may choose, in plain words.
func eventChoices() []choice {
	said := map[alert.Event]string{
		alert.NeedsSignIn: "An account waits for a sign-in", alert.NeedsAdmin: "An account waits for an administrator", alert.AccountWorks: "An account works again",
		alert.MessageFailed: "A message was given up", alert.Expiring: "A secret, certificate, sign-in or app password ends soon",
		alert.QueueOld: "Mail waits for long", alert.QueueMoves: "Mail moves again", alert.DiskLow: "The disk is nearly full", alert.DiskFree: "The disk has room again",
		alert.Certificate: "The certificate of the doors ends soon", alert.LegacyTLS: "A device still speaks old TLS",
		alert.CheckFailed: "An account's daily connection check fails", alert.CheckGood: "The check succeeds again",
		alert.TaskSilent: "A task has not run well for long", alert.TaskRuns: "The task runs again", alert.Test: "A test",
	}
	choices := make([]choice, 0, len(said))
	for _, e := range alert.Events() {
		choices = append(choices, choice{Value: string(e), Label: said[e]})
	}
	return choices
}

// eventWords is an event in plain words.
func eventWords(e alert.Event) string {
	for _, c := range eventChoices() {
		if c.Value == string(e) {
			return c.Label
		}
	}
	return string(e)
}

// sampleAlert is what previews are written of: news with everything a template can name.
func sampleAlert(public string, now time.Time) alert.Alert {
	return alert.Alert{ID: "0199c0ffee", Batch: "0199c0ffee", Route: "sample", News: alert.News{
		Event: alert.NeedsSignIn, Account: "scan", What: "account scan (scan@contoso.com) is paused until somebody signs in",
		Why: "AADSTS700082: The refresh token has expired due to inactivity.", Next: "sign in again: postern signin scan", Until: now.Add(time.Hour),
		Link: public + "/accounts/scan", At: now, Host: "gate",
	}}
}
