package store

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"postern/internal/fault"
)

// Health is what the last connection check of an account for one purpose found.
type Health struct {
	Account  string
	Purpose  string
	At       time.Time
	Good     bool
	Failures int // in a row
	Headline string
	Report   json.RawMessage // without the transcript
}

const healthColumns = `account, purpose, at, good, failures, headline`

func scanHealth(row scanner) (h Health, err error) {
	err = row.Scan(&h.Account, &h.Purpose, clock{&h.At}, &h.Good, &h.Failures, &h.Headline)
	return h, err
}

// PutHealth keeps what a check found in place of what the one before did, and counts
// failures. An account that is not there is fault.NotFound.
func (s *Store) PutHealth(ctx context.Context, h Health) error {
	return s.writes.do(ctx, "keep a check", func(ctx context.Context, tx querier) error {
		if err := require(ctx, tx, subject{"account", h.Account}, "accounts", "name"); err != nil {
			return err
		}
		failed := 1
		if h.Good {
			failed = 0
		}
		_, err := exec(ctx, tx, `
			INSERT INTO health (`+healthColumns+`, report) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (account, purpose) DO UPDATE SET at = excluded.at, good = excluded.good, headline = excluded.headline, report = excluded.report,
				failures = CASE WHEN excluded.good THEN 0 ELSE health.failures + 1 END`,
			h.Account, h.Purpose, millis(h.At), h.Good, failed, h.Headline, document{h.Report})
		return err
	})
}

// Healths lists what the last checks of all accounts found, without the reports.
func (s *Store) Healths(ctx context.Context) ([]Health, error) {
	return list(ctx, s.db, "read the checks", scanHealth, `SELECT `+healthColumns+` FROM health ORDER BY account, purpose`)
}

// HealthOf lists what the last checks of one account found, with the reports.
func (s *Store) HealthOf(ctx context.Context, account string) ([]Health, error) {
	return list(ctx, s.db, "read the checks", func(row scanner) (h Health, err error) {
		err = row.Scan(&h.Account, &h.Purpose, clock{&h.At}, &h.Good, &h.Failures, &h.Headline, document{&h.Report})
		return h, err
	}, `SELECT `+healthColumns+`, report FROM health WHERE account = $1 ORDER BY purpose`, account)
}

// Turn is one claim of an account that is to be checked.
type Turn struct {
	Holder string
	Now    time.Time
	Before time.Time // accounts whose last turn was then or earlier are due
	Until  time.Time // how long nobody else takes it
	// First says when the turn before the first of a new account was, as if there had been
	// one: new accounts come apart by it.
	First func(account string) time.Time
}

// ClaimTurn gives holder the account that has waited longest for its check, to be ended
// with [Store.EndTurn]. fault.NotFound: none is due.
func (s *Store) ClaimTurn(ctx context.Context, t Turn) (account string, err error) {
	const op = "claim a check"
	if err := s.newTurns(ctx, t.First); err != nil {
		return "", err
	}
	const due = `turn <= $1 AND until <= $2`
	waiting, err := column[int](ctx, s.db, op, `SELECT count(*) FROM health_turns WHERE `+due, millis(t.Before), millis(t.Now))
	if err != nil {
		return "", err
	}
	var claimed []string
	if waiting > 0 { // looking must not make the one writer busy
		err = s.writes.do(ctx, op, func(ctx context.Context, tx querier) (err error) {
			claimed, err = list(ctx, tx, op, scanValueOf[string], `
				UPDATE health_turns SET holder = $3, until = $4
				WHERE account = (SELECT account FROM health_turns WHERE `+due+` ORDER BY turn, account LIMIT 1) AND `+due+`
				RETURNING account`, millis(t.Before), millis(t.Now), t.Holder, millis(t.Until))
			return err
		})
	}
	switch {
	case err != nil:
		return "", err
	case len(claimed) == 0:
		return "", fault.New(fault.NotFound, op, "no account is due")
	}
	return claimed[0], nil
}

// newTurns begins the turns of accounts that have had none.
func (s *Store) newTurns(ctx context.Context, first func(account string) time.Time) error {
	const op = "claim a check"
	fresh, err := list(ctx, s.db, op, scanValueOf[string], `
		SELECT name FROM accounts WHERE NOT EXISTS (SELECT 1 FROM health_turns WHERE account = name)`)
	if err != nil || len(fresh) == 0 {
		return err
	}
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		for _, name := range fresh {
			_, err := exec(ctx, tx, `
				INSERT INTO health_turns (account, turn) SELECT name, $2 FROM accounts WHERE name = $1
				ON CONFLICT (account) DO NOTHING`, name, millis(first(name)))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// EndTurn ends what ClaimTurn began. turn is when the account had it; an earlier time
// brings the next one forward. What is known of purposes the account no longer has is
// forgotten.
func (s *Store) EndTurn(ctx context.Context, account, holder string, turn time.Time, purposes []string) error {
	return s.writes.do(ctx, "end a check", func(ctx context.Context, tx querier) error {
		n, err := exec(ctx, tx, `
			UPDATE health_turns SET turn = $3, holder = '', until = 0 WHERE account = $1 AND holder = $2`, account, holder, millis(turn))
		if err != nil || n == 0 {
			return err // somebody else has it by now, or the account is gone
		}
		known, err := list(ctx, tx, "end a check", scanValueOf[string], `SELECT purpose FROM health WHERE account = $1`, account)
		if err != nil {
			return err
		}
		for _, p := range known {
			if slices.Contains(purposes, p) {
				continue
			}
			if _, err := exec(ctx, tx, `DELETE FROM health WHERE account = $1 AND purpose = $2`, account, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// Poll is how a task's runs went lately.
type Poll struct {
	Task    string
	Good    time.Time // when its last run without an error began; zero: there is none
	Running bool      // its last run has not ended
	Error   string    // of its last run
}

// Polls tells of all tasks.
func (s *Store) Polls(ctx context.Context) ([]Poll, error) {
	return list(ctx, s.db, "look at the runs", func(row scanner) (p Poll, err error) {
		var ended int64
		err = row.Scan(&p.Task, clock{&p.Good}, &ended, &p.Error)
		p.Running = ended == 0
		return p, err
	}, `
		SELECT t.name,
			coalesce((SELECT r.started FROM runs r WHERE r.task = t.name AND r.error = '' AND r.ended > 0 ORDER BY r.started DESC LIMIT 1), 0),
			coalesce((SELECT r.ended FROM runs r WHERE r.task = t.name ORDER BY r.started DESC, r.id DESC LIMIT 1), 1),
			coalesce((SELECT r.error FROM runs r WHERE r.task = t.name ORDER BY r.started DESC, r.id DESC LIMIT 1), '')
		FROM tasks t ORDER BY t.name`)
}
