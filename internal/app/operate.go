package app

import (
	"context"
	"errors"
	"strings"

	"postern/internal/declare"
	"postern/internal/fetch"
	"postern/internal/people"
	"postern/internal/relay"
)

// Operator changes the queue by hand and writes it down.
func (a *App) Operator() relay.Operator {
	return relay.Operator{Relay: a.Relay, Audit: func(ctx context.Context, d relay.Deed) error {
		return a.Record(ctx, people.Deed{Who: d.Who, What: string(d.What), Subject: d.Subject, Detail: d.Detail, Before: d.Before, After: d.After})
	}}
}

// FetchOperator changes runs and the ledger by hand and writes it down.
func (a *App) FetchOperator() fetch.Operator {
	return fetch.Operator{Fetcher: a.Fetch, Audit: func(ctx context.Context, d fetch.ByHand) error {
		return a.Record(ctx, people.Deed{Who: d.Who, What: d.What, Subject: d.Subject, Detail: d.Detail, Before: d.Before, After: d.After})
	}}
}

// ApplyAs puts a document into effect that somebody sent from elsewhere, and writes down
// what it changed. References to files and the environment of this machine find nothing.
func (a *App) ApplyAs(ctx context.Context, who string, doc declare.Document) ([]declare.Change, error) {
	return a.applyAs(ctx, who, doc, func(string) (string, bool) { return "", false })
}

// ApplyHere is ApplyAs for whoever works on this machine.
func (a *App) ApplyHere(ctx context.Context, who string, doc declare.Document, getenv func(string) (string, bool)) ([]declare.Change, error) {
	return a.applyAs(ctx, who, doc, getenv)
}

func (a *App) applyAs(ctx context.Context, who string, doc declare.Document, getenv func(string) (string, bool)) ([]declare.Change, error) {
	applier := a.Applier(getenv)
	before, err := a.records(ctx, doc)
	if err != nil {
		return nil, err
	}
	done, err := applier.Apply(ctx, doc)
	errs := []error{err}
	after, err := a.records(ctx, doc)
	errs = append(errs, err)
	for _, c := range done {
		if c.Action != "unchanged" {
			key := declare.Key{Kind: c.Kind, Name: c.Name}
			errs = append(errs, a.Record(ctx, people.Deed{
				Who: who, What: strings.TrimSuffix(c.Action, "d") + " " + c.Kind, Subject: c.Name, Before: before[key], After: after[key],
			}))
		}
	}
	return done, errors.Join(errs...)
}
