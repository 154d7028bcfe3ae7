package store

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postern/internal/fault"
)

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// scan reads one row.
type scan[T any] func(scanner) (T, error)

// list returns every row of a query.
func list[T any](ctx context.Context, q querier, op string, read scan[T], query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, cleaned(args)...)
	if err != nil {
		return nil, classify(op, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := read(rows)
		if err != nil {
			return nil, classify(op, err)
		}
		all = append(all, v)
	}
	return all, classify(op, rows.Err())
}

// one returns the single row of a query. No row is fault.NotFound.
func one[T any](ctx context.Context, q querier, what subject, read scan[T], query string, args ...any) (T, error) {
	found, err := list(ctx, q, "read "+what.kind, read, query, args...)
	if err != nil || len(found) == 0 {
		var none T
		if err == nil {
			err = what.missing()
		}
		return none, err
	}
	return found[0], nil
}

// column returns the single value of a query that always has one.
func column[T any](ctx context.Context, q querier, op, query string, args ...any) (T, error) {
	var v T
	err := q.QueryRowContext(ctx, query, cleaned(args)...).Scan(&v)
	return v, classify(op, err)
}

// exec runs a statement and says how many rows it touched. The change it is part
// of classifies its errors.
func exec(ctx context.Context, tx querier, query string, args ...any) (int64, error) {
	res, err := tx.ExecContext(ctx, query, cleaned(args)...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// subject names what a row is about, for errors that people read.
type subject struct{ kind, name string }

func (s subject) missing() error {
	return fault.New(fault.NotFound, "read "+s.kind, "there is no %s %q", s.kind, s.name)
}

// require fails with fault.NotFound when no row of table has the key.
func require(ctx context.Context, tx querier, what subject, table, key string) error {
	n, err := column[int](ctx, tx, "read "+what.kind, `SELECT count(*) FROM `+table+` WHERE `+key+` = $1`, what.name)
	if err == nil && n == 0 {
		err = what.missing()
	}
	return err
}

// millis is a time as the database has it; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// clock scans a time that millis wrote.
type clock struct{ to *time.Time }

// Scan is for database/sql.
func (c clock) Scan(src any) error {
	ms, ok := src.(int64)
	if !ok {
		return fmt.Errorf("a time is stored as %T", src)
	}
	*c.to = time.Time{}
	if ms != 0 {
		*c.to = time.UnixMilli(ms).UTC()
	}
	return nil
}

// document is a value kept as JSON text.
type document struct{ v any }

// Value is for database/sql.
func (d document) Value() (driver.Value, error) {
	b, err := json.Marshal(d.v)
	return string(b), err
}

// Scan is for database/sql; v is a pointer then.
func (d document) Scan(src any) error {
	switch s := src.(type) {
	case string:
		return json.Unmarshal([]byte(s), d.v)
	case []byte:
		return json.Unmarshal(s, d.v)
	}
	return fmt.Errorf("a JSON document is stored as %T", src)
}

// blob makes b fit for a NOT NULL column.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// clean makes words that come from outside fit for a text column: PostgreSQL
// refuses octets that are not UTF-8, and NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// cleaned cleans every string among args, in place: what a stranger gives as a
// login or a subject must neither fail nor differ between the databases.
func cleaned(args []any) []any {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = clean(s)
		}
	}
	return args
}

// limitOr100 is the number of rows a listing returns.
func limitOr100(n int) int {
	if n <= 0 {
		return 100
	}
	return n
}
