package store

import (
	"context"
	"errors"
	"io"
	"time"

	"postern/internal/fault"
)

func insertChunk(ctx context.Context, q querier, body string, part int, stored time.Time, data []byte) error {
	_, err := exec(ctx, q, `INSERT INTO chunks (body, part, stored, data) VALUES ($1, $2, $3, $4)`,
		body, part, millis(stored), blob(data))
	return err
}

// rows keeps large bodies in PostgreSQL, in chunks that are committed one by one
// before their message: a slow sender must not hold a connection of the pool.
type rows struct {
	db  querier
	now func() time.Time // by the clock that sweep is asked with
}

var _ bodies = rows{}

func (rows) inFile() bool { return false }

func (b rows) save(ctx context.Context, name string, r io.Reader) (size int64, err error) {
	defer func() {
		if err != nil {
			_ = b.remove(context.WithoutCancel(ctx), name) // what stays is swept
		}
	}()
	src := &source{r: r}
	buf := make([]byte, chunkSize)
	for part := 0; ; part++ {
		n, err := io.ReadFull(src, buf)
		if src.err != nil { // a connection that breaks says io.ErrUnexpectedEOF, as a short read does
			return 0, src.err
		}
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return 0, err
		}
		if n > 0 {
			if err := insertChunk(ctx, b.db, name, part, b.now(), buf[:n]); err != nil {
				return 0, classify("store body", err)
			}
			size += int64(n)
		}
		if last {
			return size, nil
		}
	}
}

func (rows) whole(ctx context.Context, tx querier, name string, size int64) error {
	have, err := column[int64](ctx, tx, "queue message", `SELECT COALESCE(sum(octet_length(data)), 0) FROM chunks WHERE body = $1`, name)
	if err == nil && have != size {
		err = errSwept()
	}
	return err
}

func (b rows) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, txLimit)
	defer cancel()
	_, err := exec(ctx, b.db, `DELETE FROM chunks WHERE body = $1`, name)
	return classify("remove body", err)
}

// sweep looks at large bodies only: a small one is committed with its message.
func (b rows) sweep(ctx context.Context, before time.Time) error {
	_, err := exec(ctx, b.db, `
		DELETE FROM chunks WHERE stored < $1 AND (part > 0 OR octet_length(data) > 65536) AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.body = chunks.body AND m.body <> '')`,
		millis(before))
	return classify("sweep bodies", err)
}

// chunkReader reads a body chunk by chunk, so that one of them is in memory at a time.
type chunkReader struct {
	next func(part int) ([]byte, error)
	part int
	have []byte
	left int64
}

// openChunks goes on after the first chunk, so that a body that is gone fails here.
func openChunks(ctx context.Context, q querier, body string, size int64, first []byte) (io.ReadCloser, error) {
	r := &chunkReader{left: size, next: func(part int) ([]byte, error) {
		return one(ctx, q, subject{"body", body}, scanValue, `SELECT data FROM chunks WHERE body = $1 AND part = $2`, body, part)
	}}
	return r, r.take(first)
}

func (r *chunkReader) load() error {
	have, err := r.next(r.part)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	return r.take(have)
}

// take goes on with a chunk; one that is missing is empty.
func (r *chunkReader) take(have []byte) error {
	r.part++
	r.have = have
	if len(r.have) == 0 && r.left > 0 || int64(len(r.have)) > r.left {
		return fault.New(fault.Permanent, "read body", "a part of the body is gone").WithHint(hintRestore)
	}
	return nil
}

// Read is for io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if len(r.have) == 0 {
		if err := r.load(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.have)
	r.have = r.have[n:]
	r.left -= int64(n)
	return n, nil
}

// Close is for io.Closer.
func (r *chunkReader) Close() error { return nil }
