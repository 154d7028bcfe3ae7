package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
)

func TestDetours(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		ok(t, s.PutApp(ctx, contoso()))
		ok(t, s.PutAccount(ctx, scanAccount()))
		failed(t, second(s.Detour(ctx, "scan", t0)), fault.NotFound)
		ok(t, s.EndDetour(ctx, "scan"))
		want := relay.Detour{Account: "scan", Over: relay.OverGraph, Reason: "535 5.7.139", Until: after(time.Hour)}
		for range 2 {
			ok(t, s.PutDetour(ctx, want))
		}
		got, err := s.Detour(ctx, "scan", after(time.Hour-time.Millisecond))
		ok(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		failed(t, second(s.Detour(ctx, "scan", after(time.Hour))), fault.NotFound)
		ok(t, s.EndDetour(ctx, "scan"))
		failed(t, second(s.Detour(ctx, "scan", t0)), fault.NotFound)
		ok(t, s.PutDetour(ctx, want))
		ok(t, s.DeleteAccount(ctx, "scan"))
		failed(t, second(s.Detour(ctx, "scan", t0)), fault.NotFound)
	})
}

func TestDoubts(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		m := put(t, s, message(1, "scan"))
		doubt := func(want time.Time) {
			t.Helper()
			got, err := s.Doubt(ctx, m.ID)
			ok(t, err)
			if !got.Equal(want) {
				t.Errorf("doubt since %v, want %v", got, want)
			}
		}
		doubt(time.Time{})
		ok(t, s.BeginDoubt(ctx, m.ID, t0))
		doubt(t0)
		ok(t, s.BeginDoubt(ctx, m.ID, after(time.Minute)))
		doubt(after(time.Minute))
		ok(t, s.EndDoubt(ctx, m.ID))
		ok(t, s.EndDoubt(ctx, m.ID))
		doubt(time.Time{})
		ok(t, s.BeginDoubt(ctx, m.ID, t0))
		ok(t, s.DeleteMessage(ctx, m.ID)) // and its doubts with it
		doubt(time.Time{})
		if err := s.BeginDoubt(ctx, m.ID, t0); err == nil {
			t.Error("a doubt about no message")
		}
	})
}

// A part that was taken leaves no doubt for the next one; a try without an answer does.
func TestPartsEndDoubts(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		id := put(t, s, message(1, "scan")).ID
		for _, taken := range []bool{false, true} {
			m := claim(t, s, "me")[0]
			ok(t, s.BeginDoubt(ctx, id, t0))
			m.State = relay.Queued
			ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{At: t0, Recipients: 1, Taken: taken}))
			since, err := s.Doubt(ctx, id)
			ok(t, err)
			if since.IsZero() != taken {
				t.Errorf("taken %t: doubt since %v", taken, since)
			}
		}
	})
}
