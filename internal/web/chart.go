package web

import (
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"
)

// span is how far back the charts go, and how much time one bar stands for.
type span struct {
	Name  string // as in the address
	Label string
	Back  time.Duration
	While time.Duration
}

// spanLink leads to another span.
type spanLink struct {
	span
	Path string
	Here bool
}

func spans() []span {
	return []span{
		{"1h", "1 hour", time.Hour, time.Minute},
		{"24h", "24 hours", 24 * time.Hour, 15 * time.Minute},
		{"7d", "7 days", 7 * 24 * time.Hour, 2 * time.Hour},
	}
}

func spanOf(name string) span {
	all := spans()
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return all[1]
}

func spanLinks(here span) []spanLink {
	var links []spanLink
	for _, s := range spans() {
		links = append(links, spanLink{s, "/?" + url.Values{"span": {s.Name}}.Encode(), s == here})
	}
	return links
}

// since is when the first bar begins: the last one is the present while.
func (s span) since(now time.Time) time.Time {
	return now.Truncate(s.While).Add(s.While - s.Back)
}

func (s span) bars() int { return int(s.Back / s.While) }

// chart is one series, drawn here: a picture for the eyes, a sentence for who hears it.
type chart struct {
	Title, Unit    string
	kinds          []tally
	Total, Highest string
	From           time.Time
	SVG            template.HTML
}

// tally is something that a chart counts, and its name where there are several.
type tally struct{ kind, name string }

// happenedRow is a while of the table behind the charts.
type happenedRow struct {
	At     time.Time
	Counts []int64 // in the order of the charts
}

// charts draws what happened, and lists the whiles in which something did.
func charts(all []Happened, s span, now time.Time) ([]chart, []happenedRow) {
	from, n := s.since(now), s.bars()
	drawn := chartWords()
	series, sums := make([][]int64, len(drawn)), map[string]int64{}
	for i := range drawn {
		series[i] = make([]int64, n)
	}
	for _, h := range all {
		at := int(h.At.Sub(from) / s.While)
		if at < 0 || at >= n || h.At.Before(from) {
			continue
		}
		sums[h.Kind] += h.N
		for i := range drawn {
			if drawn[i].counts(h.Kind) {
				series[i][at] += h.N
			}
		}
	}
	for i := range drawn {
		drawn[i].name(sums)
		drawn[i].draw(series[i], from, s)
	}
	return drawn, rowsOf(series, from, s)
}

// counts reports whether what is of a kind is in the chart.
func (c *chart) counts(kind string) bool {
	return slices.ContainsFunc(c.kinds, func(k tally) bool { return k.kind == kind })
}

// name says of a chart that counts several things how many of each there were.
func (c *chart) name(sums map[string]int64) {
	if len(c.kinds) < 2 {
		return
	}
	parts := make([]string, len(c.kinds))
	for i, k := range c.kinds {
		parts[i] = number(sums[k.kind]) + " " + k.name
	}
	c.Unit = strings.Join(parts, ", ")
}

func rowsOf(series [][]int64, from time.Time, s span) []happenedRow {
	var rows []happenedRow
	for at := s.bars() - 1; at >= 0; at-- {
		row, any := happenedRow{At: from.Add(time.Duration(at) * s.While)}, false
		for _, one := range series {
			row.Counts = append(row.Counts, one[at])
			any = any || one[at] > 0
		}
		if any {
			rows = append(rows, row)
		}
	}
	return rows
}

// chartWords are the charts there are.
func chartWords() []chart {
	return []chart{
		{Title: "Sent", Unit: "messages handed to Microsoft", kinds: []tally{{kind: Sent}}},
		{Title: "Fetched", Unit: "messages taken out of mailboxes", kinds: []tally{{kind: Fetched}}},
		{Title: "Waiting", Unit: "messages in the queue, at most", kinds: []tally{{kind: Waiting}}},
		{Title: "Refused", kinds: []tally{{GivenUp, "messages given up"}, {TurnedAway, "turned away at the doors"}}},
	}
}

// The picture's size; the page stretches it.
const (
	chartWidth  = 600
	chartHeight = 90
)

// draw makes the picture: one path of bars on a line.
func (c *chart) draw(series []int64, from time.Time, s span) {
	var highest, total int64
	for _, n := range series {
		highest, total = max(highest, n), total+n
	}
	c.From, c.Total, c.Highest = from, number(total), number(highest)
	if c.counts(Waiting) { // a level adds up to nothing
		c.Total = number(series[len(series)-1])
	}
	step := float64(chartWidth) / float64(len(series))
	var path strings.Builder
	for i, n := range series {
		if n > 0 {
			tall := max(1.5, float64(n)/float64(highest)*(chartHeight-4))
			fmt.Fprintf(&path, "M%.1f %dv-%.1fh%.1fv%.1fz", float64(i)*step, chartHeight, tall, step*.82, tall)
		}
	}
	said := fmt.Sprintf("%s, the last %s: %s. The most in %s was %s.", c.Title, s.Label, sumWords(*c, total, series), whileWords(s.While), c.Highest)
	c.SVG = template.HTML(fmt.Sprintf(`<svg class="chart %s" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-labelledby="c-%[1]s-t c-%[1]s-d">`+ //nolint:gosec // numbers and our own words
		`<title id="c-%[1]s-t">%[4]s</title><desc id="c-%[1]s-d">%[5]s</desc><path class="ground" d="M0 %[3]dH%[2]d"/><path class="bars" d="%[6]s"/></svg>`,
		strings.ToLower(c.Title), chartWidth, chartHeight, c.Title, said, path.String()))
}

func sumWords(c chart, total int64, series []int64) string {
	if c.counts(Waiting) {
		return number(series[len(series)-1]) + " now"
	}
	if len(c.kinds) > 1 {
		return number(total) + ": " + c.Unit
	}
	return number(total) + " " + c.Unit
}

func whileWords(d time.Duration) string {
	if d < time.Hour {
		return amount(int(d/time.Minute), "minute", "minutes")
	}
	return amount(int(d/time.Hour), "hour", "hours")
}
