package store

import (
	"context"
	"fmt"
	"time"

	"postern/internal/mail"
)

// Audit is something a person did.
type Audit struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Who     string    `json:"who"`
	What    string    `json:"what"`
	Subject string    `json:"subject"`
	Detail  string    `json:"detail,omitempty"`
}

const auditColumns = `id, at, who, what, subject, detail`

// PutAudit adds an entry to the audit log; its ID is made here.
func (s *Store) PutAudit(ctx context.Context, a Audit) error {
	_, err := s.write(ctx, "write the audit log", `INSERT INTO audit (`+auditColumns+`) VALUES ($1, $2, $3, $4, $5, $6)`,
		mail.NewID(a.At), millis(a.At), a.Who, a.What, a.Subject, a.Detail)
	return err
}

// Audits lists entries, the newest first: those of a subject, or all of them; before
// names the entry to go on from, "" for the newest.
func (s *Store) Audits(ctx context.Context, subject, before string, limit int) ([]Audit, error) {
	query, args := `SELECT `+auditColumns+` FROM audit WHERE 1 = 1`, []any{}
	for _, c := range []struct{ test, value string }{{"subject =", subject}, {"id <", before}} {
		if c.value != "" {
			args = append(args, c.value)
			query += fmt.Sprintf(` AND %s $%d`, c.test, len(args))
		}
	}
	args = append(args, limitOr100(limit))
	return list(ctx, s.db, "read the audit log", func(row scanner) (a Audit, err error) {
		err = row.Scan(&a.ID, clock{&a.At}, &a.Who, &a.What, &a.Subject, &a.Detail)
		return a, err
	}, query+fmt.Sprintf(` ORDER BY id DESC LIMIT $%d`, len(args)), args...)
}
