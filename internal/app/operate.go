package app

import (
	"context"
	"time"

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

// WriteDown adds a line to the audit log.
func (a *App) WriteDown(ctx context.Context, who, what, subject, detail string) error {
	return a.Store.PutAudit(ctx, store.Audit{At: time.Now(), Who: who, What: what, Subject: subject, Detail: detail})
}
