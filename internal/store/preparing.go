package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// preparing parses each SQL text once, for every connection it has. The texts are
// constants, so their number is bounded.
type preparing struct {
	conn  preparer
	mu    sync.Mutex
	stmts map[string]*sql.Stmt
}

// preparer is what a *sql.Conn and a *sql.DB share.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	Close() error
}

func newPreparing(conn preparer) *preparing {
	return &preparing{conn: conn, stmts: map[string]*sql.Stmt{}}
}

var _ querier = (*preparing)(nil)

func (c *preparing) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st, ok := c.stmts[query]; ok {
		return st, nil
	}
	st, err := c.conn.PrepareContext(ctx, query)
	if err == nil {
		c.stmts[query] = st
	}
	return st, err
}

// ExecContext is like that of a sql.Tx.
func (c *preparing) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	st, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

// QueryContext is like that of a sql.Tx.
func (c *preparing) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// QueryRowContext is like that of a sql.Tx.
func (c *preparing) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	st, err := c.prepare(ctx, query)
	if err != nil {
		return c.conn.QueryRowContext(ctx, query, args...) // fails in the same way, inside a Row
	}
	return st.QueryRowContext(ctx, args...)
}

// close ends the statements, then what they are for.
func (c *preparing) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make([]error, 0, len(c.stmts)+1)
	for _, st := range c.stmts {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, c.conn.Close())...)
}
