package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postern/internal/alert"
	"postern/internal/fault"
)

var _ alert.Store = (*Store)(nil)

func scanRoute(row scanner) (r alert.Route, err error) {
	err = row.Scan(document{&r})
	return r, err
}

// Routes is part of [alert.Store].
func (s *Store) Routes(ctx context.Context) ([]alert.Route, error) {
	return list(ctx, s.db, "list alert routes", scanRoute, `SELECT settings FROM alert_routes ORDER BY name`)
}

// AlertRoute returns one route.
func (s *Store) AlertRoute(ctx context.Context, name string) (alert.Route, error) {
	return one(ctx, s.db, subject{"alert route", name}, scanRoute, `SELECT settings FROM alert_routes WHERE name = $1`, name)
}

// PutAlertRoute writes a route, whatever was there. An account that is not there is
// fault.Invalid.
func (s *Store) PutAlertRoute(ctx context.Context, r alert.Route) error {
	const op = "save alert route"
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if r.Account != "" {
			if err := refers(ctx, tx, op, subject{"account", r.Account}, "accounts"); err != nil {
				return err
			}
		}
		_, err := exec(ctx, tx, `
			INSERT INTO alert_routes (name, settings) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET settings = excluded.settings`,
			r.Name, document{r})
		return err
	})
}

// DeleteAlertRoute removes a route. What waits for it is told to nobody.
func (s *Store) DeleteAlertRoute(ctx context.Context, name string) error {
	return s.writes.do(ctx, "delete alert route", func(ctx context.Context, tx querier) error {
		return deleteOne(ctx, tx, subject{"alert route", name}, `DELETE FROM alert_routes WHERE name = $1`)
	})
}

// NoteState is part of [alert.Store].
func (s *Store) NoteState(ctx context.Context, key, state string, at time.Time, news []alert.Alert) (changed bool, err error) {
	err = s.writes.do(ctx, "note what is told", func(ctx context.Context, tx querier) error {
		query, args := `DELETE FROM alert_states WHERE key = $1`, []any{key}
		if state != "" {
			query, args = `
				INSERT INTO alert_states (key, state, since) VALUES ($1, $2, $3)
				ON CONFLICT (key) DO UPDATE SET state = excluded.state, since = excluded.since WHERE alert_states.state <> excluded.state`,
				[]any{key, state, millis(at)}
		}
		n, err := exec(ctx, tx, query, args...)
		changed = n > 0
		if err != nil || !changed {
			return err
		}
		return putAlerts(ctx, tx, news)
	})
	return changed && err == nil, err
}

// StateKeys is part of [alert.Store].
func (s *Store) StateKeys(ctx context.Context, prefix string) ([]string, error) {
	return list(ctx, s.db, "list what was told", func(row scanner) (key string, err error) {
		err = row.Scan(&key)
		return key, err
	}, `SELECT key FROM alert_states WHERE key LIKE $1 ESCAPE '!' ORDER BY key`, likeEscaper.Replace(prefix)+"%")
}

// ForgetState is part of [alert.Store].
func (s *Store) ForgetState(ctx context.Context, key string) error {
	_, err := s.write(ctx, "forget what was told", `DELETE FROM alert_states WHERE key = $1`, key)
	return err
}

// PutAlerts is part of [alert.Store].
func (s *Store) PutAlerts(ctx context.Context, news []alert.Alert) error {
	if len(news) == 0 {
		return nil
	}
	return s.writes.do(ctx, "queue alerts", func(ctx context.Context, tx querier) error { return putAlerts(ctx, tx, news) })
}

func putAlerts(ctx context.Context, tx querier, news []alert.Alert) error {
	for _, a := range news {
		_, err := exec(ctx, tx, `
			INSERT INTO alerts (id, route, occasion, news, state, not_before) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (route, occasion) DO NOTHING`,
			a.ID, a.Route, a.Occasion, document{a.News}, string(a.State), millis(a.NotBefore))
		if err != nil {
			return err
		}
	}
	return nil
}

const alertColumns = `id, route, occasion, news, state, batch, tries, not_before, outcome, message, done`

func scanAlert(row scanner) (a alert.Alert, err error) {
	err = row.Scan(&a.ID, &a.Route, &a.Occasion, document{&a.News}, &a.State, &a.Batch, &a.Tries, clock{&a.NotBefore}, &a.Outcome, &a.Message, clock{&a.Done})
	return a, err
}

// WaitingRoutes is part of [alert.Store].
func (s *Store) WaitingRoutes(ctx context.Context, now time.Time) ([]string, error) {
	return list(ctx, s.db, "list waiting alerts", func(row scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	}, `SELECT DISTINCT route FROM alerts WHERE state = 'waiting' AND not_before <= $1 ORDER BY route`, millis(now))
}

// WaitingAlerts is part of [alert.Store].
func (s *Store) WaitingAlerts(ctx context.Context, route string, now time.Time, limit int) ([]alert.Alert, error) {
	return list(ctx, s.db, "list waiting alerts", scanAlert, `
		SELECT `+alertColumns+` FROM alerts WHERE state = 'waiting' AND route = $1 AND not_before <= $2 ORDER BY id LIMIT $3`,
		route, millis(now), limit)
}

// JoinAlerts is part of [alert.Store].
func (s *Store) JoinAlerts(ctx context.Context, route string, ids []string, batch string) error {
	_, err := s.write(ctx, "join alerts", `UPDATE alerts SET batch = $1 WHERE state = $2 AND route = $3 AND id IN (`+s.dialect.listed+`)`,
		batch, string(alert.Waiting), route, document{cleanAll(ids)})
	return err
}

// FinishAlerts is part of [alert.Store].
func (s *Store) FinishAlerts(ctx context.Context, batch string, a alert.Alert) error {
	_, err := s.write(ctx, "finish alerts", `
		UPDATE alerts SET state = $2, tries = $3, not_before = $4, outcome = $5, message = $6, done = $7 WHERE batch = $1 AND state = 'waiting'`,
		batch, string(a.State), a.Tries, millis(a.NotBefore), a.Outcome, a.Message, millis(a.Done))
	return err
}

// ToldSince is part of [alert.Store].
func (s *Store) ToldSince(ctx context.Context, route string, since time.Time) (int, error) {
	return column[int](ctx, s.db, "count alerts", `SELECT count(DISTINCT batch) FROM alerts WHERE route = $1 AND done > $2`, route, max(millis(since), 0))
}

// Alerts is part of [alert.Store].
func (s *Store) Alerts(ctx context.Context, f alert.Filter) ([]alert.Alert, error) {
	query, args := `SELECT `+alertColumns+` FROM alerts WHERE 1 = 1`, []any{}
	for _, c := range []struct{ test, value string }{{"route =", f.Route}, {"state =", string(f.State)}, {"id <", f.Before}} {
		if c.value != "" {
			args = append(args, c.value)
			query += fmt.Sprintf(` AND %s $%d`, c.test, len(args))
		}
	}
	args = append(args, limitOr100(f.Limit))
	return list(ctx, s.db, "list alerts", scanAlert, query+fmt.Sprintf(` ORDER BY id DESC LIMIT $%d`, len(args)), args...)
}

// ForgetAlerts is part of [alert.Store].
func (s *Store) ForgetAlerts(ctx context.Context, before time.Time) error {
	_, err := s.write(ctx, "forget alerts", `DELETE FROM alerts WHERE state <> 'waiting' AND done < $1`, millis(before))
	return err
}

// TakeTurn is part of [alert.Store].
func (s *Store) TakeTurn(ctx context.Context, name, holder string, now, until time.Time) (bool, error) {
	mine := []byte(strconv.FormatInt(millis(until), 10) + " " + holder)
	kept, err := s.PutSettingOnce(ctx, name, mine)
	if err != nil || string(kept) == string(mine) {
		return err == nil, err
	}
	end, who, _ := strings.Cut(string(kept), " ")
	if ms, err := strconv.ParseInt(end, 10, 64); err == nil && ms > millis(now) && who != holder {
		return false, nil
	}
	err = s.SwapSetting(ctx, name, kept, mine)
	if errors.Is(err, fault.Conflict) {
		return false, nil //nolint:nilerr // somebody was faster, which is an answer
	}
	return err == nil, err
}

// FailedMessage is a message that failed for good, as alerts tell of it.
type FailedMessage struct {
	ID, Account, Device, Subject, Reason string
	Done                                 time.Time
}

// FailedSince lists messages that failed for good from then on, the earliest first, but
// for those of a device and reports; after is the last one of the page before.
func (s *Store) FailedSince(ctx context.Context, since time.Time, except string, after FailedMessage, limit int) ([]FailedMessage, error) {
	return list(ctx, s.db, "list failed messages", func(row scanner) (m FailedMessage, err error) {
		err = row.Scan(&m.ID, &m.Account, &m.Device, &m.Subject, &m.Reason, clock{&m.Done})
		return m, err
	}, `SELECT id, account, device, subject, reason, done FROM messages
		WHERE state = 'failed' AND done >= $1 AND (done > $2 OR done = $2 AND id > $3) AND device <> $4 AND about = ''
		ORDER BY done, id LIMIT $5`, max(millis(since), 0), millis(after.Done), after.ID, except, limit)
}

// Backlog is what waits of one account.
type Backlog struct {
	Account  string
	Messages int
	Oldest   string // id
}

// Backlogs lists what waits to be sent, by account. Held messages do not.
func (s *Store) Backlogs(ctx context.Context) ([]Backlog, error) {
	return list(ctx, s.db, "look at the queue", func(row scanner) (b Backlog, err error) {
		err = row.Scan(&b.Account, &b.Messages, &b.Oldest)
		return b, err
	}, `SELECT account, count(*), min(id) FROM messages WHERE state = 'queued' GROUP BY account ORDER BY account`)
}
