package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/secret"
)

// URL is an absolute http or https address without path, query or trailing slash.
type URL struct{ text string }

// String returns scheme://host[:port].
func (u URL) String() string { return u.text }

// UnmarshalText checks and trims.
func (u *URL) UnmarshalText(b []byte) error {
	s := strings.TrimRight(strings.TrimSpace(string(b)), "/")
	p, err := url.Parse(s)
	if err != nil || (p.Scheme != "http" && p.Scheme != "https") || p.Host == "" || p.Path != "" || p.RawQuery != "" || p.Fragment != "" || p.User != nil {
		return fmt.Errorf("%q is not usable; allowed: http://host[:port] or https://host[:port], without a path", b)
	}
	u.text = s
	return nil
}

// Listen is host:port to listen on, or "off".
type Listen struct{ text string }

// String returns the address as net.Listen wants it; "" when off.
func (l Listen) String() string { return l.text }

// Off reports whether the listener is not wanted.
func (l Listen) Off() bool { return l.text == "" }

// UnmarshalText checks the form; whether the port is free shows when it is opened.
func (l *Listen) UnmarshalText(b []byte) error {
	s := strings.TrimSpace(string(b))
	if s == "off" {
		l.text = ""
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not usable; allowed: host:port, :port for every address, or off", b)
	}
	l.text = s
	return nil
}

// Size is a number of octets, written as 10485760, 10MB or 150MiB.
type Size int64

// UnmarshalText reads the number and its unit; KB, MB and GB are powers of 1024
// like the limits Microsoft states.
func (s *Size) UnmarshalText(b []byte) error {
	t := strings.ToUpper(strings.TrimSpace(string(b)))
	t = strings.Replace(t, "IB", "B", 1)
	shift := 0
	for suffix, n := range map[string]int{"KB": 10, "MB": 20, "GB": 30} {
		if cut, ok := strings.CutSuffix(t, suffix); ok {
			t, shift = strings.TrimSpace(cut), n
		}
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil || n <= 0 || n > 1<<(40-shift) {
		return fmt.Errorf("%q is not a size; allowed: a whole number with KB, MB or GB, such as 150MB", b)
	}
	*s = Size(n << shift)
	return nil
}

// Count is a number of things, at least one.
type Count int

// UnmarshalText reads it.
func (n *Count) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 20)
	if err != nil || v == 0 {
		return fmt.Errorf("%q is not a number of things; allowed: 1 to 1048575", b)
	}
	*n = Count(v) //nolint:gosec // 20 bits
	return nil
}

// LogLevel is the least severe level that is logged.
type LogLevel struct{ slog.Level }

// UnmarshalText takes debug, info, warn or error.
func (l *LogLevel) UnmarshalText(b []byte) error {
	switch strings.ToLower(strings.TrimSpace(string(b))) {
	case "debug":
		l.Level = slog.LevelDebug
	case "info":
		l.Level = slog.LevelInfo
	case "warn":
		l.Level = slog.LevelWarn
	case "error":
		l.Level = slog.LevelError
	default:
		return fmt.Errorf("%q is not a level; allowed: debug, info, warn, error", b)
	}
	return nil
}

// LogFormat is how log lines look.
type LogFormat string

// UnmarshalText takes auto, text or json. Auto is text on a terminal, else json.
func (f *LogFormat) UnmarshalText(b []byte) error {
	switch v := LogFormat(strings.ToLower(strings.TrimSpace(string(b)))); v {
	case "auto", "text", "json":
		*f = v
		return nil
	}
	return fmt.Errorf("%q is not a format; allowed: auto, text, json", b)
}

// Proxy is the address of a proxy, which may hold a name and a password.
type Proxy struct{ secret.Text }

// UnmarshalText checks the form. What is wrong is said without quoting it.
func (p *Proxy) UnmarshalText(b []byte) error {
	s := strings.TrimSpace(string(b))
	u, err := url.Parse(s)
	known := err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "socks5" || u.Scheme == "socks5h")
	if s != "" && (!known || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
		return errors.New("it is not usable; allowed: http://, https:// or socks5://[name:password@]host:port")
	}
	p.Text = secret.New(s)
	return nil
}

// Switch is "on" or "off".
type Switch bool

// UnmarshalText takes on and off.
func (s *Switch) UnmarshalText(b []byte) error {
	switch strings.ToLower(strings.TrimSpace(string(b))) {
	case "on":
		*s = true
	case "off", "":
		*s = false
	default:
		return fmt.Errorf("%q is not a switch; allowed: on, off", b)
	}
	return nil
}

// Span is a length of time, written as 90s, 10m, 48h or 30d; "off" is none.
type Span struct{ time.Duration }

// UnmarshalText reads the number and its unit.
func (d *Span) UnmarshalText(b []byte) error {
	s := strings.TrimSpace(string(b))
	if s == "off" {
		d.Duration = 0
		return nil
	}
	v, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		v = time.Duration(n) * 24 * time.Hour //nolint:gosec // 16 bits of days
	}
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is not a length of time; allowed: a number with s, m, h or d, such as 30d, or off", b)
	}
	d.Duration = v
	return nil
}

// Lasting is a Span that has an end.
type Lasting struct{ Span }

// UnmarshalText reads a Span that is not off.
func (d *Lasting) UnmarshalText(b []byte) error {
	if err := d.Span.UnmarshalText(b); err != nil || d.Duration > 0 {
		return err
	}
	return fmt.Errorf("%q is not usable; allowed: a number with s, m, h or d, such as 12h", b)
}

// Hosts are hostnames, comma separated.
type Hosts []string

// UnmarshalText reads them. Addresses and wildcards are not for ACME's questions here.
func (h *Hosts) UnmarshalText(b []byte) error {
	var all []string
	for _, name := range strings.Split(string(b), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "" {
			continue
		}
		if net.ParseIP(name) != nil || !strings.Contains(name, ".") || strings.ContainsAny(name, "*:/@ ") {
			return fmt.Errorf("%q is not a hostname; allowed: names with a dot, comma separated, such as gate.contoso.com", name)
		}
		all = append(all, name)
	}
	*h = all
	return nil
}

// Networks are addresses and networks, comma separated.
type Networks []netip.Prefix

// UnmarshalText reads a list of networks; an address is a network of one.
func (n *Networks) UnmarshalText(b []byte) error {
	*n = nil
	for word := range strings.FieldsFuncSeq(string(b), func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(word)
		if a, aerr := netip.ParseAddr(word); aerr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("%q is no address and no network such as 10.0.0.0/8", word)
		}
		*n = append(*n, p.Masked())
	}
	return nil
}

// Contains reports whether an address is in one of the networks.
func (n Networks) Contains(a netip.Addr) bool {
	return slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}
