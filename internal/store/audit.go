package store

import (
	"context"
	"encoding/json"
	"fmt"

	"postern/internal/mail"
	"postern/internal/people"
)

const auditColumns = `id, at, who, what, subject, detail, before, after`

// PutAudit adds an entry to the audit log; its ID is made here.
func (s *Store) PutAudit(ctx context.Context, a people.Line) error {
	_, err := s.write(ctx, "write the audit log", `INSERT INTO audit (`+auditColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		mail.NewID(a.At), millis(a.At), a.Who, a.What, a.Subject, a.Detail, string(a.Before), string(a.After))
	return err
}

// Audits lists entries, the newest first.
func (s *Store) Audits(ctx context.Context, f people.Lines) ([]people.Line, error) {
	query, args := `SELECT `+auditColumns+` FROM audit WHERE 1 = 1`, []any{}
	from, to := "", ""
	if !f.Since.IsZero() {
		from = mail.FirstID(f.Since)
	}
	if !f.Until.IsZero() {
		to = mail.FirstID(f.Until)
	}
	like := s.dialect.like + ` $%d ESCAPE '!'`
	for _, c := range []struct{ test, value string }{
		{"who " + like, part(f.Who)}, {"what " + like, part(f.What)}, {"subject " + like, part(f.Subject)},
		{"id >= $%d", from}, {"id < $%d", to}, {"id < $%d", f.Before},
	} {
		if c.value != "" {
			args = append(args, c.value)
			query += " AND " + fmt.Sprintf(c.test, len(args))
		}
	}
	args = append(args, limitOr100(f.Limit))
	return list(ctx, s.db, "read the audit log", scanAudit, query+fmt.Sprintf(` ORDER BY id DESC LIMIT $%d`, len(args)), args...)
}

// part is a pattern for what stands anywhere in a text; "" for all.
func part(s string) string {
	if s == "" {
		return ""
	}
	return "%" + likeEscaper.Replace(s) + "%"
}

func scanAudit(row scanner) (a people.Line, err error) {
	var before, after string
	err = row.Scan(&a.ID, clock{&a.At}, &a.Who, &a.What, &a.Subject, &a.Detail, &before, &after)
	if before != "" {
		a.Before = json.RawMessage(before)
	}
	if after != "" {
		a.After = json.RawMessage(after)
	}
	return a, err
}
