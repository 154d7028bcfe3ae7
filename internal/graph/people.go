package graph

import (
	"mime"
	netmail "net/mail"
	"slices"
	"strings"

	"github.com/emersion/go-message/charset"

	"postern/internal/mail"
)

// person is an address with the name that stands beside it.
type person struct {
	name    string
	address mail.Address
}

// String writes the person for a header, in ASCII where the address allows it. A name
// that needs several encoded words is folded between them.
func (p person) String() string {
	if p.name == "" {
		return "<" + p.address.String() + ">"
	}
	phrase := (&netmail.Address{Name: p.name, Address: "x@y.z"}).String()
	phrase = strings.TrimSuffix(phrase, " <x@y.z>")
	return strings.ReplaceAll(phrase, "?= =?", "?=\r\n =?") + "\r\n <" + p.address.String() + ">"
}

// people reads an address list as tolerantly as mail programs write them: with groups,
// whose members count, semicolons for commas, and pieces that are no address, which are
// left out.
func people(value string) []person {
	var all []person
	for _, item := range items(value) {
		if p, ok := readPerson(item); ok {
			all = append(all, p)
		}
	}
	return all
}

// items cuts a list at the commas, semicolons and group colons that stand outside of
// quotes, comments and brackets.
func items(value string) []string {
	var all []string
	var closing []byte // what ends the nested pieces we are in, the innermost last
	begin := 0
	for i := 0; i < len(value); i++ {
		c, in := value[i], byte(0)
		if len(closing) > 0 {
			in = closing[len(closing)-1]
		}
		switch {
		case c == '\\' && (in == '"' || in == ')'):
			i++
		case c == in && in != 0:
			closing = closing[:len(closing)-1]
		case in == '"':
		case c == '(':
			closing = append(closing, ')')
		case in == ')':
		case c == '"':
			closing = append(closing, '"')
		case c == '<' && in == 0:
			closing = append(closing, '>')
		case c == '[':
			closing = append(closing, ']')
		case in == 0 && (c == ',' || c == ';'):
			all = append(all, value[begin:i])
			begin = i + 1
		case in == 0 && c == ':':
			begin = i + 1
		}
	}
	return append(all, value[min(begin, len(value)):])
}

// readPerson reads one item. One that is not as RFC 5322 has it loses its name, and
// keeps the address if there is one.
func readPerson(item string) (person, bool) {
	const maxName = 200 // runes
	parser := netmail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: charset.Reader}}
	if a, err := parser.Parse(item); err == nil {
		bare := (&netmail.Address{Address: a.Address}).String() // quoted again where it must be
		address, err := mail.ParseAddress(strings.TrimSuffix(strings.TrimPrefix(bare, "<"), ">"))
		return person{clip(a.Name, maxName), address}, err == nil
	}
	if i := strings.LastIndexByte(item, '<'); i >= 0 {
		item, _, _ = strings.Cut(item[i+1:], ">")
	}
	address, err := mail.ParseAddress(strings.TrimSpace(item))
	return person{address: address}, err == nil
}

func clip(s string, runes int) string {
	s = oneLine(s)
	if all := []rune(s); len(all) > runes {
		return string(all[:runes])
	}
	return s
}

// among keeps of list those whom the envelope names.
func among(list []person, envelope []mail.Address) []person {
	return slices.DeleteFunc(list, func(p person) bool { return !slices.ContainsFunc(envelope, p.address.Same) })
}

// addressField writes a header field, one person a line; "" for nobody.
func addressField(name string, list []person) string {
	if len(list) == 0 {
		return ""
	}
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.String()
	}
	return name + ": " + strings.Join(words, ",\r\n ") + "\r\n"
}
