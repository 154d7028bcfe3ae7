package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// benchStart measures how long a start takes until the SMTP door greets and
// /readyz is good, and what an idle server holds in memory. The peer is Dovecot's
// submission service, which stands in the same place: a mail submission gateway.
func benchStart(ctx context.Context, b *bench) error {
	const rounds = 7
	peer := hasDovecot()
	if !peer {
		b.note("dovecot is not installed (scripts/deps installs it): no peer in this run")
	}
	kept := filepath.Join(b.work, "kept")
	if _, err := b.startPostern(ctx, kept, 0); err != nil { // makes database, key, certificate
		return err
	}
	for i := range rounds {
		first, err := b.startPostern(ctx, filepath.Join(b.work, fmt.Sprint("fresh", i)), 0)
		if err != nil {
			return err
		}
		again, err := b.startPostern(ctx, kept, 2*time.Second)
		if err != nil {
			return err
		}
		b.add("start_first_ready_ms", "ms", ms(first.ready))
		b.add("start_ready_ms", "ms", ms(again.ready))
		b.add("start_idle_rss_mb", "MB", again.rssMB)
		if !peer {
			continue
		}
		d, err := b.startDovecot(ctx, i)
		if err != nil {
			return fmt.Errorf("dovecot: %w", err)
		}
		b.add("start_dovecot_ready_ms", "ms", ms(d.ready))
		b.add("start_dovecot_idle_rss_mb", "MB", d.rssMB)
		b.add("start_ready_ratio", "x", float64(d.ready)/float64(again.ready))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type started struct {
	ready time.Duration
	rssMB float64
}

// startPostern starts the binary on dir, waits until it is ready, lets it idle and stops it.
func (b *bench) startPostern(ctx context.Context, dir string, idle time.Duration) (started, error) {
	web, smtp := freeAddress(), freeAddress()
	cmd := exec.CommandContext(ctx, b.binary, "serve", "--data-dir", dir, "--web-listen", web, "--smtp-listen", smtp, "--log-level", "error")
	cmd.Stderr = os.Stderr
	return measure(ctx, cmd, idle, func() bool { return greets(smtp) && ready("http://"+web+"/readyz") })
}

func hasDovecot() bool {
	_, err := exec.LookPath("dovecot")
	return err == nil
}

func (b *bench) startDovecot(ctx context.Context, round int) (started, error) {
	dir := filepath.Join(b.work, fmt.Sprint("dovecot", round))
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // dovecot's own users must enter
		return started{}, err
	}
	_, port, _ := net.SplitHostPort(freeAddress())
	conf := filepath.Join(dir, "dovecot.conf")
	text := strings.NewReplacer("DIR", dir, "PORT", port).Replace(`
base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = submission
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
submission_relay_host = 127.0.0.1
mail_location = maildir:DIR/mail
passdb {
  driver = static
  args = password=x
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=DIR
}
service submission-login {
  inet_listener submission {
    port = PORT
  }
}
`)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return started{}, err
	}
	cmd := exec.CommandContext(ctx, "dovecot", "-F", "-c", conf)
	return measure(ctx, cmd, 2*time.Second, func() bool { return greets("127.0.0.1:" + port) })
}

// measure starts cmd and polls until ready; then it idles, weighs and ends it.
func measure(ctx context.Context, cmd *exec.Cmd, idle time.Duration, isReady func() bool) (started, error) {
	var s started
	t0 := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	for !isReady() {
		if time.Since(t0) > 20*time.Second {
			return s, errors.New("not ready within 20 s")
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return s, err
		}
	}
	s.ready = time.Since(t0)
	if err := pause(ctx, idle); err != nil {
		return s, err
	}
	s.rssMB = rssMB(cmd.Process.Pid)
	return s, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // a machine without loopback measures nothing
	}
	defer l.Close()
	return l.Addr().String()
}

func greets(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "220")
}

func ready(url string) bool {
	resp, err := (&http.Client{Timeout: 2 * time.Second}).Get(url)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// rssMB is the resident memory of a process and its children, from /proc.
func rssMB(pid int) float64 {
	var kb float64
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		for line := range strings.SplitSeq(string(b), "\n") {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
				kb, _ = strconv.ParseFloat(f[1], 64)
			}
		}
	}
	total := kb / 1024
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return total
	}
	for f := range strings.FieldsSeq(string(b)) {
		if child, err := strconv.Atoi(f); err == nil {
			total += rssMB(child)
		}
	}
	return total
}
