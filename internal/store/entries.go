package store

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/fetch"
)

// ledgerStep is how many entries at most a search looks through before it looks at the
// clock.
const ledgerStep = 2_000

// Entries is part of [fetch.Ledger].
func (s *Store) Entries(ctx context.Context, f fetch.Filter) ([]fetch.Entry, error) {
	const forever = 100 * 365 * 24 * time.Hour
	found, _, err := s.searchEntries(ctx, f, forever, ledgerStep)
	return found, err
}

// SearchEntries is Entries for those who wait in front of a page: it looks through a
// long ledger for about as long as its patience lasts. When there is more to look
// through, next is the After to go on with, also when nothing was found so far.
func (s *Store) SearchEntries(ctx context.Context, f fetch.Filter, patience time.Duration) (found []fetch.Entry, next string, err error) {
	return s.searchEntries(ctx, f, patience, ledgerStep)
}

func (s *Store) searchEntries(ctx context.Context, f fetch.Filter, patience time.Duration, at int) (found []fetch.Entry, next string, err error) {
	limit := limitOr100(f.Limit)
	look := min(at, 4*limit) // what is often there is found among a few
	for end := time.Now().Add(patience); ; look = min(at, 2*look) {
		q, err := s.ledgerQuery(f)
		if err != nil {
			return nil, "", err
		}
		rows := limit + 1 - len(found)
		if q.sifts() {
			rows = look
		}
		// The end of this step, zero near the end of all. Without it SQLite would sort
		// everything for a page, where the index has only the times in order.
		until, err := q.step(ctx, rows)
		if err != nil {
			return nil, "", err
		}
		page, err := q.page(ctx, limit+1-len(found), until, f)
		if err != nil {
			return nil, "", err
		}
		found = append(found, page...)
		switch {
		case len(found) > limit:
			return found[:limit], found[limit-1].Mark().String(), nil
		case until.IsZero():
			return found, "", nil
		}
		if f.After = (fetch.Mark{Updated: until}).String(); !time.Now().Before(end) {
			return found, f.After, nil
		}
	}
}

// ledgerQuery is a listing of entries, from the newest to the oldest.
type ledgerQuery struct {
	*Store
	states []fetch.EntryState // each is a branch of its own along the index entries_state; none: all tasks, along entries_time
	within []string           // what the index knows
	sift   []string           // what it does not
	args   []any
	known  int // of args, those of within, which are the first
}

func (s *Store) ledgerQuery(f fetch.Filter) (*ledgerQuery, error) {
	q := &ledgerQuery{Store: s}
	if f.Task != "" {
		q.within = append(q.within, `task = `+q.arg(f.Task))
		if q.states = f.States; len(q.states) == 0 {
			q.states = fetch.States()
		}
	}
	if f.After != "" {
		m, err := fetch.ParseMark(f.After)
		if err != nil {
			return nil, err
		}
		at := q.arg(millis(m.Updated))
		q.within = append(q.within, `updated <= `+at, `(updated, task, folder, uid_validity, LENGTH(uid), uid) < (`+
			strings.Join([]string{at, q.arg(m.Task), q.arg(m.Folder), q.arg(int64(m.UIDValidity)), q.arg(utf8.RuneCountInString(m.UID)), q.arg(m.UID)}, ", ")+`)`)
	}
	q.known = len(q.args)
	if f.Task == "" && len(f.States) > 0 {
		marks := make([]string, 0, len(f.States))
		for _, state := range f.States {
			marks = append(marks, q.arg(string(state)))
		}
		q.sift = append(q.sift, `state || '' IN (`+strings.Join(marks, ", ")+`)`) // no index is better than entries_time
	}
	for _, c := range []struct{ condition, value string }{
		{`lower('/' || folder) LIKE ? ESCAPE '!'`, with(f.Folder, "%/"+loosely(f.Folder))},
		{`uid = ?`, f.UID},
		{`run = ?`, f.Run},
		{`lower(message_id || ' ' || files || ' ' || details) LIKE ? ESCAPE '!'`, with(f.Text, "%"+loosely(f.Text)+"%")},
	} {
		if c.value != "" {
			q.sift = append(q.sift, strings.Replace(c.condition, "?", q.arg(c.value), 1))
		}
	}
	return q, nil
}

// with is a pattern, none when nothing is looked for.
func with(word, pattern string) string {
	if word == "" {
		return ""
	}
	return pattern
}

// loosely is a pattern that fits whatever holds a text, and more: JSON writes some of its
// signs otherwise, and SQLite knows the small letters of ASCII only.
func loosely(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) {
			b.WriteByte('%')
		} else {
			b.WriteString(likeEscaper.Replace(string(r)))
		}
	}
	return b.String()
}

func (q *ledgerQuery) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

// sifts reports whether rows are looked at that may not be wanted.
func (q *ledgerQuery) sifts() bool { return len(q.sift) > 0 }

// page lists entries that fit, down to a time.
func (q *ledgerQuery) page(ctx context.Context, limit int, until time.Time, f fetch.Filter) ([]fetch.Entry, error) {
	conditions := append(append([]string{}, q.within...), q.sift...)
	if !until.IsZero() {
		conditions = append(conditions, `updated >= `+q.arg(millis(until)))
	}
	const newest = ` ORDER BY updated DESC, task DESC, folder DESC, uid_validity DESC, LENGTH(uid) DESC, uid DESC`
	rows := limit
	if f.Folder != "" || f.Text != "" {
		rows = math.MaxInt32 // a step is no more, and not all of it fits
	}
	page, err := list(ctx, q.db, "read ledger", scanEntry, q.text(entryColumns, newest, conditions, rows), q.args...)
	page = slices.DeleteFunc(page, func(e fetch.Entry) bool { return !f.Fits(e) })
	return page[:min(len(page), limit)], err
}

// step says down to when there are so many entries, whether wanted or not; zero when
// there are fewer.
func (q *ledgerQuery) step(ctx context.Context, at int) (until time.Time, err error) {
	of := q.args
	defer func() { q.args = of }()
	q.args = slices.Clip(of[:q.known]) // PostgreSQL wants every argument used
	const newest = ` ORDER BY updated DESC`
	found, err := list(ctx, q.db, "read ledger", func(row scanner) (t time.Time, err error) {
		err = row.Scan(clock{&t})
		return t, err
	}, `SELECT updated FROM (`+q.text(`updated`, newest, q.within, at)+`) AS step`+newest+` LIMIT 1 OFFSET `+q.arg(at-1), q.args...)
	if len(found) == 1 {
		until = found[0]
	}
	return until, err
}

// text is the statement: the first rows of each branch, and of those the first.
func (q *ledgerQuery) text(columns, order string, conditions []string, limit int) string {
	most := ` LIMIT ` + q.arg(limit)
	if len(q.states) == 0 {
		where := ""
		if len(conditions) > 0 {
			where = ` WHERE ` + strings.Join(conditions, ` AND `)
		}
		return `SELECT ` + columns + ` FROM entries` + where + order + most
	}
	branches := make([]string, 0, len(q.states))
	for _, state := range q.states {
		one := append([]string{`state = ` + q.arg(string(state))}, conditions...)
		branches = append(branches, `SELECT * FROM (SELECT `+columns+` FROM entries WHERE `+strings.Join(one, ` AND `)+order+most+`) AS branch`)
	}
	return `SELECT ` + columns + ` FROM (` + strings.Join(branches, ` UNION ALL `) + `) AS merged` + order + most
}
