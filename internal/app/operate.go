package app

import (
	"context"
	"errors"
	"strings"

	"postern/internal/declare"
	"postern/internal/fetch"
	"postern/internal/relay"
	"postern/internal/store"
)

// Operator changes the queue by hand and writes it down.
func (a *App) Operator() relay.Operator {
	return relay.Operator{Relay: a.Relay, Audit: func(ctx context.Context, d relay.Deed) error {
		return a.WriteDown(ctx, d.Who, string(d.What), d.Subject, d.Detail)
	}}
}

// FetchOperator changes runs and the ledger by hand and writes it down.
func (a *App) FetchOperator() fetch.Operator {
	return fetch.Operator{Fetcher: a.Fetch, Audit: a.WriteDown}
}

// ApplyAs puts a document into effect that somebody sent from elsewhere, and writes down
// what it changed. References to files and the environment of this machine find nothing.
func (a *App) ApplyAs(ctx context.Context, who string, doc declare.Document) ([]declare.Change, error) {
	done, err := a.Applier(func(string) (string, bool) { return "", false }).Apply(ctx, doc)
	errs := []error{err}
	for _, c := range done {
		if c.Action != "unchanged" {
			errs = append(errs, a.WriteDown(ctx, who, strings.TrimSuffix(c.Action, "d")+" "+c.Kind, c.Name, ""))
		}
	}
	return done, errors.Join(errs...)
}

// WriteDown adds a line to the audit log.
func (a *App) WriteDown(ctx context.Context, who, what, subject, detail string) error {
	return a.Store.PutAudit(ctx, store.Audit{At: a.Store.Now(), Who: who, What: what, Subject: subject, Detail: detail})
}
