package store_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
)

// BenchmarkPutMessage measures durable accepts of 10 KB on SQLite. An iteration is
// one message; messages/s is what all goroutines did together.
func BenchmarkPutMessage(b *testing.B) {
	for _, senders := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("%d", senders), func(b *testing.B) {
			s, err := store.OpenSQLite(b.Context(), b.TempDir(), store.Options{})
			ok(b, err)
			defer s.Close()
			content := bytes.Repeat([]byte("0123456789abcde\n"), 640)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range senders {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						m := message(0, "scan")
						m.ID = mail.NewID(time.Now())
						if err := s.PutMessage(b.Context(), &m, bytes.NewReader(content)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkClaim measures claim and finish in batches of 50, beside a long queue of
// one account that is not due.
func BenchmarkClaim(b *testing.B) {
	s, err := store.OpenSQLite(b.Context(), b.TempDir(), store.Options{})
	ok(b, err)
	defer s.Close()
	var wg sync.WaitGroup
	for lane := range 50 {
		wg.Go(func() {
			for range 400 {
				m := message(0, fmt.Sprint("account", lane%20))
				m.ID = mail.NewID(time.Now())
				if err := s.PutMessage(b.Context(), &m, strings.NewReader("x")); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ResetTimer()
	for n := 0; n < b.N; {
		ms, err := s.ClaimMessages(b.Context(), relay.Claim{Holder: "me", Now: t0, Until: after(time.Hour), Most: 50, PerAccount: 3})
		ok(b, err)
		for _, m := range ms {
			wg.Go(func() {
				m.State, m.NotBefore = relay.Queued, t0
				if err := s.FinishMessage(b.Context(), "me", m, relay.Spent{}); err != nil {
					b.Error(err)
				}
			})
			n++
		}
		wg.Wait()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
