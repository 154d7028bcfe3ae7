package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// How many messages wait, in how many accounts, and how often what is measured.
const (
	millionRows     = 1_000_000
	millionAccounts = 20
	millionRounds   = 5
	millionAccepts  = 3000
)

// benchMillion compares Postern with an empty queue and Postern with a million
// messages waiting, on both databases: how fast it accepts, how long one looks at the
// queue, what it holds in memory.
func benchMillion(ctx context.Context, b *bench) error {
	if err := b.million(ctx, "sqlite", ""); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	dir, err := os.MkdirTemp("", "postern-bench-pg-") // where the user postgres may go
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	dir = filepath.Join(dir, "postgres")
	out, err := exec.CommandContext(ctx, "scripts/postgres", "start", dir).Output() //nolint:gosec // our own directory
	if err != nil {
		b.note("PostgreSQL is not installed (scripts/deps installs it): SQLite alone in this run")
		return nil
	}
	defer func() { _ = exec.Command("scripts/postgres", "stop", dir).Run() }() //nolint:gosec,noctx // after a cut run too
	base := strings.TrimSpace(string(out))
	admin, err := sql.Open("pgx", base)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	for _, name := range []string{"empty", "full"} {
		if _, err := admin.ExecContext(ctx, "CREATE DATABASE million_"+name); err != nil {
			return err
		}
	}
	if err := b.million(ctx, "postgres", base); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

// crowd is one Postern, with or without a million messages.
type crowd struct {
	b     *bench
	kind  string
	dsn   string // of its database, for a program that fills it
	env   []string
	smtp  string
	web   string
	token string
	cmd   *exec.Cmd
}

// million measures one kind of database. base is the URL of a server that has the
// databases empty and full; "" is SQLite.
func (b *bench) million(ctx context.Context, kind, base string) error {
	var sides []*crowd
	for _, name := range []string{"empty", "full"} {
		c, err := b.newCrowd(ctx, kind, name, base)
		if err != nil {
			return err
		}
		sides = append(sides, c)
	}
	empty, full := sides[0], sides[1]
	begun := time.Now()
	if err := full.fill(ctx); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	b.note("%s: %d messages put into the queue in %.0f s", kind, millionRows, time.Since(begun).Seconds())
	defer empty.stop()
	defer full.stop()
	for _, c := range sides {
		took, err := c.start(ctx)
		if err != nil {
			return err
		}
		b.add("million_"+kind+"_"+c.name()+"_start_ms", "ms", ms(took))
	}
	for range millionRounds {
		var rates, peaks []float64
		for _, c := range sides {
			peak := watchRSS(c.cmd.Process.Pid)
			rate, err := c.accept()
			if err == nil && c == full {
				err = c.look(ctx)
			}
			most := peak()
			if err != nil {
				return err
			}
			b.add("million_"+kind+"_"+c.name()+"_accepted_per_s", "1/s", rate)
			b.add("million_"+kind+"_"+c.name()+"_peak_rss_mb", "MB", most)
			rates, peaks = append(rates, rate), append(peaks, most)
		}
		b.add("million_"+kind+"_accept_ratio", "x", rates[1]/rates[0])
		b.add("million_"+kind+"_memory_ratio", "x", peaks[1]/peaks[0])
	}
	return nil
}

func (c *crowd) name() string {
	if strings.Contains(c.dsn, "full") {
		return "full"
	}
	return "empty"
}

// newCrowd declares accounts that nobody has signed in to, so that their mail waits,
// and lets one message in, of which the others are copies.
func (b *bench) newCrowd(ctx context.Context, kind, name, base string) (*crowd, error) {
	dir := filepath.Join(b.work, kind+"-"+name)
	c := &crowd{b: b, kind: kind, smtp: freeAddress(), web: freeAddress(), dsn: "file:" + filepath.Join(dir, "postern.db")}
	c.env = append(os.Environ(), "POSTERN_DATA_DIR="+dir, "POSTERN_WEB_LISTEN="+c.web, "POSTERN_SMTP_LISTEN=off", "POSTERN_LISTED_LISTEN="+c.smtp, "POSTERN_LOG_LEVEL=error")
	if base != "" {
		c.dsn = strings.Replace(base, "/postgres?", "/million_"+name+"?", 1)
		c.env = append(c.env, "POSTERN_DATABASE="+c.dsn)
	}
	var doc strings.Builder
	doc.WriteString("apps:\n  - {name: contoso, tenant: contoso.onmicrosoft.com, client_id: 11111111-2222-3333-4444-555555555555, secret: {value: abc8Q~of-no-meaning-0000000000000000000}}\naccounts:\n")
	for i := range millionAccounts {
		fmt.Fprintf(&doc, "  - {name: a%02d, app: contoso, mailbox: a%02d@contoso.com, purposes: [send]}\n", i, i)
	}
	doc.WriteString("  - {name: scan, app: contoso, mailbox: scan@contoso.com, purposes: [send]}\ndevices:\n  - {name: load, account: scan, no_login: true, networks: [127.0.0.1]}\n")
	if _, err := c.run(ctx, doc.String(), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	token, err := c.run(ctx, "", "tokens", "create", "bench", "--scope", "queue:read,metrics")
	if err != nil {
		return nil, err
	}
	c.token = strings.TrimSpace(token)
	return c, nil
}

// run runs one command.
func (c *crowd) run(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.b.binary, args...) //nolint:gosec // our own binary
	cmd.Env, cmd.Stdin = c.env, strings.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("postern %s: %w: %s", args[0], err, errs.String())
	}
	return string(out), err
}

// start runs the server and says how long it took to be ready.
func (c *crowd) start(ctx context.Context) (time.Duration, error) {
	c.cmd = exec.CommandContext(ctx, c.b.binary, "serve") //nolint:gosec // our own binary
	c.cmd.Env, c.cmd.Stderr = c.env, os.Stderr
	begun := time.Now()
	if err := c.cmd.Start(); err != nil {
		return 0, err
	}
	for !ready("http://"+c.web+"/readyz") || !greets(c.smtp) {
		if time.Since(begun) > time.Minute {
			return 0, errors.New("not ready within a minute")
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

func (c *crowd) stop() {
	if c.cmd == nil || c.cmd.Process == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	_ = c.cmd.Wait()
	c.cmd = nil
}

// accept hands in messages in 20 sessions and returns how many a second were taken.
func (c *crowd) accept() (perSecond float64, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	begun := time.Now()
	for range relaySessions {
		wg.Go(func() {
			_, serr := session(c.smtp, millionAccepts/relaySessions)
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, serr)
		})
	}
	wg.Wait()
	return millionAccepts / time.Since(begun).Seconds(), err
}

// look times what people and programs see of the queue.
func (c *crowd) look(ctx context.Context) error {
	for _, v := range []struct {
		name, query string
		found       bool
	}{
		{"first", "", true},
		{"account", "&account=a07", true},
		{"last_account", "&account=scan", true},
		{"no_account", "&account=nobody", false},
		{"state", "&state=queued", true},
		{"failed", "&state=failed", false},
		{"account_state", "&account=a07&state=queued", true},
		{"device", "&device=load", true},
		{"no_device", "&device=nobody", false},
		{"text", "&text=message%20no.%20500000.", true},
		{"address", "&text=them-999999@example.net", true},
		{"no_text", "&text=nowhere-to-be-found", false},
	} {
		found, err := c.list(ctx, v.name, v.query)
		if err != nil {
			return err
		}
		if found != v.found {
			return fmt.Errorf("listing %q: found anything is %t", v.query, found)
		}
	}
	begun := time.Now()
	metrics, err := c.get(ctx, "/metrics")
	if err != nil {
		return err
	}
	c.b.add("million_"+c.kind+"_metrics_ms", "ms", ms(time.Since(begun)))
	if !strings.Contains(metrics, `postern_queue_messages{state="queued"} 1.0`) {
		return errors.New("the metrics do not count a million")
	}
	begun = time.Now()
	if _, err := c.run(ctx, "", "queue", "list"); err != nil {
		return err
	}
	c.b.add("million_"+c.kind+"_cli_ms", "ms", ms(time.Since(begun)))
	return nil
}

// list times the slowest page until something is found: a search by text goes through the
// queue in steps.
func (c *crowd) list(ctx context.Context, name, query string) (found bool, err error) {
	slowest, after := time.Duration(0), ""
	for {
		begun := time.Now()
		body, err := c.get(ctx, "/api/v1/messages?limit=100"+query+after)
		if err != nil {
			return false, err
		}
		slowest = max(slowest, time.Since(begun))
		var page struct {
			Messages []json.RawMessage `json:"messages"`
			Next     string            `json:"next"`
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			return false, err
		}
		if len(page.Messages) > 0 || page.Next == "" {
			c.b.add("million_"+c.kind+"_"+name+"_ms", "ms", ms(slowest))
			return len(page.Messages) > 0, nil
		}
		after = "&after=" + page.Next
	}
}

func (c *crowd) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.web+path, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d: %s", path, resp.StatusCode, b)
	}
	return string(b), err
}

// template hands in the one small message that the others are copies of.
func (c *crowd) template() error {
	s, err := smtp.Dial(c.smtp)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := errors.Join(s.Mail("scan@contoso.com"), s.Rcpt("them@example.net")); err != nil {
		return err
	}
	w, err := s.Data()
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "From: <scan@contoso.com>\r\nTo: <them@example.net>\r\nSubject: message\r\n\r\nIt waits.\r\n")
	return errors.Join(err, w.Close())
}

// fill copies the one message that the server took a million times, by the database's
// own means: whatever columns there are, only what must differ does.
func (c *crowd) fill(ctx context.Context) error {
	if _, err := c.start(ctx); err != nil {
		return err
	}
	err := c.template()
	c.stop()
	if err != nil {
		return err
	}
	driver, series, pad := "sqlite", `WITH RECURSIVE s(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM s WHERE i < $2)`, `printf('%024d', s.i)`
	if c.kind == "postgres" {
		driver, series, pad = "pgx", `WITH s AS (SELECT generate_series($1::int, $2::int) AS i)`, `lpad(s.i::text, 24, '0')`
	}
	db, err := sql.Open(driver, c.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	if c.kind == "sqlite" {
		if _, err := db.ExecContext(ctx, `PRAGMA synchronous = OFF; PRAGMA cache_size = -200000`); err != nil {
			return err
		}
	}
	number := strings.Replace(pad, "24", "3", 1)
	account := `substr('000' || (s.i % ` + fmt.Sprint(millionAccounts) + `), -2)`
	if c.kind == "postgres" {
		number, account = `s.i::text`, `lpad((s.i % `+fmt.Sprint(millionAccounts)+`)::text, 2, '0')`
	}
	differs := map[string]string{
		"id": `'00' || ` + pad, "body": `'b' || ` + pad, "account": `'a' || ` + account, "device": `'scanner'`,
		"message_id": `'<' || ` + pad + ` || '@bench.example>'`, "subject": `'message no. ' || ` + number + ` || '.'`,
		"recipients": `replace(t.recipients, 'them', 'them-' || ` + number + `)`,
	}
	for _, table := range []string{"messages", "chunks"} {
		query, err := copying(ctx, db, table, series, differs)
		if err != nil {
			return err
		}
		const step = 50_000
		for from := 1; from <= millionRows; from += step {
			if _, err := db.ExecContext(ctx, query, from, from+step-1); err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
		}
	}
	_, err = db.ExecContext(ctx, `ANALYZE`)
	return err
}

// copying is a statement that copies the one row of a table as often as the series says.
func copying(ctx context.Context, db *sql.DB, table, series string, differs map[string]string) (string, error) {
	rows, err := db.QueryContext(ctx, `SELECT * FROM `+table+` LIMIT 1`)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var values []string
	for _, name := range columns {
		value, other := differs[name]
		if !other {
			value = "t." + name
		}
		values = append(values, value)
	}
	template := `(SELECT * FROM ` + table + ` ORDER BY body DESC LIMIT 1)`
	if slices.Contains(columns, "id") {
		template = `(SELECT * FROM ` + table + ` ORDER BY id DESC LIMIT 1)`
	}
	return series + ` INSERT INTO ` + table + ` (` + strings.Join(columns, ", ") + `) SELECT ` + strings.Join(values, ", ") +
		` FROM s CROSS JOIN ` + template + ` t`, rows.Err()
}
