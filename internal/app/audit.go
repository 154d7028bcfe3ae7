package app

import (
	"context"
	"errors"
	"fmt"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/people"
)

// WriteDown adds a line to the audit log about a deed that changes no record.
func (a *App) WriteDown(ctx context.Context, who, what, subject, detail string) error {
	return a.Record(ctx, people.Deed{Who: who, What: what, Subject: subject, Detail: detail})
}

// Record adds a line to the audit log: of what was before and after, the fields that
// differ, without the secrets. It does so also when whoever wanted it has gone.
func (a *App) Record(ctx context.Context, d people.Deed) error {
	line, err := d.Line(a.Store.Now())
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return a.Store.PutAudit(context.WithoutCancel(ctx), line)
}

// changing makes a change of one record and writes it down, the record before and after.
func (a *App) changing(ctx context.Context, who, what string, k declare.Key, detail string, change func() error) error {
	doc := documentOf(k)
	before, err := a.records(ctx, doc)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // it is done, and must be written down
	after, err := a.records(ctx, doc)
	return errors.Join(err, a.Record(ctx, people.Deed{Who: who, What: what, Subject: k.Name, Detail: detail, Before: before[k], After: after[k]}))
}

// documentOf names one record.
func documentOf(k declare.Key) (doc declare.Document) {
	switch k.Kind {
	case "app":
		doc.Apps = []declare.App{{Name: k.Name}}
	case "account":
		doc.Accounts = []declare.Account{{Name: k.Name}}
	case "device":
		doc.Devices = []declare.Device{{Name: k.Name}}
	case "task":
		doc.Tasks = []declare.Task{{Name: k.Name}}
	case "alert":
		doc.Alerts = []declare.Alert{{Name: k.Name}}
	}
	return doc
}

// records are the present state of what a document names, in its words, and what it does
// not say beside it: how an account stands, and what shows that a secret was replaced. The
// audit log hides the secrets themselves.
func (a *App) records(ctx context.Context, doc declare.Document) (map[declare.Key]any, error) {
	all, err := a.Applier(nil).Records(ctx, doc)
	for k, words := range all {
		more, lookup := a.beside(ctx, k)
		if words, ok := words.(map[string]any); ok && lookup == nil {
			for name, v := range more {
				words[name] = v
			}
		}
		if !errors.Is(lookup, fault.NotFound) { // it may have gone just now
			err = errors.Join(err, lookup)
		}
	}
	return all, err
}

// beside is what documents do not say of a record.
func (a *App) beside(ctx context.Context, k declare.Key) (map[string]any, error) {
	switch k.Kind {
	case "app":
		reg, err := a.Vault.App(ctx, k.Name)
		return map[string]any{"secret": reg.Secret, "certificate_key": reg.Key}, err
	case "account":
		d, err := a.Vault.Describe(ctx, k.Name)
		return map[string]any{"state": d.Account.State, "held": d.Account.Held, "signed_in_as": d.SignedInAs, "signed_in_at": d.SignedInAt, "password": d.Account.Password}, err
	case "device":
		d, err := a.Store.Device(ctx, k.Name)
		return map[string]any{"password": d.PasswordHash}, err
	}
	return nil, nil //nolint:nilnil // documents say all of it
}
