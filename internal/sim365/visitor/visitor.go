// Package visitor is a person at a browser, as far as forms go: it opens pages,
// keeps cookies, follows redirects, fills in names and passwords and presses
// buttons. The demo and the tests sign in through the real pages with it.
//
// It runs no scripts and draws nothing; what must look right is tested in a
// real browser.
package visitor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// maxPage bounds what is read of one page, in octets.
const maxPage = 1 << 20

// maxPages bounds how many pages one sign-in may take.
const maxPages = 12

// Visitor has one browser profile: its cookies and the authorities it trusts.
type Visitor struct {
	client *http.Client
	// Pages records every page seen, for a test to look at afterwards.
	Pages []Page
}

// New returns a visitor that trusts the PEM bundle beside the system's roots.
func New(caPEM string) *Visitor {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(caPEM))
	jar, _ := cookiejar.New(nil) // fails for no options at all
	return &Visitor{client: &http.Client{
		Jar:       jar,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}}
}

// Page is what came back.
type Page struct {
	URL    *url.URL
	Status int
	Title  string
	Text   string // what a person reads, blanks folded
	HTML   string
	Forms  []Form
	byID   map[string]string // text of elements that have an id
}

// Form is one form on a page.
type Form struct {
	Action  *url.URL
	Method  string
	Fields  []Field
	Buttons []Field
}

// Field is one input or button.
type Field struct{ Name, Type, Value, Label string }

// Get opens an address.
func (v *Visitor) Get(ctx context.Context, address string) (Page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Page{}, err
	}
	return v.do(req)
}

// Submit sends a form with the given values over its own, as if the button was
// pressed. An empty button presses the first.
func (v *Visitor) Submit(ctx context.Context, p Page, f Form, values map[string]string, button string) (Page, error) {
	data := url.Values{}
	for _, in := range f.Fields {
		if val, ok := values[in.Name]; ok {
			data.Set(in.Name, val)
		} else if in.Name != "" && in.Type != "checkbox" && in.Type != "radio" {
			data.Add(in.Name, in.Value)
		}
	}
	for i, b := range f.Buttons {
		if (button == "" && i == 0) || (button != "" && (b.Value == button || b.Label == button)) {
			if b.Name != "" {
				data.Set(b.Name, b.Value)
			}
			break
		}
	}
	target := *f.Action
	method := strings.ToUpper(f.Method)
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(data.Encode())
	} else {
		method = http.MethodGet
		target.RawQuery = data.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return Page{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", p.URL.Scheme+"://"+p.URL.Host)
	}
	return v.do(req)
}

// SignIn opens the address and goes on from page to page, giving name and
// password where they are asked for and agreeing to everything, until a page has
// no form any more. It returns that page.
func (v *Visitor) SignIn(ctx context.Context, address, name, password string) (Page, error) {
	p, err := v.Get(ctx, address)
	if err != nil {
		return p, err
	}
	return v.GoOn(ctx, p, name, password, "")
}

// GoOn is SignIn from a page on. A button presses that one wherever it is, "Cancel"
// for instance; empty, it agrees to everything.
func (v *Visitor) GoOn(ctx context.Context, p Page, name, password, button string) (Page, error) {
	var err error
	for range maxPages {
		if err != nil || p.Status >= 400 || len(p.Forms) == 0 {
			return p, err
		}
		f := p.Forms[0]
		p, err = v.Submit(ctx, p, f, p.answers(f, name, password), button)
	}
	return p, errors.Join(err, fmt.Errorf("no end after %d pages", maxPages))
}

// answers fills in what the form asks of a person. The simulator shows the second
// factor on its page, where a telephone would.
func (p *Page) answers(f Form, name, password string) map[string]string {
	out := map[string]string{}
	for _, in := range f.Fields {
		switch {
		case in.Type == "password":
			out[in.Name] = password
		case in.Name == "otc":
			out[in.Name] = p.byID["authenticator"]
		case (in.Type == "email" || in.Type == "text") && in.Value == "":
			out[in.Name] = name
		}
	}
	return out
}

func (v *Visitor) do(req *http.Request) (Page, error) {
	resp, err := v.client.Do(req)
	if err != nil {
		return Page{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return Page{}, err
	}
	p := Page{URL: resp.Request.URL, Status: resp.StatusCode, HTML: string(raw), byID: map[string]string{}}
	root, err := html.Parse(strings.NewReader(p.HTML))
	if err != nil {
		return p, err
	}
	p.read(root)
	p.Text = strings.Join(strings.Fields(p.Text), " ")
	v.Pages = append(v.Pages, p)
	return p, nil
}

// read collects title, text and forms below n.
func (p *Page) read(n *html.Node) {
	if id := attr(n, "id"); id != "" {
		p.byID[id] = strings.TrimSpace(text(n))
	}
	switch {
	case n.Type == html.TextNode:
		p.Text += " " + n.Data
	case n.Type != html.ElementNode:
	case slices.Contains([]string{"style", "script", "svg"}, n.Data):
		return
	case n.Data == "title":
		p.Title = text(n)
		return
	case n.Data == "form":
		p.Forms = append(p.Forms, p.form(n))
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		p.read(c)
	}
}

func (p *Page) form(n *html.Node) Form {
	f := Form{Method: attr(n, "method"), Action: p.URL}
	if a := attr(n, "action"); a != "" {
		if u, err := p.URL.Parse(a); err == nil {
			f.Action = u
		}
	}
	f.collect(n)
	return f
}

func (f *Form) collect(n *html.Node) {
	if n.Type == html.ElementNode {
		in := Field{Name: attr(n, "name"), Type: strings.ToLower(attr(n, "type")), Value: attr(n, "value")}
		switch {
		case n.Data == "button" && in.Type != "button", n.Data == "input" && in.Type == "submit":
			in.Label = strings.TrimSpace(text(n))
			f.Buttons = append(f.Buttons, in)
		case n.Data == "input":
			if in.Type == "" {
				in.Type = "text"
			}
			f.Fields = append(f.Fields, in)
		}
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		f.collect(c)
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	var s string
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		s += text(c)
	}
	return s
}
