package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Records that are read and written whole are kept as JSON, beside the columns
// that queries need. The columns win where both have a value.

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode a record: %w", err)
	}
	return string(b), nil
}

func decode(doc string, v any) error {
	if err := json.Unmarshal([]byte(doc), v); err != nil {
		return fmt.Errorf("decode a record: %w", err)
	}
	return nil
}

// one reads a single record; no row is fault.NotFound.
func one[T any](ctx context.Context, q querier, kind, name string, scan func(r *sql.Rows) (T, error), query string, args ...any) (T, error) {
	var v T
	found := false
	err := rows(ctx, q, func(r *sql.Rows) (err error) {
		found = true
		v, err = scan(r)
		return err
	}, query, args...)
	if err == nil && !found {
		err = notFound(kind, name)
	}
	return v, classify("look up "+kind, err)
}

// many reads records in the order of the query.
func many[T any](ctx context.Context, q querier, kind string, scan func(r *sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	var out []T
	err := rows(ctx, q, func(r *sql.Rows) error {
		v, err := scan(r)
		out = append(out, v)
		return err
	}, query, args...)
	return out, classify("list "+kind, err)
}

// document reads a record that is nothing but its JSON.
func document[T any](r *sql.Rows) (T, error) {
	var doc string
	var v T
	if err := r.Scan(&doc); err != nil {
		return v, err
	}
	return v, decode(doc, &v)
}

// Setting reads a small named value.
func (s *Store) Setting(ctx context.Context, key string) ([]byte, error) {
	return one(ctx, s.db, "setting", key, func(r *sql.Rows) (b []byte, err error) { return b, r.Scan(&b) },
		`SELECT value FROM setting WHERE key = $1`, key)
}

// PutSettingOnce writes a value if there is none and returns whichever is there.
func (s *Store) PutSettingOnce(ctx context.Context, key string, value []byte) ([]byte, error) {
	err := s.write(ctx, "keep setting "+key, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING`, key, value)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Setting(ctx, key)
}

// PutSetting writes a value over whatever was there.
func (s *Store) PutSetting(ctx context.Context, key string, value []byte) error {
	return s.write(ctx, "keep setting "+key, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
		return err
	})
}

var errStale = errors.New("somebody else was faster")
