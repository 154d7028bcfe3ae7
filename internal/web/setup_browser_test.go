package web_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Every page fits a phone and a wide screen, can be read in light and dark, and every
// field has a name that is read out.
func TestSetUpPagesFitEveryScreen(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	s := newSite(t)
	s.enters(ctx)
	fitEveryScreen(t, ctx, s, "setup", setUpPages())
}

// fitEveryScreen looks at pages as people do: narrow and wide, by day and by night. Where
// pictures are wanted they begin with a word.
func fitEveryScreen(t *testing.T, ctx context.Context, s *site, word string, paths []string) {
	t.Helper()
	widths := []int64{320, 1440}
	if os.Getenv("POSTERN_SCREENSHOTS") != "" {
		widths = append(widths, 390)
	}
	for _, path := range paths {
		for _, scheme := range []string{"light", "dark"} {
			features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
			if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
				t.Fatal(err)
			}
			for _, width := range widths {
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 800), chromedp.Navigate(s.url+path)); err != nil {
					t.Fatal(err)
				}
				wide, err := chromedp.Run(ctx, chromedp.Evaluate[int64]("document.documentElement.scrollWidth"))
				if err != nil || wide > width {
					t.Errorf("%s is %d wide on a screen of %d: %v", path, wide, width, err)
				}
				if dir := os.Getenv("POSTERN_SCREENSHOTS"); dir != "" {
					picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
					if err == nil {
						name := strings.Trim(strings.NewReplacer("/", "-", "?", "-", "=", "-").Replace(path), "-")
						err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%s-%d.png", word, name, scheme, width)), picture, 0o600)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			worst, err := chromedp.Run(ctx, chromedp.Evaluate[float64](worstContrast))
			if err != nil || worst < 4.5 {
				t.Errorf("%s, %s: text of contrast %.2f, want 4.5: %v", path, scheme, worst, err)
			}
		}
		nameless, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](namelessFields))
		if err != nil || len(nameless) > 0 {
			t.Errorf("%s: nobody hears what these are: %v %v", path, nameless, err)
		}
	}
}

func setUpPages() []string {
	return []string{"/", "/?span=1h", "/alerts", "/settings", "/new/alert?by=mail", "/new/alert?by=webhook", "/alerts/admins", "/devices", "/new/device", "/devices/printer",
		"/me", "/me/password", "/me/codes", "/users", "/users/new", "/user/admin", "/audit"}
}

// namelessFields are the inputs without a label, and the descriptions that are missing.
const namelessFields = `[...document.querySelectorAll("input:not([type=hidden]), select, textarea")].filter(e =>
  !e.labels.length && !e.ariaLabel || (e.getAttribute("aria-describedby") || "").split(" ").some(id => id && !document.getElementById(id)))
  .map(e => e.outerHTML)`
