package test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"

	"postern/internal/sim365"
)

// chromium starts a headless browser that reaches this machine only.
func chromium(t *testing.T) context.Context {
	t.Helper()
	need(t, "chromium")
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	ctx, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.CombinedOutput(&said), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("ignore-certificate-errors", true), // the simulator's authority is nobody's
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost"),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v\n%s", err, said.Bytes())
	}
	return ctx
}

// browser is one visitor's profile: cookies and logins of its own.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	errors []string // what the browser complained of in its console
}

func newBrowser(t *testing.T, chromium context.Context) *browser {
	t.Helper()
	ctx, leave := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	t.Cleanup(leave)
	b := &browser{t: t, ctx: ctx}
	err := chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok && e.Entry.Level == log.EntryLevelError {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(1440, 900))
	return b
}

// result runs an action; when a page does not come, it shows what is there instead.
func result[T any](b *browser, a chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
		defer cancel()
		at, _ := chromedp.Run(ctx, chromedp.Location())
		text, _ := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
		b.t.Fatalf("%v; the browser is at %s:\n%s", err, at, text)
	}
	return v
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	result(b, chromedp.Steps(steps...))
}

func (b *browser) open(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate(address))
}

func (b *browser) press(selector chromedp.CSS) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(selector), chromedp.Click(selector))
}

func (b *browser) fill(selector chromedp.CSS, text string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(selector), chromedp.SendKeys(selector, text))
}

// text is what the page says now.
func (b *browser) text() string {
	b.t.Helper()
	return result(b, chromedp.Text(chromedp.CSS("body")))
}

// sees waits for a heading and returns the page's text.
func (b *browser) sees(heading string) string {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//h1[normalize-space()=%q]`, heading))))
	return b.text()
}

// says wants words on the page.
func (b *browser) says(heading string, words ...string) {
	b.t.Helper()
	text := b.sees(heading)
	for _, w := range words {
		if !strings.Contains(text, w) {
			b.t.Errorf("the page %q does not say %q:\n%s", heading, w, text)
		}
	}
}

// identify gives the password to Microsoft, which knows the name from Postern.
func (b *browser) identify() {
	b.t.Helper()
	b.sees("Enter password")
	b.fill("#i0118", sim365.Password)
	b.press("#idSIButton9")
}

// identifyAs goes back from the password and gives another name.
func (b *browser) identifyAs(user string) {
	b.t.Helper()
	b.sees("Enter password")
	b.press("#idBtn_Back")
	b.sees("Sign in")
	b.look("microsoft-name")
	b.fill("#i0116", user)
	b.press("#idSIButton9")
	b.identify()
}

// look wants the page to fit a telephone and a desk, in the light and in the dark,
// and keeps a picture of each where POSTERN_SCREENSHOTS says.
func (b *browser) look(name string) {
	b.t.Helper()
	dir := os.Getenv("POSTERN_SCREENSHOTS")
	for _, width := range []int64{390, 1440} {
		for _, scheme := range []string{"light", "dark"} {
			b.do(chromedp.EmulateViewport(width, 900), prefers(scheme))
			if over := result(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth - window.innerWidth`)); over > 0 {
				b.t.Errorf("%s is %d pixels too wide for %d", name, over, width)
			}
			if dir == "" {
				continue
			}
			if err := os.MkdirAll(dir, 0o750); err != nil {
				b.t.Fatal(err)
			}
			picture := result(b, chromedp.FullScreenshot(100))
			writeFile(b.t, filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), picture)
		}
	}
}

// prefers sets what the visitor's system is set to: light or dark.
func prefers(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}

// content wants the browser to have had nothing to complain of, but for the
// statuses that the pages of a refusal come with.
func (b *browser) content() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors {
		if !strings.Contains(e, "the server responded with a status of 4") || strings.Contains(e, "favicon") {
			b.t.Errorf("the browser complained: %s", e)
		}
	}
}
