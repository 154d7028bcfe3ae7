package app

import (
	"context"
	"fmt"

	"postern/internal/people"
)

// WriteDown adds a line to the audit log about a deed that changes no record.
func (a *App) WriteDown(ctx context.Context, who, what, subject, detail string) error {
	return a.Record(ctx, people.Deed{Who: who, What: what, Subject: subject, Detail: detail})
}

// Record adds a line to the audit log: of what was before and after, the fields that
// differ, without the secrets.
func (a *App) Record(ctx context.Context, d people.Deed) error {
	line, err := d.Line(a.Store.Now())
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return a.Store.PutAudit(ctx, line)
}
