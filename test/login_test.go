package test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// adminPassword makes a new one for the user admin.
func (g *gate) adminPassword() string {
	g.t.Helper()
	_, password, _ := strings.Cut(g.postern("admin", "password"), "password: ")
	return strings.TrimSpace(password)
}

// browserless keeps cookies and shows redirects instead of following them.
func (g *gate) browserless() *http.Client {
	g.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// tryLogin gives name and password, and returns what came of it.
func (g *gate) tryLogin(name, password string) (status int, c *http.Client) {
	g.t.Helper()
	c = g.browserless()
	status, _, _ = g.form(c, "/login", "name", name, "password", password)
	return status, c
}

// logIn returns somebody's browser.
func (g *gate) logIn(name, password string) *http.Client {
	g.t.Helper()
	status, c := g.tryLogin(name, password)
	if status != http.StatusSeeOther {
		g.t.Fatalf("%s cannot log in: %d", name, status)
	}
	return c
}

// form sends a form as a browser does.
func (g *gate) form(c *http.Client, path string, fields ...string) (status int, location, body string) {
	g.t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		values.Add(fields[i], fields[i+1])
	}
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url()+path, strings.NewReader(values.Encode()))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", g.url())
	return g.ask(c, req)
}

// page asks for a page.
func (g *gate) page(c *http.Client, path string) (status int, body string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.url()+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	status, _, body = g.ask(c, req)
	return status, body
}

func (g *gate) ask(c *http.Client, req *http.Request) (status int, location, body string) {
	g.t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(b)
}

// figures asks for the metrics.
func (g *gate) figures(token string) (status int, body string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.url()+"/metrics", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	status, _, body = g.ask(http.DefaultClient, req)
	return status, body
}
