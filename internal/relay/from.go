package relay

import (
	"bytes"
	"mime"
	netmail "net/mail"
	"slices"
	"strings"

	"github.com/emersion/go-message/charset"

	"postern/internal/fault"
	"postern/internal/mail"
)

// author holds the From header to the senders that a submission may use, because
// Exchange refuses any other (reference section 4.1, SendAsDenied). A message
// without one gets the envelope's. It returns the header as it may go out.
func (s Submission) author(h header) (header, error) {
	const op = "accept message"
	if len(h.from) == 0 {
		h.fields = append([]byte("From: <"+s.From.String()+">\r\n"), h.fields...)
		return h, nil
	}
	if s.Senders == nil {
		return h, nil
	}
	named, err := addresses(h.from)
	nobody := err != nil || len(named) == 0 // an empty group is a list
	stranger := nobody
	for _, a := range named {
		stranger = stranger || !slices.ContainsFunc(s.Senders, a.Same)
	}
	if !stranger && len(h.from) == 1 {
		return h, nil
	}
	switch {
	case s.Rewrite:
		return s.rewrite(h), nil
	case len(h.from) > 1:
		return h, fault.New(fault.Denied, op, "it has %d From headers", len(h.from)).WithHint("one From header is allowed")
	case nobody:
		return h, fault.New(fault.Denied, op, "its From header holds no mail address").WithHint("set the device's sender to %s", s.From)
	}
	return h, fault.New(fault.Denied, op, "its From header names %s", join(named)).
		WithHint("set the device's sender to %s, add the address to its senders, or let Postern rewrite it", s.From)
}

// rewrite puts the envelope's sender into From and keeps the name that stood there;
// replies go to whom they would have gone.
func (s Submission) rewrite(h header) header {
	name, reply := "", ""
	if list, err := parser().ParseList(h.from[0]); err == nil && len(list) > 0 {
		name, reply = list[0].Name, h.from[0]
	}
	from := netmail.Address{Name: name, Address: s.From.String()}
	top := "From: " + fold(from.String()) + "\r\n"
	if reply != "" && !h.hasReplyTo {
		top += "Reply-To: " + fold(oneLine(reply)) + "\r\n"
	}
	h.fields = append([]byte(top), without(h.fields, "from")...)
	return h
}

// addresses parses From values; those that are none are an error.
func addresses(values []string) ([]mail.Address, error) {
	var out []mail.Address
	for _, v := range values {
		list, err := parser().ParseList(v)
		if err != nil {
			return out, err
		}
		for _, one := range list {
			a, err := mail.ParseAddress(one.Address)
			if err != nil {
				return out, err
			}
			out = append(out, a)
		}
	}
	return out, nil
}

func parser() *netmail.AddressParser {
	return &netmail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: charset.Reader}}
}

func join(list []mail.Address) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

// without drops the fields of a name from a header block whose lines end in CRLF.
func without(fields []byte, name string) []byte {
	var out []byte
	dropping := false
	for line := range bytes.Lines(fields) {
		if line[0] != ' ' && line[0] != '\t' {
			dropping = fieldName(line) == name
		}
		if !dropping {
			out = append(out, line...)
		}
	}
	return out
}
