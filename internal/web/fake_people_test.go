package web_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"postern/internal/people"
	"postern/internal/secret"
	"postern/internal/store"
)

// crowd is the people's room on a real database, with cheap passwords and a clock
// that stands until the test moves it.
type crowd struct {
	t *testing.T
	*people.Registry
	store *store.Store

	mu   sync.Mutex
	time time.Time
	kept map[string]secret.Text
	keys map[string]secret.Text // sessions of s.as
}

func newCrowd(t *testing.T, log *slog.Logger, change ...func(*people.Config)) *crowd {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c := &crowd{t: t, store: s, time: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), kept: map[string]secret.Text{}, keys: map[string]secret.Text{}}
	cfg := people.Config{
		Store: s, Secrets: c, Audit: c.audit, Idle: 12 * time.Hour, Life: 7 * 24 * time.Hour, Now: c.now, Log: log,
		Passwords: people.Passwords{
			New:    func() secret.Text { return secret.New("made-" + password) },
			Hash:   func(p secret.Text) (string, error) { return "hashed " + p.Reveal(), nil },
			Verify: func(hash string, p secret.Text) bool { return hash == "hashed "+p.Reveal() },
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	c.Registry = people.Open(cfg)
	return c
}

func (c *crowd) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *crowd) later(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

func (c *crowd) KeepSecret(_ context.Context, name string, clear secret.Text) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[name] = clear
	return nil
}

func (c *crowd) KeptSecret(_ context.Context, name string) (secret.Text, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[name], nil
}

func (c *crowd) audit(ctx context.Context, d people.Deed) error {
	l, err := d.Line(c.now())
	if err != nil {
		return err
	}
	return c.store.PutAudit(ctx, l)
}

// administrator makes the user admin, whose password is the constant password.
func (c *crowd) administrator() {
	c.t.Helper()
	if err := c.Reset(c.t.Context(), "cli:test", "admin", secret.New(password)); err != nil {
		c.t.Fatal(err)
	}
}

// user adds somebody with the constant password.
func (c *crowd) user(name string, role people.Role) people.User {
	c.t.Helper()
	u, token, err := c.Add(c.t.Context(), "cli:test", people.NewUser{Name: name, Role: role, Way: people.ByLink})
	if err == nil {
		_, err = c.Join(c.t.Context(), token, secret.New(password), secret.New(password), people.From{Address: "192.0.2.1"})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

// as gives a request the session of a user, who logs in once.
func (s *site) as(name string, req *http.Request) *http.Request {
	s.t.Helper()
	if s.people.keys[name].Empty() {
		e, err := s.people.Login(s.t.Context(), name, secret.New(password), people.From{Address: "192.0.2.1", Browser: "a test"})
		if err != nil {
			s.t.Fatal(err)
		}
		s.people.keys[name] = e.Key
	}
	for _, prefix := range []string{"", "__Host-"} {
		req.AddCookie(&http.Cookie{Name: prefix + "postern_session", Value: s.people.keys[name].Reveal()})
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "text/html")
	}
	return req
}

// admin sends a request as the administrator.
func (s *site) admin(req *http.Request) answer {
	s.t.Helper()
	return s.do(s.as("admin", req))
}

// enters logs a browser in as the administrator.
func (s *site) enters(ctx context.Context) {
	s.t.Helper()
	err := chromedp.Do(ctx, chromedp.Navigate(s.url+"/login"),
		chromedp.SendKeys(chromedp.CSS("#f-name"), "admin"), chromedp.SendKeys(chromedp.CSS("#f-password"), password),
		chromedp.Click(chromedp.CSS("main button")), chromedp.WaitVisible(chromedp.CSS("header.side")))
	if err != nil {
		s.t.Fatal(err)
	}
}

// page is a request as browsers send it.
func (s *site) page(method, path string, form ...string) *http.Request {
	s.t.Helper()
	req := s.request(method, path, pairs(form...))
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	return req
}

func pairs(form ...string) map[string][]string {
	m := map[string][]string{}
	for i := 0; i+1 < len(form); i += 2 {
		m[form[i]] = append(m[form[i]], form[i+1])
	}
	return m
}

// cookie is what an answer sets, nil when it does not.
func (a answer) cookie(name string) *http.Cookie {
	for _, c := range a.Cookies() {
		if strings.TrimPrefix(c.Name, "__Host-") == name {
			return c
		}
	}
	return nil
}
