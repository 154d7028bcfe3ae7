package config

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"postern/internal/secret"
)

// Setting is what a key has come to, and where from. Nothing secret is in it.
type Setting struct {
	Key
	Value string
	From  string // default, the file's path, POSTERN_KEY or --key
}

// Settings lists the effective configuration in the order of the keys.
func (c Config) Settings() []Setting {
	keys, v := Keys(), reflect.ValueOf(c)
	all := make([]Setting, len(keys))
	for i, k := range keys {
		all[i] = Setting{Key: k, Value: shown(v.Field(i).Interface()), From: c.from[k.Name]}
		if all[i].From == "" {
			all[i].From = "default"
		}
		if k.Name == "database" {
			all[i].Value = withoutPassword(all[i].Value)
		}
	}
	return all
}

// shown is a value for people: of a secret, that there is one.
func shown(v any) string {
	switch v := v.(type) {
	case secret.Text:
		return shownSecret(v)
	case Proxy:
		return shownProxy(v)
	case Listen:
		return orOff(v.String())
	case Span:
		return shownSpan(v)
	case Lasting:
		return shownSpan(v.Span)
	case Switch:
		if v {
			return "on"
		}
		return "off"
	case Size:
		return shownSize(v)
	case LogLevel:
		return strings.ToLower(v.String())
	case Hosts:
		return strings.Join(v, ", ")
	case Networks:
		words := make([]string, len(v))
		for i, n := range v {
			words[i] = n.String()
		}
		return strings.Join(words, ", ")
	}
	return fmt.Sprint(v)
}

func orOff(s string) string {
	if s == "" {
		return "off"
	}
	return s
}

func shownSecret(s secret.Text) string {
	if s.Empty() {
		return ""
	}
	return "set, not shown"
}

func shownProxy(p Proxy) string {
	u, err := url.Parse(p.Reveal())
	if p.Empty() || err != nil {
		return shownSecret(p.Text)
	}
	return u.Redacted()
}

func shownSpan(d Span) string {
	const day = 24
	switch hours := d.Hours(); {
	case d.Duration == 0:
		return "off"
	case hours >= 2*day && hours == float64(int(hours)) && int(hours)%day == 0:
		return fmt.Sprintf("%dd", int(hours)/day)
	}
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func shownSize(n Size) string {
	for _, u := range []struct {
		name  string
		shift int
	}{{"GB", 30}, {"MB", 20}, {"KB", 10}} {
		if n > 0 && n%(1<<u.shift) == 0 {
			return fmt.Sprintf("%d%s", n>>u.shift, u.name)
		}
	}
	return fmt.Sprint(int64(n))
}

// withoutPassword is a database's address without what lets one in, wherever it stands
// in it.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "set, not shown"
	}
	q := u.Query()
	for name := range q {
		if strings.Contains(strings.ToLower(name), "password") {
			q.Set(name, "xxxxx")
		}
	}
	u.RawQuery = q.Encode()
	return u.Redacted()
}

// note remembers where a key got its value.
func (c *Config) note(name, from string) {
	if c.from == nil {
		c.from = map[string]string{}
	}
	c.from[name] = from
}

// noteFile remembers which keys a file that was read has.
func (c *Config) noteFile(path string, file []byte) {
	var values map[string]any
	if toml.Unmarshal(file, &values) != nil {
		return // it was read a moment ago
	}
	for name := range values {
		c.note(name, path)
	}
}
