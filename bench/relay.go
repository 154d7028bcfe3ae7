package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The load: 20 sessions, messages of 10 KB each, as Postfix's own tool makes it.
const (
	relaySessions = 20
	relayMessages = 5000
	relayOctets   = 10240
	relayRounds   = 5
)

// benchRelay puts Postern and Postfix between the same load and the same sink, in
// turn. Both flush to disk before they say 250, and deliver over TLS with a login.
func benchRelay(ctx context.Context, b *bench) error {
	for _, program := range []string{"postfix", "smtp-source"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed: scripts/deps installs it", program)
		}
	}
	flushes, err := flushRate(b.work)
	if err != nil {
		return err
	}
	b.add("disk_flushes_per_s", "1/s", flushes)
	for round := range relayRounds {
		ours, err := b.relayRound(ctx, round, b.relayPostern)
		if err != nil {
			return fmt.Errorf("postern: %w", err)
		}
		theirs, err := b.relayRound(ctx, round, b.relayPostfix)
		if err != nil {
			return fmt.Errorf("postfix: %w", err)
		}
		for _, side := range []struct {
			name string
			m    measured
		}{{"postern", ours}, {"postfix", theirs}} {
			b.add("relay_"+side.name+"_accepted_per_s", "1/s", side.m.accepted)
			b.add("relay_"+side.name+"_delivered_per_s", "1/s", side.m.delivered)
			b.add("relay_"+side.name+"_p50_ms", "ms", side.m.p50)
			b.add("relay_"+side.name+"_p99_ms", "ms", side.m.p99)
			b.add("relay_"+side.name+"_peak_rss_mb", "MB", side.m.peakMB)
		}
		b.add("relay_accept_ratio", "x", ours.accepted/theirs.accepted)
		b.add("relay_delivered_ratio", "x", ours.delivered/theirs.delivered)
		b.add("relay_p99_ratio", "x", theirs.p99/ours.p99)
		b.add("relay_accepts_per_flush", "x", ours.accepted/flushes)
	}
	return nil
}

// measured is one side of one round.
type measured struct {
	accepted, delivered float64 // messages per second
	p50, p99            float64 // milliseconds from the dot to 250, with the same sessions
	peakMB              float64
}

// peer is a running relay.
type peer struct {
	addr string
	pid  int
	stop func()
}

type starter func(ctx context.Context, dir string, s *sink) (peer, error)

func (b *bench) relayRound(ctx context.Context, round int, start starter) (m measured, err error) {
	s, err := startSink()
	if err != nil {
		return m, err
	}
	defer func() { _ = s.listener.Close() }()
	dir, err := os.MkdirTemp(b.work, fmt.Sprintf("relay%d-", round))
	if err != nil {
		return m, err
	}
	for _, d := range []string{b.work, dir} {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // postfix's own users must enter
			return m, err
		}
	}
	p, err := start(ctx, dir, s)
	if err != nil {
		return m, err
	}
	defer p.stop()
	peak := watchRSS(p.pid)
	begun := time.Now()
	load := exec.CommandContext(ctx, "smtp-source", "-s", strconv.Itoa(relaySessions), "-m", strconv.Itoa(relayMessages), //nolint:gosec // constants
		"-l", strconv.Itoa(relayOctets), "-f", "scan@contoso.com", "-t", "them@example.net", p.addr)
	if out, err := load.CombinedOutput(); err != nil {
		return m, fmt.Errorf("smtp-source: %w: %s", err, out)
	}
	m.accepted = relayMessages / time.Since(begun).Seconds()
	if err := s.await(ctx, relayMessages); err != nil {
		return m, errors.Join(err, tailOf(filepath.Join(dir, "log")))
	}
	m.delivered = relayMessages / time.Since(begun).Seconds()
	if m.p50, m.p99, err = latencies(p.addr); err != nil {
		return m, err
	}
	m.peakMB = peak()
	return m, nil
}

// tailOf is the end of a peer's log as an error, nil when it keeps none there.
func tailOf(path string) error {
	b, err := os.ReadFile(path) //nolint:gosec // our own directory
	if err != nil {
		return nil //nolint:nilerr // no log is no error
	}
	return errors.New(string(b[max(0, len(b)-2000):]))
}

// await returns when n messages are in the sink.
func (s *sink) await(ctx context.Context, n int64) error {
	for end := time.Now().Add(90 * time.Second); s.taken.Load() < n; {
		if time.Now().After(end) {
			return fmt.Errorf("only %d of %d messages were delivered within 90 seconds", s.taken.Load(), n)
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// latencies sends 2,000 messages in the same number of sessions and times each from
// its dot to the answer.
func latencies(addr string) (p50, p99 float64, err error) {
	var mu sync.Mutex
	var all []float64
	var failed error
	var wg sync.WaitGroup
	for range relaySessions {
		wg.Go(func() {
			own, err := session(addr, 2000/relaySessions)
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, own...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		return 0, 0, failed
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100], nil
}

func session(addr string, n int) (took []float64, err error) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	body := "From: <scan@contoso.com>\r\nSubject: latency\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", relayOctets/80)
	for range n {
		if err := errors.Join(c.Mail("scan@contoso.com"), c.Rcpt("them@example.net")); err != nil {
			return nil, err
		}
		w, err := c.Data()
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, body); err != nil {
			return nil, err
		}
		dot := time.Now()
		if err := w.Close(); err != nil {
			return nil, err
		}
		took = append(took, ms(time.Since(dot)))
	}
	return took, nil
}

// watchRSS samples a process tree until the returned function is called.
func watchRSS(pid int) (peak func() float64) {
	done, result := make(chan struct{}), make(chan float64)
	go func() {
		most := 0.0
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, rssMB(pid))
			case <-done:
				result <- most
				return
			}
		}
	}()
	return func() float64 { close(done); return <-result }
}

// flushRate is how often a second this disk makes a small write durable.
func flushRate(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "flush")) //nolint:gosec // our own directory
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	n, begun := 0, time.Now()
	for ; time.Since(begun) < time.Second; n++ {
		if _, err := f.WriteAt(make([]byte, 4096), int64(n%256)*4096); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

// relayPostern runs Postern with one machine that needs no login and one account that
// signs in with a password, so that both sides do the same.
func (b *bench) relayPostern(ctx context.Context, dir string, s *sink) (peer, error) {
	listed, web := freeAddress(), freeAddress()
	env := append(os.Environ(), "POSTERN_DATA_DIR="+filepath.Join(dir, "data"), "POSTERN_WEB_LISTEN="+web, "POSTERN_SMTP_LISTEN=off",
		"POSTERN_LISTED_LISTEN="+listed, "POSTERN_LOG_LEVEL=error", "BENCH_PASSWORD=of-no-meaning")
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, s.pem, 0o600); err != nil {
		return peer{}, err
	}
	doc := fmt.Sprintf(`
apps:
  - name: sink
    cloud: custom
    custom: {authority: https://localhost, smtp: {host: localhost, port: %s, tls: starttls}, ca: {file: %s}}
accounts:
  - {name: scan, app: sink, mailbox: scan@contoso.com, sign_in: app_password, password: {env: BENCH_PASSWORD}, purposes: [send], limits: {connections: 20}}
devices:
  - {name: load, account: scan, no_login: true, networks: [127.0.0.1]}
`, s.port(), ca)
	apply := exec.CommandContext(ctx, b.binary, "apply", "-f", "-") //nolint:gosec // our own binary
	apply.Env, apply.Stdin, apply.Stderr = env, strings.NewReader(doc), os.Stderr
	if err := apply.Run(); err != nil {
		return peer{}, err
	}
	cmd := exec.CommandContext(ctx, b.binary, "serve") //nolint:gosec // our own binary
	cmd.Env, cmd.Stderr = env, os.Stderr
	if err := cmd.Start(); err != nil {
		return peer{}, err
	}
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	return peer{listed, cmd.Process.Pid, stop}, untilGreets(ctx, listed)
}

func untilGreets(ctx context.Context, addr string) error {
	for end := time.Now().Add(20 * time.Second); !greets(addr); {
		if time.Now().After(end) {
			return fmt.Errorf("nothing answers at %s", addr)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// chrooted finds the column of master.cf that says so.
var chrooted = regexp.MustCompile(`(?m)^(\S+\s+\S+\s+\S+\s+\S+\s+)y\s`)

// relayPostfix runs an instance of its own with its defaults, but for the way out.
func (b *bench) relayPostfix(ctx context.Context, dir string, s *sink) (peer, error) {
	_, port, _ := net.SplitHostPort(freeAddress())
	files := map[string]string{
		"ca.pem":    string(s.pem),
		"passwd":    fmt.Sprintf("[localhost]:%s scan@contoso.com:of-no-meaning\n", s.port()),
		"transport": "",
		"main.cf": strings.NewReplacer("DIR", dir, "SINK", s.port()).Replace(`
compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [localhost]:SINK
smtp_tls_security_level = verify
smtp_tls_CAfile = DIR/ca.pem
smtp_tls_verify_cert_match = hostname
smtp_tls_connection_reuse = yes
smtp_connection_cache_on_demand = yes
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:DIR/passwd
smtp_sasl_security_options = noanonymous
smtp_host_lookup = native
maillog_file = DIR/log
maillog_file_prefixes = DIR
alias_maps =
local_recipient_maps =
`),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // postfix reads it as another user
			return peer{}, err
		}
	}
	master, err := os.ReadFile("/etc/postfix/master.cf.proto")
	if err != nil {
		if master, err = os.ReadFile("/etc/postfix/master.cf"); err != nil {
			return peer{}, err
		}
	}
	text := chrooted.ReplaceAllString(string(master), "${1}n ") // a queue of our own has no /etc to look into
	text = strings.Replace(text, "smtp      inet", port+"      inet", 1) + "\ntlsproxy  unix  -       -       n       -       0       tlsproxy\n"
	if err := os.WriteFile(filepath.Join(dir, "master.cf"), []byte(text), 0o644); err != nil { //nolint:gosec // as above
		return peer{}, err
	}
	for _, sub := range []string{"queue", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil { //nolint:gosec // as above
			return peer{}, err
		}
	}
	if out, err := exec.CommandContext(ctx, "chown", "postfix", filepath.Join(dir, "data")).CombinedOutput(); err != nil { //nolint:gosec // our own directory
		return peer{}, fmt.Errorf("%w: %s", err, out)
	}
	if out, err := exec.CommandContext(ctx, "postfix", "-c", dir, "start").CombinedOutput(); err != nil { //nolint:gosec // our own directory
		return peer{}, fmt.Errorf("start: %w: %s", err, out)
	}
	stop := func() { _ = exec.Command("postfix", "-c", dir, "stop").Run() } //nolint:gosec,noctx // after a cut run too
	raw, err := os.ReadFile(filepath.Join(dir, "queue/pid/master.pid"))     //nolint:gosec // our own directory
	if err != nil {
		stop()
		return peer{}, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err == nil {
		err = untilGreets(ctx, "127.0.0.1:"+port)
	}
	if err != nil {
		stop()
	}
	return peer{"127.0.0.1:" + port, pid, stop}, err
}
