package test

import (
	"regexp"
	"strings"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var noWord = regexp.MustCompile(`[^a-z0-9.]+`)

// examine looks at the page that is open as it comes, then with all that it folds away:
// it fits, breaks no rule of accessibility, and the keyboard gets everywhere. Pages of the
// same kind as one before are spared what cannot differ.
func (v *tour) examine(path string, thorough bool) {
	v.t.Helper()
	name := v.name + "-" + strings.Trim(noWord.ReplaceAllString(path, "-"), "-")
	v.look(name)
	v.do(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll("details")) d.open = true`))
	v.do(chromedp.Evaluate[chromedp.Void](v.script))
	v.unfolded(name, "dark", 390)
	if thorough {
		v.unfolded(name, "light", 1440, "color-contrast", "link-in-text-block")
		v.tabs(name)
	}
	if dead := result(v.browser, chromedp.EvaluateAsDevTools[[]string](deadEnds)); len(dead) > 0 {
		v.t.Errorf("%s: only a mouse reaches %q", name, dead)
	}
}

// unfolded looks at one width, by one light.
func (v *tour) unfolded(name, scheme string, width int64, rules ...string) {
	v.t.Helper()
	v.do(chromedp.EmulateViewport(width, 900), prefers(scheme))
	if over := result(v.browser, chromedp.Evaluate[[]string](tooWide)); len(over) > 0 {
		v.t.Errorf("%s, unfolded, is too wide for %d: %q", name, width, over)
	}
	v.lint(name+", "+scheme, rules...)
}

// tooWide are the elements that stand out of a page which scrolls sideways.
const tooWide = `document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
	.filter(e => !e.closest("nav, .scroll, pre") && e.getBoundingClientRect().right > innerWidth + 1 && e.checkVisibility()).map(e => e.outerHTML.slice(0, 200)).slice(0, 5)`

// tabStops are what the keyboard must get to: of radio buttons of one name, one.
const tabStops = `(() => {
	const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]")]
		.filter(e => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length);
	const group = e => all.filter(o => o.type === "radio" && o.name === e.name && o.form === e.form);
	return all.filter(e => e.type !== "radio" || e === (group(e).find(o => o.checked) ?? group(e)[0]));
})()`

// deadEnds are the elements that listen to the mouse or that the script gives an act, and
// that no key reaches.
const deadEnds = `(() => {
	const acts = e => ["click", "mousedown", "mouseup", "pointerdown", "dblclick"].some(type => getEventListeners(e)[type]) ||
		e.matches("[onclick], [data-copy], [data-print], [data-pause], [data-here], [data-all]");
	return [...document.querySelectorAll("body *")].filter(acts)
		.filter(e => !e.matches("a[href], button, input, select, textarea, summary") || e.tabIndex < 0).map(e => e.outerHTML.slice(0, 200));
})()`

// tabbed is where a press of Tab led.
type tabbed struct {
	Over  bool   `json:"over"`  // once around
	Stuck bool   `json:"stuck"` // the focus does not leave
	Wrong string `json:"wrong"` // the focus cannot be seen
}

// step notes the element in focus. Date fields have more than one stop inside.
const step = `(async () => {
	const e = document.activeElement, tour = window.tour ??= { seen: new Set(), times: 0 };
	if (!e || e === document.body || tour.seen.has(e) && e !== tour.last) return { over: true };
	tour.times = e === tour.last ? tour.times + 1 : 0;
	tour.seen.add(e); tour.last = e;
	const judge = () => {
		const s = getComputedStyle(e), r = e.getClientRects()[0];
		if (s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 2) return "has no outline: ";
		const hits = (x, y) => { const at = document.elementFromPoint(r.left + r.width * x, r.top + r.height * y); return at && e.contains(at); };
		if (!r || ![.25, .5, .75].some(y => hits(.5, y))) return "is covered or out of sight: ";
	};
	if (judge()) await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))); // it is still being scrolled to
	const wrong = judge();
	return { wrong: wrong && wrong + e.outerHTML.slice(0, 200), stuck: tour.times > 8 };
})()`

// tabs goes through the page by Tab until it is around.
func (v *tour) tabs(name string) {
	v.t.Helper()
	v.do(chromedp.Evaluate[chromedp.Void](`{
		const start = document.body.insertBefore(document.createElement("i"), document.body.firstChild);
		start.tabIndex = -1; start.focus(); start.remove(); delete window.tour;
	}`))
	for range 500 {
		v.do(chromedp.KeyEvent(kb.Tab))
		at := result(v.browser, chromedp.Evaluate[tabbed](step, chromedp.EvalAwaitPromise))
		if at.Wrong != "" {
			v.t.Errorf("%s: the focus %s", name, at.Wrong)
		}
		if at.Stuck {
			v.t.Errorf("%s: Tab does not lead on", name)
		}
		if at.Over || at.Stuck {
			break
		}
	}
	if missed := result(v.browser, chromedp.Evaluate[[]string](tabStops+`.filter(e => !window.tour?.seen.has(e)).map(e => e.outerHTML.slice(0, 200))`)); len(missed) > 0 {
		v.t.Errorf("%s: Tab does not lead to %q", name, missed)
	}
}
