package web

import "strings"

// verdict answers "is everything all right?" in one sentence.
func verdict(at Standing, groups []concernGroup) (said string, good bool) {
	var bad, soon []string
	for _, g := range groups {
		if g.Bad {
			bad = append(bad, lowered(g.Title))
		} else {
			soon = append(soon, lowered(g.Title))
		}
	}
	switch {
	case at.Accounts == 0 && len(at.Missing) == 0:
		return "Postern is not set up yet.", false
	case len(bad) > 0:
		return "Somebody is needed: " + joinedWords(bad) + ".", false
	case len(at.Missing) > 0:
		return "Not everything could be looked at.", false
	case len(soon) > 0:
		return "Mail flows. Before long: " + joinedWords(soon) + ".", true
	}
	return "Everything is all right.", true
}

func lowered(s string) string { return strings.ToLower(s[:1]) + s[1:] }

func joinedWords(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// amount is "1 task" or "3 tasks".
func amount(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(int64(n)) + " " + more
}

// say fills in what the kind says of all of them.
func (g *concernGroup) say() {
	n := len(g.Concerns) + g.More
	switch g.Trouble {
	case NeedsSignIn:
		g.Title, g.Who, g.Bad, g.All = amount(n, "account waits for a sign-in", "accounts wait for a sign-in"), "Whoever owns the mailbox", true, "/accounts?state=needs_sign_in"
	case NeedsAdmin:
		g.Title, g.Who, g.Bad, g.All = amount(n, "account waits for an administrator", "accounts wait for an administrator"), "An administrator of the organisation's Microsoft 365", true, "/accounts?state=needs_admin"
	case CheckFailed:
		g.Title, g.Who, g.Bad, g.All = amount(n, "connection check failed", "connection checks failed"), "You", true, "/check"
	case QueueOld:
		g.Title, g.Who, g.Bad, g.All = "mail of "+amount(n, "account", "accounts")+" waits for long", "You", true, "/queue"
	case MailFailed:
		g.Title, g.Who, g.Bad, g.All = amount(n, "message failed since yesterday", "messages failed since yesterday"), "You", true, "/queue?state=failed"
	case TaskFailed:
		g.Title, g.Who, g.Bad, g.All = amount(n, "task failed", "tasks failed"), "You", true, "/tasks"
	case TaskLate:
		g.Title, g.Who, g.Bad, g.All = amount(n, "task has not run when it was due", "tasks have not run when they were due"), "You", true, "/tasks"
	case EntryParked:
		g.Title, g.Who, g.Bad, g.All = amount(n, "task has parked mail", "tasks have parked mail"), "You", true, "/ledger?state=parked"
	case DiskFull:
		g.Title, g.Who, g.Bad = "The disk is nearly full", "You", true
	case AlertFailed:
		g.Title, g.Who, g.Bad, g.All = amount(n, "alert reached nobody", "alerts reached nobody"), "You", true, "/alerts"
	case Certificate:
		g.Title, g.Who = "The certificate of the doors ends soon", "You"
	case Expires:
		g.Title, g.Who, g.All = amount(n, "end is near", "ends are near"), "You", "/accounts"
	case OldTLS:
		g.Title, g.Who, g.All = amount(n, "device speaks old TLS", "devices speak old TLS"), "Whoever looks after the machine", "/devices"
	case MailHeld:
		g.Title, g.Who, g.All = "Mail is held back by hand", "You", "/queue?state=held"
	case Simulated:
		g.Title, g.Who = "Some mail is only simulated", "You"
	case NobodyIsTold:
		g.Title, g.Who = "Nobody is told of trouble", "You"
	}
	g.Title = strings.ToUpper(g.Title[:1]) + g.Title[1:]
}

// stepWords are the steps of the first run.
func stepWords() []step {
	return []step{
		{Title: "Register an app", Text: "Postern needs an app registration in Entra to sign in with.", Path: "/new/app", Act: "Enter the app"},
		{Title: "Name a mailbox", Text: "An account is a mailbox and what Postern may do with it.", Path: "/new/account", Act: "Make the account"},
		{Title: "Sign in", Text: "Once, at Microsoft. From then on Postern keeps the sign-in fresh.", Path: "/accounts", Act: "Sign in"},
		{Title: "Check the connection", Text: "Stage by stage, until it says “Connection successful”.", Path: "/check", Act: "Check it"},
		{Title: "Make a device", Text: "The printer or program gets a name, a password and a setup card.", Path: "/new/device", Act: "Make a device"},
		{Title: "Send the first mail", Text: "From the machine itself. It appears in the queue, and then here.", Path: "/queue", Act: "Look at the queue"},
	}
}

// tiles are the numbers at a glance.
func tiles(at Standing) []tile {
	failed := number(int64(at.Failed))
	if !at.CountedAll {
		failed = "more than " + failed
	}
	all := []tile{
		{"Waiting", number(int64(at.Waiting)), "/queue", "messages to be sent"},
		{"Failed", failed, "/queue?state=failed", "messages kept"},
		{"Accounts", number(int64(at.AccountsWork)), "/accounts", "of " + number(int64(at.Accounts)) + " work"},
		{"Devices", number(int64(at.Devices)), "/devices", "may send"},
		{"Tasks", number(int64(at.Tasks)), "/tasks", "fetch mail"},
	}
	if at.Free > 0 {
		all = append(all, tile{"Disk", octets(int64(at.Free)), "", "free"}) //nolint:gosec // no disk has 2^63 octets
	}
	return all
}
