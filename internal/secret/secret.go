// Package secret holds values that must never be shown: they print as
// [redacted] through every formatter, logger and encoder of the standard
// library. [Text.Reveal] is the one way out, so that uses can be grepped.
//
// It does not seal anything at rest; that is the vault's work.
package secret

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"sort"
	"strings"
)

// Redacted stands where a secret would have stood.
const Redacted = "[redacted]"

// Text is a password, token, client secret or key. The zero value is empty.
type Text struct{ clear string }

// New takes a clear value into custody.
func New(clear string) Text { return Text{clear: clear} }

// Reveal returns the clear value. Every call is a place where a secret leaves.
func (t Text) Reveal() string { return t.clear }

// Empty reports whether there is no value.
func (t Text) Empty() bool { return t.clear == "" }

// String hides the value.
func (t Text) String() string {
	if t.clear == "" {
		return ""
	}
	return Redacted
}

// GoString hides the value from %#v.
func (t Text) GoString() string { return t.String() }

// Format hides the value from every verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue hides the value from slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText hides the value from JSON, TOML, YAML and XML encoders.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText takes a clear value out of a document.
func (t *Text) UnmarshalText(b []byte) error {
	t.clear = string(b)
	return nil
}

// Address is a URL as people may see it: by whom it is answered. What stands behind the
// host is the secret of many webhooks, and some have a password before it.
func Address(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return Redacted
	}
	shown := u.Scheme + "://" + u.Host
	if len(u.Path) > 1 || u.RawQuery != "" {
		shown += "/…"
	}
	return shown
}

// Scrub returns s with every appearance of the given secrets replaced, whether
// they stand plain, percent-encoded, or in base64 (standard or URL alphabet).
// It is the last guard of a transcript, not the first: lines that carry
// credentials are redacted by whoever writes them.
func Scrub(s string, secrets ...Text) string {
	var forms []string
	for _, t := range secrets {
		if len(t.clear) < 4 { // shorter ones would shred the text without hiding much
			continue
		}
		forms = append(forms, t.clear, url.QueryEscape(t.clear),
			base64.StdEncoding.EncodeToString([]byte(t.clear)),
			base64.URLEncoding.EncodeToString([]byte(t.clear)),
			base64.RawStdEncoding.EncodeToString([]byte(t.clear)),
			base64.RawURLEncoding.EncodeToString([]byte(t.clear)))
	}
	sort.Slice(forms, func(i, j int) bool { return len(forms[i]) > len(forms[j]) })
	for _, f := range forms {
		s = strings.ReplaceAll(s, f, Redacted)
	}
	return s
}

// echoed is how much of a line must come back to count as its echo.
const echoed = 12

// Unecho cuts an answer off where it begins to repeat a line of credentials that it
// answers: servers quote commands they do not understand, whole or in part.
func Unecho(answer string, said Text) string {
	if len(said.clear) < echoed {
		return answer
	}
	before, _, repeats := strings.Cut(answer, said.clear[:echoed])
	if !repeats {
		return answer
	}
	return before + Redacted
}
