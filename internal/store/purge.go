package store

import (
	"context"
	"time"

	"postern/internal/mail"
)

// purgeAtOnce is how many rows go in one change, so that mail never waits long for it.
const purgeAtOnce = 100

// PurgeMessages forgets messages that were delivered or simulated, or failed and were
// reported, before a time, with all that hangs on them, and says how many those were.
func (s *Store) PurgeMessages(ctx context.Context, before time.Time) (purged int, err error) {
	for after := ""; err == nil; {
		var ids []string
		// A message is done after it came, so those that came later need not be looked
		// at; the state is hidden from the planner, which would sort all that are delivered.
		ids, err = list(ctx, s.db, "purge messages", scanValueOf[string], `
			SELECT id FROM messages WHERE id > $1 AND id < $2 AND state || '' IN ('delivered', 'failed', 'simulated') AND done <= $3 AND bounce <> 'due'
			ORDER BY id LIMIT $4`, after, mail.FirstID(before), millis(before), purgeAtOnce)
		if err != nil || len(ids) == 0 {
			break
		}
		after = ids[len(ids)-1]
		var n int
		n, err = s.purge(ctx, ids, before)
		purged += n
	}
	return purged, err
}

// purge forgets those messages that are still to be forgotten: one may have been queued
// again meanwhile.
func (s *Store) purge(ctx context.Context, ids []string, before time.Time) (purged int, err error) {
	var files []string
	err = s.writes.do(ctx, "purge messages", func(ctx context.Context, tx querier) error {
		purged, files = 0, nil
		for _, id := range ids {
			done, err := list(ctx, tx, "purge messages", scanValueOf[string],
				`SELECT id FROM messages WHERE id = $1 AND state IN ('delivered', 'failed', 'simulated') AND done <= $2`+s.dialect.lockRow, id, millis(before))
			if err != nil {
				return err
			}
			if len(done) == 0 {
				continue
			}
			file, err := dropBody(ctx, tx, id)
			if err != nil {
				return err
			}
			if _, err := exec(ctx, tx, `DELETE FROM messages WHERE id = $1`, id); err != nil {
				return err
			}
			purged, files = purged+1, append(files, file)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		s.removeFile(ctx, file)
	}
	return purged, nil
}

// PurgeAudit forgets what people did before a time.
func (s *Store) PurgeAudit(ctx context.Context, before time.Time) error {
	for {
		n, err := s.write(ctx, "purge the audit log",
			`DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < $1 ORDER BY id LIMIT $2)`, mail.FirstID(before), purgeAtOnce)
		if err != nil || n < purgeAtOnce {
			return err
		}
	}
}
