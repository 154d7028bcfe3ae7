package app

import (
	"context"
	"regexp"
	"strings"

	"postern/internal/catalogue"
	"postern/internal/relay"
)

// Header is that of a message, as long as the message is kept.
func (a *App) Header(ctx context.Context, id string) ([]byte, error) { return a.Relay.Header(ctx, id) }

// replyCodes are where a server's words begin: 550 5.1.10, 535 5.7.139.
var replyCodes = regexp.MustCompile(`\b([245]\d\d)(?:[ -](\d\.\d{1,3}\.\d{1,3}))?\b`)

// Meaning explains the words of the server that a message waits or failed for.
func (a *App) Meaning(ctx context.Context, m relay.Message) (catalogue.Entry, bool) {
	words := m.Reason
	for _, r := range m.Recipients {
		if r.State == relay.Refused && r.Reply != "" {
			words = r.Reply
			break
		}
	}
	if words == "" || m.State == relay.Delivered || m.State == relay.Simulated {
		return catalogue.Entry{}, false
	}
	q := catalogue.Query{Protocol: catalogue.SMTP, Text: words}
	switch {
	case strings.Contains(words, "AADSTS"): // it is help for people, who may be shown a wrong one
		q.Protocol = catalogue.OAuth
	case m.Over == relay.OverGraph:
		q.Protocol = catalogue.Graph
	}
	if code := replyCodes.FindStringSubmatch(words); code != nil {
		q.Code, q.Enhanced = code[1], code[2]
	}
	e, known := a.Catalogue.Lookup(q)
	if !known {
		return catalogue.Entry{}, false
	}
	values := map[string]string{}
	if acct, reg, err := a.account(ctx, m.Account); err == nil {
		values = map[string]string{"mailbox": acct.Mailbox.String(), "domain": acct.Mailbox.Domain, "tenant": reg.Tenant, "client_id": reg.ClientID}
	}
	return e.Fill(values), true
}
