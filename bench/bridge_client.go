package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// reader is an IMAP client that does as little as it can.
type reader struct {
	conn net.Conn
	buf  []byte
}

func openReader(ctx context.Context, g gateway) (*reader, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}} //nolint:gosec // each gateway has made its own certificate a moment ago
	conn, err := d.DialContext(ctx, "tcp", g.addr)
	if err != nil {
		return nil, err
	}
	r := &reader{conn: conn, buf: make([]byte, 4096)}
	err = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	if err == nil {
		_, err = r.until("* OK")
	}
	for _, command := range []string{"LOGIN " + g.user + " " + fetchPassword, "SELECT INBOX"} {
		if err == nil {
			_, err = r.do(command)
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return r, nil
}

// do sends a command and reads to the end of its answer; n is how long that is.
func (r *reader) do(command string) (n int64, err error) {
	if _, err := io.WriteString(r.conn, "a "+command+"\r\n"); err != nil {
		return 0, err
	}
	return r.until("a OK")
}

// until reads to a line that begins with word and is the last that comes.
func (r *reader) until(word string) (n int64, err error) {
	var tail []byte
	for {
		got, err := r.conn.Read(r.buf)
		if err != nil {
			return n, fmt.Errorf("%w after %q", err, tail)
		}
		n += int64(got)
		tail = append(tail, r.buf[max(0, got-512):got]...)
		tail = tail[max(0, len(tail)-512):]
		if !bytes.HasSuffix(tail, []byte("\r\n")) {
			continue
		}
		last := tail[bytes.LastIndexByte(tail[:len(tail)-2], '\n')+1:]
		switch {
		case bytes.HasPrefix(last, []byte(word)):
			return n, nil
		case bytes.HasPrefix(last, []byte("a ")), bytes.HasPrefix(last, []byte("* BYE")):
			return n, fmt.Errorf("the server said %q", last)
		}
	}
}

// readThrough downloads the mailbox, and then asks for nothing many times.
func readThrough(ctx context.Context, g gateway) (mbPerSecond, noopMillis float64, err error) {
	r, err := openReader(ctx, g)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = r.conn.Close() }()
	r.buf = make([]byte, 64<<10)
	begun := time.Now()
	var all int64
	for range bridgeDownloads {
		n, err := r.do("FETCH 1:* BODY.PEEK[]")
		if err != nil {
			return 0, 0, err
		}
		if n < bridgeMessages*bridgeOctets*99/100 {
			return 0, 0, fmt.Errorf("only %d octets came", n)
		}
		all += n
	}
	mbPerSecond = float64(all) / 1e6 / time.Since(begun).Seconds()
	took := make([]time.Duration, bridgeNoops)
	for i := range took {
		asked := time.Now()
		if _, err := r.do("NOOP"); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(asked)
	}
	slices.Sort(took)
	return mbPerSecond, ms(took[len(took)/2]), nil
}

// waitThrough opens sessions that wait for mail, and holds them until hold is called.
func waitThrough(ctx context.Context, g gateway, sessions int) (hold func(), err error) {
	var mu sync.Mutex
	var open []*reader
	var failed error
	var wg sync.WaitGroup
	turns := make(chan struct{}, 8)
	for range sessions {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			r, err := openReader(ctx, g)
			if err == nil {
				if _, err = io.WriteString(r.conn, "a IDLE\r\n"); err == nil {
					_, err = r.until("+ ")
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if r != nil {
				open = append(open, r)
			}
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	return func() {
		for _, r := range open {
			_ = r.conn.Close()
		}
	}, failed
}
