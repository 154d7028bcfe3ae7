package store

import (
	"context"
	"fmt"
	"strings"

	"postern/internal/relay"
)

// fewMessages is up to how many messages of a state are found by the state and then
// sorted. Of more than that, walking along the ids soon has a page full.
const fewMessages = 20_000

// Messages is part of [relay.Store].
func (s *Store) Messages(ctx context.Context, f relay.Filter) ([]relay.Message, error) {
	query, args := `SELECT `+messageColumns+` FROM messages WHERE id > $1`, []any{f.After}
	and := func(condition, value string) {
		args = append(args, value)
		query += ` AND ` + strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(args)))
	}
	by := "%s = ?"
	if f.State != "" {
		few, err := s.few(ctx, f.State)
		if err != nil {
			return nil, err
		}
		if few {
			by = "%s || '' = ?" // no other index is better
			and(`id IN (SELECT id FROM messages WHERE state = ?)`, string(f.State))
		} else {
			and(`state || '' = ?`, string(f.State))
		}
	}
	if f.Account != "" {
		and(fmt.Sprintf(by, "account"), f.Account)
	}
	if f.Device != "" {
		and(fmt.Sprintf(by, "device"), f.Device)
	}
	if f.Text != "" {
		like := ` ` + s.dialect.like + ` ? ESCAPE '!'`
		and(`(id`+like+` OR subject`+like+` OR message_id`+like+` OR sender`+like+` OR recipients`+like+`)`, "%"+likeEscaper.Replace(f.Text)+"%")
	}
	args = append(args, limitOr100(f.Limit))
	return list(ctx, s.db, "list messages", scanMessage, query+fmt.Sprintf(` ORDER BY id LIMIT $%d`, len(args)), args...)
}

// few reports whether not many messages are in a state.
func (s *Store) few(ctx context.Context, state relay.State) (bool, error) {
	n, err := column[int](ctx, s.db, "list messages", `SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = $1 LIMIT $2) AS found`, string(state), fewMessages)
	return n < fewMessages, err
}

// likeEscaper takes the meaning from LIKE's signs.
var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")
