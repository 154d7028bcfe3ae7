package declare

import (
	"context"
	"crypto/subtle"
	"fmt"
	"reflect"
	"strings"

	"postern/internal/alert"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/webhook"
)

// Alert is a route of alerts: who hears of what, by mail or by webhook.
type Alert struct {
	Name     string     `yaml:"name"`
	Events   []string   `yaml:"events,omitempty"`    // absent: all
	Account  string     `yaml:"account,omitempty"`   // whose mailbox sends it
	To       []string   `yaml:"to,omitempty"`        // who gets it
	FromName string     `yaml:"from_name,omitempty"` // absent: Postern
	ReplyTo  string     `yaml:"reply_to,omitempty"`
	Subject  string     `yaml:"subject,omitempty"` // templates; absent: built in
	Text     string     `yaml:"text,omitempty"`
	HTML     string     `yaml:"html,omitempty"`
	Webhook  string     `yaml:"webhook,omitempty"`  // instead of account and to
	Secret   *SecretRef `yaml:"secret,omitempty"`   // signs the webhook; absent: keep, or make one and show it once
	PerHour  int        `yaml:"per_hour,omitempty"` // messages at most, the rest in digests; absent: 12
	Disabled bool       `yaml:"disabled,omitempty"`
}

// Alerts keeps the routes. Missing is fault.NotFound.
type Alerts interface {
	Routes(ctx context.Context) ([]alert.Route, error)
	AlertRoute(ctx context.Context, name string) (alert.Route, error)
	PutAlertRoute(ctx context.Context, r alert.Route) error
}

// Secrets keeps what must not be read.
type Secrets interface {
	KeptSecret(ctx context.Context, name string) (secret.Text, error) // empty when there is none
	KeepSecret(ctx context.Context, name string, clear secret.Text) error
}

func (a Applier) alert(d Alert) (step, error) {
	want, err := d.Route()
	if err == nil {
		err = want.Check()
	}
	if err != nil {
		return nil, err
	}
	var clear *secret.Text
	switch {
	case d.Secret != nil && want.ByMail():
		return nil, fmt.Errorf("secret: it signs a webhook, and there is none")
	case d.Secret != nil:
		s, err := d.Secret.trimmed(a.Getenv)
		if err == nil {
			err = webhook.CheckSecret(s)
		}
		if err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		clear = &s
	}
	return func(ctx context.Context) (Change, error) { return a.putAlert(ctx, want, clear) }, nil
}

// Route reads a route. Whether it could work is its Check's to say.
func (d Alert) Route() (alert.Route, error) {
	r := alert.Route{
		Name: d.Name, Account: strings.TrimSpace(d.Account), FromName: d.FromName, ReplyTo: strings.TrimSpace(d.ReplyTo),
		Subject: d.Subject, Text: d.Text, HTML: d.HTML, Webhook: strings.TrimSpace(d.Webhook), PerHour: d.PerHour, Disabled: d.Disabled,
	}
	for _, e := range d.Events {
		r.Events = append(r.Events, alert.Event(e))
	}
	for _, text := range d.To {
		to, err := mail.ParseAddress(strings.TrimSpace(text))
		if err != nil {
			return r, fmt.Errorf("to: %w", err)
		}
		r.To = append(r.To, to)
	}
	return r, nil
}

func (a Applier) putAlert(ctx context.Context, want alert.Route, clear *secret.Text) (Change, error) {
	c := Change{Kind: "alert", Name: want.Name}
	have, err := a.Alerts.AlertRoute(ctx, want.Name)
	kept, serr := a.Secrets.KeptSecret(ctx, alert.SecretName(want.Name))
	if serr != nil {
		return c, serr
	}
	fits := want.ByMail() || !kept.Empty() && (clear == nil || subtle.ConstantTimeCompare([]byte(kept.Reveal()), []byte(clear.Reveal())) == 1)
	same := func() bool { return fits && reflect.DeepEqual(want, have) }
	return c.put(err, same, func() error {
		if !fits {
			fresh := clear
			if fresh == nil {
				made := webhook.NewSecret()
				fresh, c.Password, c.Note = &made, made, "the receiver checks signatures with the secret above"
			}
			if err := a.Secrets.KeepSecret(ctx, alert.SecretName(want.Name), *fresh); err != nil {
				return err
			}
		}
		return a.Alerts.PutAlertRoute(ctx, want)
	})
}

// AlertOf writes a route down, without its secret.
func AlertOf(r alert.Route) Alert {
	d := Alert{Name: r.Name, Account: r.Account, FromName: r.FromName, ReplyTo: r.ReplyTo, Subject: r.Subject, Text: r.Text, HTML: r.HTML,
		Webhook: r.Webhook, PerHour: r.PerHour, Disabled: r.Disabled}
	for _, e := range r.Events {
		d.Events = append(d.Events, string(e))
	}
	for _, to := range r.To {
		d.To = append(d.To, to.String())
	}
	return d
}
