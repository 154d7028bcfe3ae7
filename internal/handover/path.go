package handover

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/fault"
)

// PathTemplate makes relative paths. Only the slashes of its own text divide them: no
// variable can add a segment, leave the root, or be a name that some system reserves.
type PathTemplate struct {
	t     Template
	depth int
}

// maxPath is the longest path in octets: stores allow 1,024, and a prefix comes before it.
const (
	maxPath    = 900
	maxSegment = 200
)

// ParsePath reads a template of a relative path, with / between its segments.
func ParsePath(text string) (PathTemplate, error) {
	t, err := Parse(text)
	if err != nil {
		return PathTemplate{}, err
	}
	for _, p := range t.pieces {
		if p.name == "saved_path" {
			return PathTemplate{}, templateError(text, strings.Index(text, "{saved_path"), "{saved_path} is only known afterwards").
				WithHint("use {filename}")
		}
	}
	at := 0
	for segment := range strings.SplitSeq(text, "/") {
		if segment == "" || strings.Trim(segment, ". ") == "" || strings.ContainsRune(segment, '\\') {
			return PathTemplate{}, templateError(text, at, "%q is no part of a path", segment).
				WithHint("write a path below the root, such as {yyyy}/{MM}/{filename}: no leading or trailing slash, no . or .., no backslash")
		}
		at += len(segment) + 1
	}
	return PathTemplate{t: t, depth: strings.Count(text, "/") + 1}, nil
}

// Has reports whether a variable is in the template.
func (p PathTemplate) Has(name string) bool {
	return slices.ContainsFunc(p.t.pieces, func(piece piece) bool { return piece.name == name })
}

// Make fills the template in: a relative path with slashes, each segment a harmless name.
func (p PathTemplate) Make(v Vars, safe SafeName) (string, error) {
	var b strings.Builder
	for _, piece := range p.t.pieces {
		if piece.name == "" {
			b.WriteString(piece.literal)
			continue
		}
		b.WriteString(strings.Map(joined, piece.format(v, time.DateOnly)))
	}
	segments := strings.Split(b.String(), "/")
	limit := min(maxSegment, maxPath/p.depth)
	for i, s := range segments {
		s = strings.TrimSpace(strings.TrimLeft(shorten(s, limit), ". "))
		if s == "" || !slices.ContainsFunc([]rune(s), unicode.IsGraphic) {
			s = "_" // an empty subject still has a place
		}
		segments[i] = safe(s, "", v.Index)
	}
	made := strings.Join(segments, "/")
	if len(segments) != p.depth || !filepath.IsLocal(filepath.FromSlash(made)) || path.Clean(made) != made {
		return "", fault.New(fault.Permanent, "make path", "%q leaves its root", made)
	}
	return made, nil
}

// joined keeps what a variable holds within one segment.
func joined(r rune) rune {
	switch {
	case r == '/', r == '\\', r == utf8.RuneError:
		return '_'
	case unicode.IsControl(r):
		return -1
	}
	return r
}

// Preview is the path that a sample message would get.
func (p PathTemplate) Preview(safe SafeName) string {
	made, err := p.Make(Sample(), safe)
	if err != nil {
		return ""
	}
	return made
}

// shorten cuts a name to limit octets, between characters, keeping a short extension.
func shorten(name string, limit int) string { return suffixed(name, "", limit) }

// suffixed puts a suffix before the extension and cuts the stem so that all fits.
func suffixed(name, suffix string, limit int) string {
	ext := path.Ext(name)
	if len(ext) > 20 || len(ext) == len(name) {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	if room := max(0, limit-len(ext)-len(suffix)); len(stem) > room {
		for room > 0 && !utf8.RuneStart(stem[room]) {
			room--
		}
		stem = stem[:room]
	}
	return stem + suffix + ext
}
