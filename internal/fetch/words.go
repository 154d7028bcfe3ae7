package fetch

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration reads 90s, 5m, 1h30m, and 30d.
type Duration time.Duration

// IsZero is for omitting it.
func (d Duration) IsZero() bool { return d == 0 }

const day = 24 * time.Hour

// UnmarshalText reads Go's syntax, and days.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	v, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		v = time.Duration(n) * day
	}
	if s == "0" {
		v, err = 0, nil
	}
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration; allowed: 30s, 5m, 1h30m, 30d", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the short form.
func (d Duration) MarshalText() ([]byte, error) {
	v := time.Duration(d)
	if v >= day && v%day == 0 {
		return fmt.Appendf(nil, "%dd", v/day), nil
	}
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return []byte(s), nil
}

// Size is a number of octets, written 500KB, 10MB or 1GB.
type Size int64

// IsZero is for omitting it.
func (s Size) IsZero() bool { return s == 0 }

type unit struct {
	name string
	by   int
}

func units() []unit { return []unit{{"GB", 30}, {"MB", 20}, {"KB", 10}} }

// UnmarshalText reads a number and its unit.
func (s *Size) UnmarshalText(text []byte) error {
	number, shift := strings.ToUpper(strings.TrimSpace(string(text))), 0
	for _, u := range units() {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, shift = strings.TrimSpace(n), u.by
			break
		}
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v < 0 || v > 1<<(44-shift) {
		return fmt.Errorf("%q is not a size; allowed: 500KB, 10MB, 1GB", text)
	}
	*s = Size(v << shift)
	return nil
}

// MarshalText writes it with the largest unit that fits.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range units() {
		if n := int64(s) >> u.by; n > 0 && n<<u.by == int64(s) {
			return fmt.Appendf(nil, "%d%s", n, u.name), nil
		}
	}
	return strconv.AppendInt(nil, int64(s), 10), nil
}

// Date is a day, written 2026-01-31; the zone is UTC.
type Date struct{ day time.Time }

// IsZero is for omitting it.
func (d Date) IsZero() bool { return d.day.IsZero() }

// Equal reports whether both are the same day.
func (d Date) Equal(e Date) bool { return d.day.Equal(e.day) }

// UnmarshalText reads it.
func (d *Date) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.DateOnly, string(text))
	if err != nil {
		return fmt.Errorf("%q is not a day; allowed: 2026-01-31", text)
	}
	d.day = t
	return nil
}

// MarshalText writes it.
func (d Date) MarshalText() ([]byte, error) { return d.day.AppendFormat(nil, time.DateOnly), nil }

// Deed is what can be done to a message in its mailbox.
type Deed string

// The deeds.
const (
	Nothing  Deed = "nothing"
	MarkRead Deed = "read"
	Flag     Deed = "flag"
	Tag      Deed = "tag"
	Move     Deed = "move"
	Delete   Deed = "delete"
)

// Action is a deed with what it needs, written: nothing, read, flag, tag KEYWORD, move
// FOLDER, delete. The zero Action is nothing.
type Action struct {
	Do Deed
	To string // the keyword or the folder
}

// IsZero is for omitting it.
func (a Action) IsZero() bool { return a == Action{} }

// None reports whether nothing is done.
func (a Action) None() bool { return a.Do == "" || a.Do == Nothing }

// UnmarshalText reads it.
func (a *Action) UnmarshalText(text []byte) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	read := Action{Do: Deed(word), To: strings.TrimSpace(rest)}
	switch read.Do {
	case Tag, Move: // whether To is there is seen when the task is checked
	case "", Nothing, MarkRead, Flag, Delete:
		if read.To != "" {
			return fmt.Errorf("%q takes nothing behind it", word)
		}
	default:
		return fmt.Errorf("%q is not known; allowed: nothing, read, flag, tag KEYWORD, move FOLDER, delete", text)
	}
	*a = read
	return nil
}

// MarshalText writes it.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// String is the written form.
func (a Action) String() string {
	if a.To == "" {
		return string(a.Do)
	}
	return string(a.Do) + " " + a.To
}
