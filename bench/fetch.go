package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The load: messages of about 10 KB, a tenth of them with an attachment of 50 KB
// besides, whole and flushed to disk.
const (
	fetchMessages   = 10_000
	fetchShare      = 10 // of them the slow peers take one in so many; figures are per message
	fetchMany       = 3  // as many, in a mailbox that only says how memory grows
	fetchRounds     = 5
	fetchManyRounds = 3
	distantMessages = 500 // the same for everybody; one by one they take minutes
	distantRounds   = 3
	distance        = 80 * time.Millisecond // there and back
)

// benchFetch empties the same mailbox with Postern and its peers in turn: over IMAPS
// from Dovecot beside them, and from the simulated Exchange far away.
func benchFetch(ctx context.Context, b *bench) error {
	for _, program := range []string{"dovecot", "mbsync", "getmail", "fetchmail"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed: scripts/deps installs it", program)
		}
	}
	flushes, err := flushRate(b.work)
	if err != nil {
		return err
	}
	b.add("disk_flushes_per_s", "1/s", flushes)
	if err := b.fetchNear(ctx); err != nil {
		return err
	}
	return b.fetchFar(ctx)
}

// fetcher is a program that takes all messages of a mailbox into a directory.
type fetcher struct {
	name    string
	prepare func(dir string) (*exec.Cmd, error)
	into    string // where in dir whole messages lie afterwards
	count   int    // how many are to be there
}

// fetched is one fetcher in one round.
type fetched struct{ perSecond, cpuMillis, peakMB float64 } // the processor's time is per message

func (b *bench) fetchRound(ctx context.Context, f fetcher) (m fetched, err error) {
	dir, err := os.MkdirTemp(b.work, f.name+"-")
	if err != nil {
		return m, err
	}
	// What was fetched stays to the end: file systems are slow to use again what was
	// deleted a minute ago, and the next one would pay for that.
	cmd, err := f.prepare(dir)
	if err != nil {
		return m, fmt.Errorf("%s: %w", f.name, err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	syscall.Sync() // nobody pays for what the last one left
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return m, err
	}
	peak := watchRSS(cmd.Process.Pid)
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	stop()
	m.peakMB = peak()
	took := time.Since(begun)
	got, countErr := whole(filepath.Join(dir, f.into))
	if err = errors.Join(err, countErr); err != nil || got < f.count {
		return m, fmt.Errorf("%s: %w: %d of %d messages: %s", f.name, errors.Join(err, errShort), got, f.count, out.Bytes()[max(0, out.Len()-2000):])
	}
	m.perSecond = float64(f.count) / took.Seconds()
	m.cpuMillis = ms(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) / float64(f.count)
	return m, nil
}

var errShort = errors.New("not everything was fetched")

// whole counts the messages in a directory, in the layout of whoever wrote them.
func whole(dir string) (n int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		n++
		return nil
	})
	return n, err
}

// fetchNear is the run beside a real Dovecot.
func (b *bench) fetchNear(ctx context.Context) error {
	count := fetchMessages
	if s := os.Getenv("POSTERN_BENCH_MESSAGES"); s != "" { // a shorter look
		var err error
		if count, err = strconv.Atoi(s); err != nil {
			return err
		}
		b.note("with %d messages only", count)
	}
	box, err := b.startMailbox(ctx, count)
	if err != nil {
		return err
	}
	defer box.stop()
	ours, tenth, more := box.postern(b, everything), box.postern(b, share), box.postern(b, multitude)
	peers := []fetcher{box.mbsync(ctx), box.getmail(ctx), box.fetchmail(ctx)}
	for _, f := range append([]fetcher{ours, tenth}, peers...) { // so that everybody finds the server's index made
		if _, err := b.fetchRound(ctx, f); err != nil {
			return err
		}
	}
	var peaks []float64
	for range fetchRounds {
		us, err := b.fetchRound(ctx, ours)
		if err != nil {
			return err
		}
		b.fetchFigures("fetch_postern", us)
		fastest, thriftiest := 0.0, 0.0
		for _, p := range peers {
			m, err := b.fetchRound(ctx, p)
			if err != nil {
				return err
			}
			b.fetchFigures("fetch_"+p.name, m)
			if fastest = max(fastest, m.perSecond); thriftiest == 0 || m.cpuMillis < thriftiest {
				thriftiest = m.cpuMillis
			}
		}
		b.add("fetch_ratio", "x", us.perSecond/fastest)
		b.add("fetch_cpu_ratio", "x", thriftiest/us.cpuMillis)
		few, err := b.fetchRound(ctx, tenth)
		if err != nil {
			return err
		}
		b.add("fetch_postern_share_peak_rss_mb", "MB", few.peakMB)
		b.add("fetch_memory_ratio", "x", us.peakMB/few.peakMB) // 1 is flat in the number of messages; caches fill meanwhile
		peaks = append(peaks, us.peakMB)
	}
	for _, peak := range peaks[:fetchManyRounds] {
		many, err := b.fetchRound(ctx, more)
		if err != nil {
			return err
		}
		b.add("fetch_postern_many_peak_rss_mb", "MB", many.peakMB)
		b.add("fetch_memory_many_ratio", "x", many.peakMB/peak) // the same, with full caches
	}
	return nil
}

func (b *bench) fetchFigures(name string, m fetched) {
	b.add(name+"_per_s", "1/s", m.perSecond)
	b.add(name+"_cpu_ms", "ms", m.cpuMillis) // per message
	b.add(name+"_peak_rss_mb", "MB", m.peakMB)
}
