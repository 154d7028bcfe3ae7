package door_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"postern/internal/door"
	"postern/internal/relay"
)

// drain takes every message and keeps none.
type drain struct{ octets atomic.Int64 }

func (d *drain) Accept(_ context.Context, _ relay.Submission, body io.Reader) (string, error) {
	n, err := io.Copy(io.Discard, body)
	d.octets.Add(n)
	return "01JD0000000000000000000000", err
}

// BenchmarkListedMachine is the load of `make bench NAME=relay` without what lies
// behind the door: a connection for each message of 10 KB, 20 at a time, no login.
// The client's share of the time is in it.
func BenchmarkListedMachine(b *testing.B) {
	var behind drain
	g := open(b, func(cfg *door.SMTPConfig, _ *shelf) {
		cfg.Listed, cfg.Relay, cfg.Log = true, &behind, slog.New(slog.DiscardHandler)
	})
	g.change(func(d *door.Device) { d.Policy = door.Policy{NoLogin: true, Networks: networks("127.0.0.1/32")} })
	body := strings.Repeat(strings.Repeat("x", 78)+"\r\n", 128) + ".\r\n"
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.SetParallelism(10)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := submit(g.addr, body); err != nil {
				b.Error(err)
				return
			}
		}
	})
	if got := behind.octets.Load(); got != int64(b.N)*int64(len(body)-3) {
		b.Errorf("%d octets came through of %d messages", got, b.N)
	}
}

// submit says what smtp-source says, a command at a time.
func submit(addr, body string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	replies := bufio.NewReaderSize(conn, 512)
	for _, say := range []string{"", "HELO x\r\n", "MAIL FROM:<office@contoso.com>\r\n", "RCPT TO:<a@example.net>\r\n", "DATA\r\n", body, "QUIT\r\n"} {
		if _, err := io.WriteString(conn, say); err != nil {
			return err
		}
		if _, err := replies.ReadSlice('\n'); err != nil {
			return err
		}
	}
	return nil
}
