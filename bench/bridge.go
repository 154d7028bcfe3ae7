package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The load: a mailbox of 100 messages of 1 MB, and sessions that only wait.
const (
	bridgeMessages     = 100
	bridgeOctets       = 1 << 20
	bridgeDownloads    = 3 // of the whole mailbox, in one session
	bridgeNoops        = 2000
	bridgeFirst        = 100 // of those that wait, before memory is counted
	bridgeIdle         = 1000
	bridgeRounds       = 5
	bridgeMemoryRounds = 3
	bridgeUser         = "box@contoso.com"
	bridgeCalm         = 3 * time.Second // for those who give memory back a while after they used it
)

// gateway is a way to the mailbox: straight, or through a program.
type gateway struct {
	name, addr, user string
	pid              int // 0: straight
	stop             func()
}

// starts runs a gateway before a mailbox, with its files in a new directory.
type starts func(ctx context.Context, dir string, box *bridgeMailbox) (gateway, error)

// benchBridge reads one Dovecot mailbox straight, through Postern, through Dovecot's own
// proxy and through nginx's, in turn. Everybody speaks TLS both ways.
//
// A processor that sleeps takes longer to wake than a program takes to pass a command on,
// the more so on a virtual machine. So everything is measured twice: with the processors
// kept awake, as they are on a machine that has work, and, called asleep, without.
func benchBridge(ctx context.Context, b *bench) error {
	for _, program := range []string{"dovecot", "nginx"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed: scripts/deps installs it", program)
		}
	}
	b.note("email-oauth2-proxy is in no Debian package, and was not measured")
	box, err := b.startBridgeMailbox(ctx)
	if err != nil {
		return err
	}
	defer box.stop()
	all := []starts{b.bridgePostern, b.bridgeDovecot, b.bridgeNginx}
	if err := b.bridgeSpeed(ctx, box, all, "asleep_"); err != nil {
		return err
	}
	sleep, err := keepAwake(ctx, b.CPUs)
	if err != nil {
		return err
	}
	err = b.bridgeSpeed(ctx, box, all, "")
	sleep()
	if err != nil {
		return err
	}
	for range bridgeMemoryRounds {
		for _, start := range all {
			if err := b.bridgeMemory(ctx, box, start); err != nil {
				return err
			}
		}
	}
	return nil
}

// bridgeStart is a fresh gateway.
func (b *bench) bridgeStart(ctx context.Context, box *bridgeMailbox, start starts) (gateway, error) {
	dir, err := os.MkdirTemp(b.work, "gateway-")
	if err == nil {
		err = os.Chmod(dir, 0o755) //nolint:gosec // users of the programs must enter
	}
	if err != nil {
		return gateway{}, err
	}
	return start(ctx, dir, box)
}

// keepAwake keeps processors from sleeping with work that everything else goes before,
// until sleep is called.
func keepAwake(ctx context.Context, processors int) (sleep func(), err error) {
	var all []*exec.Cmd
	sleep = func() {
		for _, cmd := range all {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	for range processors {
		cmd := exec.CommandContext(ctx, "chrt", "--idle", "0", "sh", "-c", "while :; do :; done")
		if err := cmd.Start(); err != nil {
			sleep()
			return nil, fmt.Errorf("keep the processors awake: %w", err)
		}
		all = append(all, cmd)
	}
	return sleep, nil
}

// bridgeSpeed measures downloads and the time a command takes. state names the figures.
func (b *bench) bridgeSpeed(ctx context.Context, box *bridgeMailbox, all []starts, state string) error {
	var through []gateway
	defer func() {
		for _, g := range through {
			g.stop()
		}
	}()
	for _, start := range all {
		g, err := b.bridgeStart(ctx, box, start)
		if err != nil {
			return err
		}
		through = append(through, g)
	}
	straight := gateway{name: "direct", addr: box.tls, user: bridgeUser}
	for _, g := range append([]gateway{straight}, through...) { // so that the mailbox is in memory, and everybody is awake
		if _, _, err := readThrough(ctx, g); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	for range bridgeRounds {
		direct, noop, err := readThrough(ctx, straight)
		if err != nil {
			return err
		}
		b.add("bridge_"+state+"direct_mb_per_s", "MB/s", direct)
		b.add("bridge_"+state+"direct_noop_ms", "ms", noop)
		ours, best := 0.0, 0.0
		quickest, waited := math.Inf(1), 0.0
		for _, g := range through {
			speed, took, err := readThrough(ctx, g)
			if err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
			b.add("bridge_"+state+g.name+"_mb_per_s", "MB/s", speed)
			if g.name == "postern" {
				ours, waited = speed, took-noop
				b.add("bridge_"+state+"throughput_ratio", "x", speed/direct)
				b.add("bridge_"+state+"latency_ms", "ms", took-noop)
				continue
			}
			best, quickest = max(best, speed), min(quickest, took-noop)
			b.add("bridge_"+state+g.name+"_throughput_ratio", "x", speed/direct)
			b.add("bridge_"+state+g.name+"_latency_ms", "ms", took-noop)
		}
		b.add("bridge_"+state+"throughput_to_best_peer", "x", ours/best)
		b.add("bridge_"+state+"latency_to_best_peer", "ms", waited-quickest)
	}
	return nil
}

// bridgeMemory measures what one more session that waits for mail costs the program in
// between, when it has just begun: the first ones also pay for the program's own pages.
func (b *bench) bridgeMemory(ctx context.Context, box *bridgeMailbox, start starts) error {
	g, err := b.bridgeStart(ctx, box, start)
	if err != nil {
		return err
	}
	defer g.stop()
	var took [2]float64
	for i, sessions := range []int{bridgeFirst, bridgeIdle - bridgeFirst} {
		hold, err := waitThrough(ctx, g, sessions)
		defer hold() // both wait until the end
		if err == nil {
			err = pause(ctx, bridgeCalm)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		took[i] = rssMB(g.pid)
	}
	name := "bridge_" + g.name + "_idle_kb"
	if g.name == "postern" {
		name = "bridge_idle_kb"
	}
	b.add(name, "KB", (took[1]-took[0])*1024/(bridgeIdle-bridgeFirst))
	return nil
}

// bridgeMailbox is a Dovecot that allows as many sessions as anybody wants.
type bridgeMailbox struct {
	dir, tls, ca string
	stop         func()
}

// What a Dovecot needs for as many sessions as anybody wants, in few processes.
const (
	manySessions = "mail_max_userip_connections = 0\ndefault_client_limit = 20000\n"
	fewProcesses = "service_count = 0\n  process_min_avail = 2"
)

func (b *bench) startBridgeMailbox(ctx context.Context) (*bridgeMailbox, error) {
	m := &bridgeMailbox{dir: filepath.Join(b.work, "dovecot"), tls: freeAddress()}
	m.ca = filepath.Join(m.dir, "cert.pem")
	inbox := filepath.Join(m.dir, "mail", bridgeUser, "cur")
	if err := os.MkdirAll(inbox, 0o755); err != nil { //nolint:gosec // dovecot's own users must enter
		return nil, err
	}
	text := []byte("From: Bill <bill@example.com>\r\nSubject: large\r\n\r\n" + strings.Repeat(strings.Repeat("large ", 12)+"\r\n", bridgeOctets/74))
	for i := range bridgeMessages {
		if err := os.WriteFile(filepath.Join(inbox, fmt.Sprintf("%d.M%d.bench:2,", 1_700_000_000+i, i)), text, 0o600); err != nil {
			return nil, err
		}
	}
	g, err := b.serveDovecot(ctx, m.dir, m.tls, imapServer{settings: manySessions + "default_process_limit = 4000\n", login: fewProcesses})
	m.stop = g.stop
	return m, err
}

// startGateway runs a program until it answers at an address.
func startGateway(ctx context.Context, addr string, cmd *exec.Cmd) (gateway, error) {
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return gateway{}, err
	}
	g := gateway{addr: addr, user: bridgeUser, pid: cmd.Process.Pid, stop: func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}}
	err := untilOpen(ctx, addr)
	if err != nil {
		g.stop()
	}
	return g, err
}

// bridgePostern signs in upstream with a password, as the others do.
func (b *bench) bridgePostern(ctx context.Context, dir string, box *bridgeMailbox) (gateway, error) {
	addr := freeAddress()
	env := append(os.Environ(), "POSTERN_DATA_DIR="+dir, "POSTERN_WEB_LISTEN="+freeAddress(), "POSTERN_SMTP_LISTEN=off",
		"POSTERN_IMAPS_LISTEN="+addr, "POSTERN_BRIDGE_PER_MAILBOX=5000", "POSTERN_BRIDGE_PER_HOST=5000", "POSTERN_LOG_LEVEL=error", "BENCH_SECRET="+fetchPassword)
	doc := fmt.Sprintf(`
apps:
  - name: server
    cloud: custom
    custom: {authority: https://localhost, imap: {host: localhost, port: %s, tls: implicit}, ca: {file: %s}}
accounts:
  - {name: box, app: server, mailbox: %s, sign_in: app_password, password: {env: BENCH_SECRET}, purposes: [imap]}
devices:
  - {name: reader, account: box, password: {env: BENCH_SECRET}, doors: [imap]}
`, portOf(box.tls), box.ca, bridgeUser)
	apply := exec.CommandContext(ctx, b.binary, "apply", "-f", "-") //nolint:gosec // our own binary
	apply.Env, apply.Stdin, apply.Stderr = env, strings.NewReader(doc), os.Stderr
	if err := apply.Run(); err != nil {
		return gateway{}, err
	}
	cmd := exec.CommandContext(ctx, b.binary, "serve") //nolint:gosec // our own binary
	cmd.Env = env
	g, err := startGateway(ctx, addr, cmd)
	g.name, g.user = "postern", "reader"
	return g, err
}

// bridgeDovecot is Dovecot's proxy, in its mode for many sessions in few processes.
func (b *bench) bridgeDovecot(ctx context.Context, dir string, box *bridgeMailbox) (gateway, error) {
	addr := freeAddress()
	g, err := b.serveDovecot(ctx, dir, addr, imapServer{
		settings: manySessions + "ssl_client_ca_file = " + box.ca + "\n", login: fewProcesses,
		passdb: "proxy=y host=127.0.0.1 port=" + portOf(box.tls) + " ssl=any-cert pass=" + fetchPassword,
	})
	g.name = "dovecot"
	return g, err
}
