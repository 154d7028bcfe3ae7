package store_test

import (
	"testing"
	"time"

	"postern/internal/store"
)

func TestActivity(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx, noon := t.Context(), time.UnixMilli(1_800_000_000_000).UTC().Truncate(time.Hour)
		note := func(after time.Duration, happened, levels map[string]int64) {
			t.Helper()
			ok(t, s.NoteActivity(ctx, noon.Add(after), happened, levels))
		}
		note(10*time.Second, map[string]int64{"sent": 3}, map[string]int64{"waiting": 7})
		note(50*time.Second, map[string]int64{"sent": 2, "refused": 1}, map[string]int64{"waiting": 4}) // the same minute, another node
		note(2*time.Minute, map[string]int64{"sent": 1}, map[string]int64{"waiting": 9})
		note(20*time.Minute, map[string]int64{"fetched": 5}, nil)

		minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
		got(t, []store.Activity{
			{At: minute(0), Kind: "refused", N: 1}, {At: minute(0), Kind: "sent", N: 5}, {At: minute(0), Kind: "waiting", N: 7},
			{At: minute(2), Kind: "sent", N: 1}, {At: minute(2), Kind: "waiting", N: 9}, {At: minute(20), Kind: "fetched", N: 5},
		})(s.Activity(ctx, noon, time.Minute, "waiting"))
		got(t, []store.Activity{
			{At: minute(0), Kind: "refused", N: 1}, {At: minute(0), Kind: "sent", N: 6}, {At: minute(0), Kind: "waiting", N: 9}, {At: minute(15), Kind: "fetched", N: 5},
		})(s.Activity(ctx, noon, 15*time.Minute, "waiting"))
		got(t, []store.Activity{{At: minute(20), Kind: "fetched", N: 5}})(s.Activity(ctx, minute(3), time.Minute))

		ok(t, s.ForgetActivity(ctx, minute(2)))
		got(t, []store.Activity{{At: minute(2), Kind: "sent", N: 1}, {At: minute(2), Kind: "waiting", N: 9}, {At: minute(20), Kind: "fetched", N: 5}})(s.Activity(ctx, noon, time.Minute, "waiting"))
	})
}
