package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
)

// LogSize is how many octets of SQLite's write-ahead log are to be copied back into the
// database, which may grow by as much then; 0 on PostgreSQL.
func (s *Store) LogSize() uint64 {
	w, ok := s.writes.(*writer)
	if !ok {
		return 0
	}
	info, err := os.Stat(w.wal)
	if err != nil {
		return 0
	}
	return uint64(info.Size()) //nolint:gosec // never below 0
}

// checkpoint copies the write-ahead log back into the database when it has grown to
// limit, and empties it if no reader is in the way. It never waits for a reader: the
// log then grows by another step before the next attempt.
func (w *writer) checkpoint(limit int64) {
	info, err := os.Stat(w.wal)
	if err != nil || info.Size() < limit {
		return
	}
	ctx := context.Background()
	done, err := w.copyBack(ctx, "PASSIVE")
	if err == nil && done {
		_ = w.exec(ctx, `PRAGMA busy_timeout = 0`) // these two cannot fail
		done, err = w.copyBack(ctx, "TRUNCATE")
		_ = w.exec(ctx, fmt.Sprintf(`PRAGMA busy_timeout = %d`, w.busy.Milliseconds()))
	}
	w.limit = walLimit
	if !done || err != nil {
		w.limit += info.Size()
	}
	if err != nil {
		w.log.LogAttrs(ctx, slog.LevelWarn, "database log not copied back", slog.Any("error", classify("checkpoint", err)))
	}
}

// copyBack reports whether all of the log went into the database.
func (w *writer) copyBack(ctx context.Context, mode string) (done bool, err error) {
	var blocked, frames, copied int64
	err = w.conn.conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(`+mode+`)`).Scan(&blocked, &frames, &copied)
	return blocked == 0 && frames == copied, err
}
