package app

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	netmail "net/mail"
	"slices"
	"time"

	"postern/internal/alert"
	"postern/internal/api"
	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/outbound"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/vault"
	"postern/internal/webhook"
)

// alertDevice stands in the queue where a message's device stands. No device can have
// that name, so that alerts about alerts can be told apart.
const alertDevice = "postern/alerts"

// newDesk builds what notices changes and tells people.
func (a *App) newDesk(network outbound.Network) *alert.Desk {
	return alert.New(alert.Config{
		Store: a.Store, Messenger: messenger{a, network}, Sources: a.alertSources(), Happened: a.failedMessages,
		Noticed: func(ctx context.Context, n alert.News) {
			a.counters.alerts.WithLabelValues(string(n.Event)).Inc()
			a.log.WarnContext(ctx, "alert", "kind", string(n.Event), "account", n.Account, "text", n.What, "why", n.Why, "next", n.Next)
		},
		Ended: func(_ context.Context, route, outcome string) { a.counters.told.WithLabelValues(route, outcome).Inc() },
		Log:   a.log.With("room", "alert"), Now: a.Store.Now, Holder: a.holder, Host: a.hostname(), Link: a.Config.PublicURL.String() + "/",
	})
}

// alert lets the desk look at once: what the vault says here is seen there in what the
// database holds, also when this process dies in between, and whoever noticed it.
func (a *App) alert(context.Context, vault.Alert) { a.Desk.Wake() }

// messenger carries alerts by the queue and by webhook.
type messenger struct {
	*App
	network outbound.Network
}

// Mail queues a letter like any other message.
func (m messenger) Mail(ctx context.Context, l alert.Letter) (message, outcome string, err error) {
	acct, err := m.alertAccount(ctx, l.Route, l.About)
	if err != nil {
		return "", "", err
	}
	body, err := compose(l, acct.Mailbox)
	if err != nil {
		return "", "", err
	}
	once := &relay.Once{Owner: alertDevice, Key: l.ID, For: 7 * 24 * time.Hour, Sum: func() []byte { s := sha256.Sum256(body); return s[:] }}
	id, err := m.Relay.Accept(ctx, relay.Submission{
		Device: alertDevice, Account: acct.Name, From: acct.Mailbox, To: l.Route.To, EightBit: true, UTF8: true, Via: "LOCAL", Once: once,
	}, bytes.NewReader(body))
	if errors.Is(err, fault.Conflict) { // it was queued, and the process died before that was written down
		id, _, err = m.Store.HandedIn(ctx, once.Owner, once.Key, m.Store.Now())
	}
	if err != nil {
		return "", "", err
	}
	return id, "queued through account " + acct.Name, nil
}

// Post calls a webhook.
func (m messenger) Post(ctx context.Context, p alert.Post) (outcome string, err error) {
	s, err := m.Vault.KeptSecret(ctx, alert.SecretName(p.Route.Name))
	if err != nil {
		return "", err
	}
	by, err := m.network.Transport("")
	if err != nil {
		return "", err
	}
	defer by.CloseIdleConnections()
	webhook.Guard(by)
	ctx, cancel := context.WithTimeout(ctx, webhookFor)
	defer cancel()
	return webhook.Post(ctx, by, webhook.Call{Address: p.Route.Webhook, Secret: s, ID: p.ID, Body: p.Body, At: m.Store.Now()})
}

// webhookFor is how long a receiver may take.
const webhookFor = 20 * time.Second

// alertAccount chooses whose mailbox sends an alert: the route's, unless the alert is
// about it, or it does not work, and there is one of which neither is so.
func (a *App) alertAccount(ctx context.Context, r alert.Route, about []string) (vault.Account, error) {
	all, err := a.Vault.Accounts(ctx)
	if err != nil {
		return vault.Account{}, err
	}
	fits := func(acct vault.Account) int {
		score := 0
		for i, good := range []bool{
			!r.To[0].Null() && acct.Mailbox.Domain == r.To[0].Domain, acct.Name == r.Account, !acct.Simulate, acct.State == vault.Active, !slices.Contains(about, acct.Name),
		} {
			if good {
				score += 1 << i
			}
		}
		return score
	}
	all = slices.DeleteFunc(all, func(acct vault.Account) bool {
		return !acct.May(vault.Send) && !acct.May(vault.Graph) && (!acct.May(vault.HVE) || acct.Name != r.Account) // HVE reaches its own tenant only
	})
	if len(all) == 0 {
		return vault.Account{}, fault.New(fault.NeedsAdmin, "tell by mail", "no account may send").WithHint("give an account the purpose send, and sign it in")
	}
	return slices.MaxFunc(all, func(x, y vault.Account) int { return cmp.Compare(fits(x), fits(y)) }), nil
}

// compose writes an alert as a message.
func compose(l alert.Letter, from mail.Address) ([]byte, error) {
	d := api.Draft{
		From: (&netmail.Address{Name: cmp.Or(l.Route.FromName, "Postern"), Address: from.String()}).String(), Subject: l.Subject, Text: l.Text, HTML: l.HTML,
		Headers: map[string]string{"Auto-Submitted": "auto-generated", "X-Postern-Event": string(l.Event), "X-Postern-Alert": l.ID},
	}
	for _, to := range l.Route.To {
		d.To = append(d.To, to.String())
	}
	if l.Route.ReplyTo != "" {
		d.ReplyTo = []string{l.Route.ReplyTo}
	}
	letter, err := d.Letter()
	if err != nil {
		return nil, err
	}
	body := letter.Reader()
	defer body.Close()
	return io.ReadAll(body)
}

// AlertHistory lists what was told. What went by mail says what became of the message.
func (a *App) AlertHistory(ctx context.Context, f alert.Filter) ([]alert.Alert, error) {
	all, err := a.Store.Alerts(ctx, f)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Message == "" {
			continue
		}
		m, err := a.Store.Message(ctx, all[i].Message)
		switch {
		case err == nil:
			all[i].Outcome += ", " + string(m.State)
		case errors.Is(err, fault.NotFound):
			all[i].Outcome += ", deleted"
		default:
			return nil, err
		}
	}
	return all, nil
}

// DeleteAlertRoute removes a route and its secret.
func (a *App) DeleteAlertRoute(ctx context.Context, who, name string) error {
	return a.changing(ctx, who, "delete alert route", declare.Key{Kind: "alert", Name: name}, "", func() error {
		if err := a.Store.DeleteAlertRoute(ctx, name); err != nil {
			return err
		}
		return a.Vault.KeepSecret(ctx, alert.SecretName(name), secret.Text{})
	})
}

// alertRoom is what the pages see of alerts.
type alertRoom struct{ *App }

// Routes lists the alert routes.
func (r alertRoom) Routes(ctx context.Context) ([]alert.Route, error) { return r.Store.Routes(ctx) }

// AlertRoute is one of them.
func (r alertRoom) AlertRoute(ctx context.Context, name string) (alert.Route, error) {
	return r.Store.AlertRoute(ctx, name)
}

// TestAlert tests a route, saved or not, for somebody who waits.
func (r alertRoom) TestAlert(ctx context.Context, saved string, given alert.Route, signWith secret.Text) (check.Report, error) {
	return r.App.TestAlert(ctx, saved, given, signWith, nil)
}
