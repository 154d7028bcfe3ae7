package store_test

import (
	"strings"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		one := door.Token{ID: "aaaa", Name: "one", Device: "printer", Scopes: []door.Scope{door.MaySend}, Hash: []byte{0, 1, 0xff}, Created: t0}
		all := door.Token{ID: "bbbb", Name: "all", Scopes: []door.Scope{door.MayReadQueue}, Hash: []byte{2}, Created: t0}
		ok(t, s.PutToken(ctx, one))
		ok(t, s.PutToken(ctx, all))
		got(t, []door.Token{all, one})(s.Tokens(ctx))
		again := all
		again.ID = "cccc"
		failed(t, s.PutToken(ctx, again), fault.Conflict)
		failed(t, s.PutToken(ctx, door.Token{ID: "d", Name: "d", Device: "nobody"}), fault.Invalid, `no device "nobody"`)
		ok(t, s.UseToken(ctx, "aaaa", after(time.Minute)))
		ok(t, s.UseToken(ctx, "aaaa", after(time.Second))) // late, from another node
		one.LastUsed = after(time.Minute)
		got(t, one)(s.Token(ctx, "aaaa"))
		ok(t, s.DeleteDevice(ctx, "printer"))
		failed(t, second(s.Token(ctx, "aaaa")), fault.NotFound)
		ok(t, s.DeleteToken(ctx, "all"))
		failed(t, s.DeleteToken(ctx, "all"), fault.NotFound, `no token "all"`)
	})
}

// TestOneMessageForAKey puts small and large messages under one key: the second leaves
// nothing behind, until the key has expired.
func TestOneMessageForAKey(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		put := func(id, body string, now time.Time) error {
			m := relay.Message{ID: id, Account: "scan", From: address("a@contoso.com"), Accepted: now, NotBefore: now,
				Once: &relay.Once{Owner: "token", Key: "k", For: time.Hour, Sum: func() []byte { return []byte(id) }}}
			return s.PutMessage(ctx, &m, strings.NewReader(body))
		}
		large := strings.Repeat("large", 100_000)
		ok(t, put("1", "small", t0))
		failed(t, put("2", "small", after(time.Minute)), fault.Conflict)
		failed(t, put("3", large, after(time.Minute)), fault.Conflict)
		for _, id := range []string{"2", "3"} {
			failed(t, second(s.Message(ctx, id)), fault.NotFound)
		}
		id, sum, err := s.HandedIn(ctx, "token", "k", after(time.Minute))
		ok(t, err)
		if id != "1" || string(sum) != "1" {
			t.Errorf("the key stands for %q, %q", id, sum)
		}
		for _, none := range [][2]string{{"other", "k"}, {"token", "K"}} {
			_, _, err := s.HandedIn(ctx, none[0], none[1], t0)
			failed(t, err, fault.NotFound)
		}
		_, _, err = s.HandedIn(ctx, "token", "k", after(time.Hour))
		failed(t, err, fault.NotFound)
		ok(t, put("4", large, after(time.Hour)))
	})
}
