package people

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Mistake is something wrong with one field of what was given.
type Mistake struct {
	Field string // name, mail, role, password, again, old, code
	Err   *fault.Error
}

// Error is that of the fault.
func (m *Mistake) Error() string { return m.Err.Error() }

// Unwrap is for [errors.Is].
func (m *Mistake) Unwrap() error { return m.Err }

// Words are what a page says beside the field.
func (m *Mistake) Words() string { return m.Err.Err.Error() }

// MistakeOf finds a mistake in an error's chain; nil when there is none.
func MistakeOf(err error) *Mistake {
	var m *Mistake
	if errors.As(err, &m) {
		return m
	}
	return nil
}

func mistake(kind fault.Kind, field, format string, args ...any) *Mistake {
	return &Mistake{Field: field, Err: fault.New(kind, field, format, args...)}
}

// leastPassword is how long a password is at least, and mostPassword what is read of
// one at most.
const (
	leastPassword = 12
	mostPassword  = 1000
)

// LeastPassword is how many characters a password has at least.
func LeastPassword() int { return leastPassword }

var (
	nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	mailForm = regexp.MustCompile(`^[^\s@<>"(),:;\\]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?$`)
)

// fold is how names and mail addresses are compared.
func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return mistake(fault.Invalid, "name", "a name has letters, digits and . _ - and begins with a letter or digit; at most 64")
	}
	return nil
}

func checkMail(mail string) error {
	if mail != "" && !mailForm.MatchString(mail) {
		return mistake(fault.Invalid, "mail", "this is no mail address such as jane@contoso.com")
	}
	return nil
}

func checkRole(role Role) error {
	if !role.Known() {
		return mistake(fault.Invalid, "role", "there is no such role; there are viewer, operator and admin")
	}
	return nil
}

// checkPassword asks for length and nothing else, which is what makes passwords hard
// to guess (NIST SP 800-63B section 3.1.1.2).
func checkPassword(password, again secret.Text, u User) error {
	clear := password.Reveal()
	switch {
	case utf8.RuneCountInString(clear) < leastPassword:
		return mistake(fault.Invalid, "password", "a password has at least %d characters; several words are easy to remember", leastPassword)
	case len(clear) > mostPassword:
		return mistake(fault.Invalid, "password", "a password has at most %d characters", mostPassword)
	case fold(clear) == u.Name || fold(clear) == u.Mail:
		return mistake(fault.Invalid, "password", "the password must not be the name or the mail address")
	case strings.Trim(clear, clear[:1]) == "":
		return mistake(fault.Invalid, "password", "the password is one character over and over")
	case clear != again.Reveal():
		return mistake(fault.Invalid, "again", "the two passwords differ")
	}
	return nil
}
