package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How much there is behind the pages. POSTERN_BENCH_SHARE divides messages and entries.
const (
	pagesAccounts = 1000
	pagesDevices  = 1000
	pagesTasks    = 200
	pagesMessages = 1_000_000
	pagesEntries  = 10_000_000
	pagesRuns     = 500 // of each task
	pagesRounds   = 5
)

// What a page may cost.
const (
	pagesMostMS  = 100
	pagesMostKB  = 150
	pagesScript  = 20
	pagesAtOnce  = 50_000 // rows a statement
	pagesPerTask = pagesEntries / pagesTasks
)

// benchPages opens every page of a Postern with much behind it.
func benchPages(ctx context.Context, b *bench) error {
	share := 1
	if n, err := strconv.Atoi(os.Getenv("POSTERN_BENCH_SHARE")); err == nil && n > 0 {
		share = n
	}
	c, err := b.newHall(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := c.fillHall(ctx, share); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	b.note("%d accounts, %d tasks, %d messages and %d ledger entries put there in %.0f s", pagesAccounts, pagesTasks, pagesMessages/share, pagesEntries/share, time.Since(begun).Seconds())
	if _, err := c.start(ctx); err != nil {
		return err
	}
	defer c.stop()
	browser, err := c.logIn(ctx)
	if err != nil {
		return err
	}
	return c.open(ctx, browser)
}

// newHall declares many accounts, devices and tasks.
func (b *bench) newHall(ctx context.Context) (*crowd, error) {
	dir := filepath.Join(b.work, "pages")
	c := &crowd{b: b, kind: "sqlite", smtp: freeAddress(), web: freeAddress(), dsn: "file:" + filepath.Join(dir, "postern.db")}
	c.env = append(os.Environ(), "POSTERN_DATA_DIR="+dir, "POSTERN_WEB_LISTEN="+c.web, "POSTERN_PUBLIC_URL=http://"+c.web,
		"POSTERN_SMTP_LISTEN=off", "POSTERN_LISTED_LISTEN="+c.smtp, "POSTERN_LOG_LEVEL=error")
	var doc strings.Builder
	doc.WriteString("apps:\n  - {name: contoso, tenant: contoso.onmicrosoft.com, client_id: 11111111-2222-3333-4444-555555555555, secret: {value: abc8Q~of-no-meaning-0000000000000000000}}\naccounts:\n")
	for i := range pagesAccounts {
		fmt.Fprintf(&doc, "  - {name: a%03d, app: contoso, mailbox: a%03d@contoso.com, purposes: [send, imap]}\n", i, i)
	}
	doc.WriteString("  - {name: scan, app: contoso, mailbox: scan@contoso.com, purposes: [send]}\ndevices:\n  - {name: load, account: scan, no_login: true, networks: [127.0.0.1]}\n")
	for i := range pagesDevices {
		fmt.Fprintf(&doc, "  - {name: d%03d, account: a%03d, no_login: true, networks: [192.0.2.%d]}\n", i, i, i%250+1)
	}
	doc.WriteString("tasks:\n")
	for i := range pagesTasks {
		fmt.Fprintf(&doc, "  - {name: t%03d, account: a%03d, directory: %s, disabled: true}\n", i, i, filepath.Join(dir, "in"))
	}
	if _, err := c.run(ctx, doc.String(), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	out, err := c.run(ctx, "", "admin", "password")
	if _, after, found := strings.Cut(out, "password: "); found {
		c.token = strings.TrimSpace(after)
	}
	return c, err
}

// fillHall puts messages into the queue and entries into the ledger by the database's
// own means: the first as copies of one that was taken.
func (c *crowd) fillHall(ctx context.Context, share int) error {
	if _, err := c.start(ctx); err != nil {
		return err
	}
	err := c.template()
	c.stop()
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", c.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY`); err != nil {
		return err
	}
	const series, pad = `WITH RECURSIVE s(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM s WHERE i < $2)`, `printf('%024d', s.i)`
	differs := map[string]string{
		"id": `'00' || ` + pad, "body": `'b' || ` + pad, "account": `printf('a%03d', s.i % 1000)`, "device": `printf('d%03d', s.i % 1000)`,
		"message_id": `'<' || s.i || '@bench.example>'`, "subject": `'message no. ' || s.i || '.'`,
		"recipients": `replace(t.recipients, 'them', 'them-' || s.i)`,
	}
	var queries []struct {
		text string
		rows int
	}
	for _, table := range []string{"messages", "chunks"} {
		text, err := copying(ctx, db, table, series, differs)
		if err != nil {
			return err
		}
		queries = append(queries, struct {
			text string
			rows int
		}{text, pagesMessages / share})
	}
	perTask := strconv.Itoa(pagesPerTask / share)
	queries = append(queries, struct {
		text string
		rows int
	}{series + ` INSERT INTO runs (id, task, started, ended, looked, saved, files, failed, error, details)
		SELECT printf('r%08d', s.i), printf('t%03d', s.i / ` + strconv.Itoa(pagesRuns) + `), 1700000000000 + s.i % ` + strconv.Itoa(pagesRuns) + ` * 60000, 1700000030000 + s.i % ` + strconv.Itoa(pagesRuns) + ` * 60000,
			100, 90, 90, s.i % 7, CASE s.i % 11 WHEN 0 THEN 'NO LOGIN failed.' ELSE '' END, '{}' FROM s WHERE s.i < ` + strconv.Itoa(pagesTasks*pagesRuns), pagesTasks*pagesRuns - 1})
	queries = append(queries, struct {
		text string
		rows int
	}{series + ` INSERT INTO entries (task, folder, uid_validity, uid, message_id, digest, state, files, attempts, reason, run, updated, details)
		SELECT printf('t%03d', s.i / ` + perTask + `), 'scan@contoso.com/INBOX', 7, CAST(s.i AS TEXT), '<' || s.i || '@x.example>', printf('%016d', s.i),
			CASE s.i % 100 WHEN 0 THEN 'parked' WHEN 1 THEN 'failed' WHEN 2 THEN 'action_failed' WHEN 3 THEN 'seen' WHEN 4 THEN 'no_match' ELSE 'done' END,
			'[{"name":"2026/invoice ' || s.i || '.pdf","content_type":"application/pdf","size":60211,"sha256":"ab12"}]', 1, '', printf('r%08d', s.i % 100000),
			1700000000000 + (s.i % ` + perTask + `) * 250 + s.i / ` + perTask + `, '{"from":"Ada <ada@fabrikam.example>","subject":"Invoice no. ' || s.i || '."}'
		FROM s WHERE s.i < ` + strconv.Itoa(pagesEntries/share), pagesEntries/share - 1})
	indexes, err := drop(ctx, db, "entries")
	if err != nil {
		return err
	}
	for _, q := range queries {
		for from := 0; from <= q.rows; from += pagesAtOnce {
			if _, err := db.ExecContext(ctx, q.text, from, min(from+pagesAtOnce-1, q.rows)); err != nil {
				return err
			}
		}
	}
	for _, text := range append(indexes, `ANALYZE`) {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	_, err = db.ExecContext(ctx, `PRAGMA journal_mode = WAL`)
	return err
}

// drop takes a table's indexes away, which are made faster when it is full, and returns
// how to make them.
func drop(ctx context.Context, db *sql.DB, table string) (texts []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = $1 AND sql IS NOT NULL`, table)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, err
		}
		names, texts = append(names, name), append(texts, text)
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := db.ExecContext(ctx, `DROP INDEX `+name); err != nil {
			return nil, err
		}
	}
	return texts, rows.Err()
}

// logIn is a browser of the administrator's.
func (c *crowd) logIn(ctx context.Context) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{Jar: jar, Timeout: time.Minute}
	form := url.Values{"name": {"admin"}, "password": {c.token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.web+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "http://"+c.web)
	resp, err := browser.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Path == "/login" {
		return nil, fmt.Errorf("log in: %s at %s", resp.Status, resp.Request.URL)
	}
	return browser, nil
}

// pagesList are the pages, and what a filter finds or does not find on them.
func pagesList() []string {
	return []string{
		"/", "/accounts", "/accounts?q=a99", "/new/account", "/accounts/a500", "/apps", "/new/app", "/apps/contoso",
		"/devices", "/devices?q=d99", "/new/device", "/devices/d500", "/check", "/guides", "/alerts", "/settings", "/users", "/audit", "/me",
		"/queue", "/queue?state=queued", "/queue?state=failed", "/queue?account=a007", "/queue?account=nobody", "/queue?device=d500&state=queued",
		"/queue?text=message+no.+500000.", "/queue?text=nowhere",
		"/tasks", "/tasks?text=t19", "/new/task", "/tasks/t100", "/tasks/t100/edit", "/tasks/t100/runs/r00050001",
		"/ledger", "/ledger?state=attention", "/ledger?state=parked", "/ledger?state=staged", "/ledger?task=t100", "/ledger?task=t100&state=attention",
		"/ledger?task=t100&text=Invoice+no.+5000001.", "/ledger?text=nowhere", "/ledger?task=t100&run=r00050001", "/ledger?folder=INBOX",
	}
}

// cursors find the pages behind the first ones.
var cursors = regexp.MustCompile(`href="((?:/queue|/ledger)[^"]*after=[^"]*|/queue/[0-9a-z]+|/ledger/entry[^"]*)"`)

// open opens every page several times. A page that is not there yet is left out, and
// said so; one that costs too much fails the bench.
func (c *crowd) open(ctx context.Context, browser *http.Client) error {
	list := pagesList()
	for _, from := range []string{"/queue", "/ledger", "/ledger?task=t100"} {
		body, _, _, err := c.page(ctx, browser, from)
		if err != nil {
			return err
		}
		seen := 0
		for _, m := range cursors.FindAllStringSubmatch(body, -1) {
			if strings.Contains(m[1], "after=") || seen == 0 {
				list = append(list, strings.ReplaceAll(m[1], "&amp;", "&"))
				seen++
			}
		}
	}
	var slow []string
	for _, path := range list {
		var all []time.Duration
		name := "page_" + strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(path[:min(len(path), 50)]), "_"), "_")
		for round := range pagesRounds + 1 {
			body, took, status, err := c.page(ctx, browser, path)
			if err != nil {
				return err
			}
			if round == 0 && status == http.StatusOK {
				continue // what the disk had to give first
			}
			if status == http.StatusNotFound {
				c.b.note("there is no page %s", path)
				break
			}
			if status != http.StatusOK || strings.Contains(body, "The log says why.") {
				slow = append(slow, fmt.Sprintf("%s: %d, or a part of it is missing", path, status))
			}
			c.b.add(name+"_ms", "ms", ms(took))
			c.b.add(name+"_kb", "KB", float64(len(body))/1000)
			if all = append(all, took); len(body) > pagesMostKB*1000 {
				slow = append(slow, fmt.Sprintf("%s has %d octets", path, len(body)))
			}
		}
		slices.Sort(all)
		if len(all) > 0 && ms(all[len(all)/2]) > pagesMostMS { // the median: other programs run too
			slow = append(slow, fmt.Sprintf("%s took %.0f ms", path, ms(all[len(all)/2])))
		}
	}
	script, _, _, err := c.page(ctx, browser, "/postern.js")
	if err != nil {
		return err
	}
	c.b.add("script_kb", "KB", float64(len(script))/1000)
	if len(script) > pagesScript*1000 {
		slow = append(slow, fmt.Sprintf("the script has %d octets", len(script)))
	}
	for _, s := range slow {
		c.b.note("too much: %s", s)
	}
	c.b.add("too_much", "pages", float64(len(slow)))
	return nil
}

// page opens one, and says how long that took.
func (c *crowd) page(ctx context.Context, browser *http.Client, path string) (body string, took time.Duration, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.web+path, http.NoBody)
	if err != nil {
		return "", 0, 0, err
	}
	begun := time.Now()
	resp, err := browser.Do(req)
	if err != nil {
		return "", 0, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), time.Since(begun), resp.StatusCode, err
}
