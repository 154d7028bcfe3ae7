package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

// fewMessages is up to how many messages of a state are found by the state and then
// sorted. Of more than that, walking along the ids soon has a page full.
const fewMessages = 20_000

// searchStep is how many messages a search looks through before it looks at the clock.
const searchStep = 10_000

// Search is Messages for those who wait in front of a page: it looks through a long
// queue for about as long as its patience lasts. When there is more to look through,
// next is the After to go on with, also when nothing was found so far.
func (s *Store) Search(ctx context.Context, f relay.Filter, patience time.Duration) (found []relay.Message, next string, err error) {
	return s.search(ctx, f, patience, searchStep)
}

func (s *Store) search(ctx context.Context, f relay.Filter, patience time.Duration, at int) (found []relay.Message, next string, err error) {
	limit := limitOr100(f.Limit)
	way := wayOf(&f)
	for end := time.Now().Add(patience); ; {
		steps, err := list(ctx, s.db, "search messages", scanText,
			`SELECT id FROM messages WHERE id `+way.behind+` $1 ORDER BY id`+way.order+` LIMIT 1 OFFSET $2`, f.After, at-1)
		if err != nil {
			return nil, "", err
		}
		next = strings.Join(steps, "") // one, or none near the end
		f.Limit = limit - len(found)
		step, err := s.messages(ctx, f, next)
		if err != nil {
			return nil, "", err
		}
		found = append(found, step...)
		switch {
		case len(found) == limit:
			return found, found[limit-1].ID, nil
		case next == "" || !time.Now().Before(end):
			return found, next, nil
		}
		f.After = next
	}
}

// way is the direction of a listing.
type way struct{ behind, upTo, order string }

// wayOf is a filter's; that of the newest begins behind every id.
func wayOf(f *relay.Filter) way {
	if !f.Newest {
		return way{">", "<=", ""}
	}
	if f.After == "" {
		f.After = "~" // ids are of letters and digits
	}
	return way{"<", ">=", " DESC"}
}

func scanText(row scanner) (text string, err error) {
	err = row.Scan(&text)
	return text, err
}

// Messages is part of [relay.Store].
func (s *Store) Messages(ctx context.Context, f relay.Filter) ([]relay.Message, error) {
	return s.messages(ctx, f, "")
}

// messages lists those up to an id; "" is to the end.
func (s *Store) messages(ctx context.Context, f relay.Filter, last string) ([]relay.Message, error) {
	way := wayOf(&f)
	query, args := `SELECT `+messageColumns+` FROM messages WHERE id `+way.behind+` $1`, []any{f.After}
	and := func(condition, value string) {
		args = append(args, value)
		query += ` AND ` + strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(args)))
	}
	if last != "" {
		and(`id `+way.upTo+` ?`, last)
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
		args = append(args, "%"+likeEscaper.Replace(asJSON(f.Text))+"%")
		like, kept := s.dialect.like+` ? ESCAPE '!'`, fmt.Sprintf("%s $%d ESCAPE '!'", s.dialect.like, len(args))
		and(`(id `+like+` OR subject `+like+` OR message_id `+like+` OR sender `+like+
			` OR recipients `+kept+` AND EXISTS (SELECT 1 FROM `+s.dialect.addresses+` `+like+`))`, "%"+likeEscaper.Replace(f.Text)+"%")
	}
	args = append(args, limitOr100(f.Limit))
	return list(ctx, s.db, "list messages", scanMessage, query+` ORDER BY id`+way.order+fmt.Sprintf(` LIMIT $%d`, len(args)), args...)
}

// asJSON is text as it stands within a JSON document. Where that is not, nobody need take
// the document apart to see that none of its values has it.
func asJSON(text string) string {
	b, _ := json.Marshal(clean(text)) // a string cannot fail
	return string(b[1 : len(b)-1])
}

// few reports whether not many messages are in a state.
func (s *Store) few(ctx context.Context, state relay.State) (bool, error) {
	n, err := s.CountUpTo(ctx, state, fewMessages)
	return n < fewMessages, err
}

// CountUpTo counts the messages in a state, and stops at a number.
func (s *Store) CountUpTo(ctx context.Context, state relay.State, most int) (int, error) {
	return column[int](ctx, s.db, "list messages", `SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = $1 LIMIT $2) AS found`, string(state), most)
}

// InFlight counts the messages that are being delivered, by account.
func (s *Store) InFlight(ctx context.Context) (map[string]int, error) {
	flying := map[string]int{}
	_, err := list(ctx, s.db, "list messages", func(row scanner) (none struct{}, err error) {
		var account string
		var n int
		err = row.Scan(&account, &n)
		flying[account] = n
		return none, err
	}, `SELECT account, count(*) FROM messages WHERE state = 'delivering' GROUP BY account`)
	return flying, err
}

// likeEscaper takes the meaning from LIKE's signs.
var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")
