package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"postern/internal/fault"
	"postern/internal/vault"
	"postern/internal/web"
)

// openBrowser starts a real one, on a profile of its own.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("POSTERN_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip("there is no chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// What only a browser enforces: the content policy lets our forms lead on to the
// provider, and the cookie comes back from there, by GET and by a posted form.
func TestSignInInABrowser(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	for name, back := range map[string]string{
		"query":     `<a id="back" href="%s?code=c1&amp;state=s1">back</a>`,
		"form_post": `<form method="post" action="%s"><input type="hidden" name="code" value="c1"><input type="hidden" name="state" value="s1"><button id="back">back</button></form>`,
	} {
		s := newSite(t)
		far := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, "<!doctype html><title>provider</title>"+back, s.vault.RedirectURI())
		}))
		t.Cleanup(far.Close)
		s.vault.address = far.URL
		var finishedBy string
		s.vault.finish = func(_ url.Values, browser string) (vault.Result, error) {
			finishedBy = browser
			return vault.Result{Account: s.vault.accounts[0].Account}, nil
		}
		err := chromedp.Do(ctx,
			chromedp.Navigate(s.url+"/signin/abc"), chromedp.Click(chromedp.CSS("main button")),
			chromedp.Click(chromedp.CSS("#back")), chromedp.WaitVisible(chromedp.CSS("h1.good")))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if finishedBy == "" || finishedBy != s.vault.browsers[0] {
			t.Errorf("%s: begun by %q, finished by %q", name, s.vault.browsers[0], finishedBy)
		}
	}
}

// The script opens a window for the sign-in; the page waits beside it, and goes on to
// the check when somebody has signed in.
func TestSignInInAWindow(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	s := newSite(t)
	far := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<!doctype html><title>provider</title><script>location = '%s?code=c1&state=s1'</script>", s.vault.RedirectURI())
	}))
	t.Cleanup(far.Close)
	s.vault.address = far.URL
	s.vault.finish = func(url.Values, string) (vault.Result, error) {
		s.vault.accounts[1].SignedInAt = time.Now().Add(time.Second) // the page counts in seconds
		return vault.Result{Account: s.vault.accounts[1].Account, SignedInAs: "invoices@contoso.com"}, nil
	}
	s.enters(ctx)
	err := chromedp.Do(ctx, chromedp.Navigate(s.url+"/accounts/invoices"),
		chromedp.Click(chromedp.CSS(`form[data-popup] button:not([data-here])`)), chromedp.WaitVisible(chromedp.CSS(`form[action="/check"]`)))
	if err != nil {
		t.Fatal(err)
	}
	at, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil || at != s.url+"/check?account=invoices&purpose=imap" {
		t.Errorf("the page went on to %q: %v", at, err)
	}
}

func TestPagesFitEveryScreen(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	s := newSite(t)
	s.vault.finish = func(url.Values, string) (vault.Result, error) {
		return vault.Result{Account: vault.Account{Name: "scan"}}, fault.New(fault.Denied, "finish", "%w: eve@contoso.com", vault.ErrWrongMailbox)
	}
	s.device("POST", "scan", "")
	s.enters(ctx)
	auth := s.url
	pages := []string{auth + "/accounts", auth + "/accounts/scan", auth + "/accounts/invoices", auth + "/accounts/fax", auth + "/new/account", auth + "/accounts/scan/edit",
		auth + "/accounts/scan/signin?since=4102444800", auth + "/apps", auth + "/apps/contoso", auth + "/new/app",
		auth + "/accounts/scan/device?still", s.url + "/signin/abc", s.url + web.CallbackPath, s.url + web.CallbackPath + "?state=s1&code=c1", "invitation"}
	for _, scheme := range []string{"light", "dark"} {
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
			t.Fatal(err)
		}
		for i, page := range pages {
			for _, width := range []int64{320, 390, 1440} {
				open := []chromedp.Action[chromedp.Void]{chromedp.EmulateViewport(width, 800), chromedp.Navigate(page)}
				if page == "invitation" { // only a button leads there
					open[1] = chromedp.Steps(chromedp.Navigate(auth+"/accounts/scan"), chromedp.Click(chromedp.CSS("section[aria-labelledby=signin] details summary")),
						chromedp.Click(chromedp.CSS(`form[action="/accounts/scan/consent"] button`)), chromedp.WaitVisible(chromedp.CSS("a.button")))
				}
				if err := chromedp.Do(ctx, open...); err != nil {
					t.Fatal(err)
				}
				wide, err := chromedp.Run(ctx, chromedp.Evaluate[int64]("document.documentElement.scrollWidth"))
				if err != nil || wide > width {
					t.Errorf("%s is %d wide on a screen of %d: %v", page, wide, width, err)
				}
				if dir := os.Getenv("POSTERN_SCREENSHOTS"); dir != "" {
					picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
					if err == nil {
						err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("page%d-%s-%d.png", i, scheme, width)), picture, 0o600)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				worst, err := chromedp.Run(ctx, chromedp.Evaluate[float64](worstContrast))
				if err != nil || worst < 4.5 {
					t.Errorf("%s, %s: text of contrast %.2f, want 4.5: %v", page, scheme, worst, err)
				}
			}
		}
	}
}

// worstContrast is the least contrast of any text with what it stands on
// (WCAG 2.2 success criterion 1.4.3).
const worstContrast = `(() => {
  const rgb = c => (c.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let worst = 21;
  while (walk.nextNode()) {
    if (!walk.currentNode.data.trim()) continue;
    const e = walk.currentNode.parentElement, a = light(rgb(getComputedStyle(e).color)), b = light(ground(e));
    worst = Math.min(worst, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return worst;
})()`
