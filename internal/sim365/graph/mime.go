package graph

import (
	"bytes"
	"errors"
	"mime"
	"net/mail"
	"net/textproto"
	"strings"
)

var errNoHeader = errors.New("no header")

// parsed is what sendMail reads from a message.
type parsed struct {
	from, to  []string // bare addresses; to from To, Cc and Bcc
	delivered []byte   // without Bcc
}

func parse(raw []byte) (parsed, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return parsed{}, err
	}
	if len(m.Header) == 0 {
		return parsed{}, errNoHeader
	}
	p := parsed{delivered: withoutBcc(raw)}
	if p.from, err = addresses(m.Header, "From"); err != nil {
		return parsed{}, err
	}
	p.to, err = addresses(m.Header, "To", "Cc", "Bcc")
	return p, err
}

func addresses(h mail.Header, fields ...string) ([]string, error) {
	parser := mail.AddressParser{WordDecoder: new(mime.WordDecoder)}
	var out []string
	for _, field := range fields {
		for _, value := range textproto.MIMEHeader(h).Values(field) {
			if strings.TrimSpace(value) == "" {
				continue
			}
			list, err := parser.ParseList(value)
			if err != nil {
				return nil, err
			}
			for _, a := range list {
				out = append(out, a.Address)
			}
		}
	}
	return out, nil
}

// withoutBcc drops the Bcc fields with their folded lines; all else stays as it is.
func withoutBcc(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	dropping := false
	for len(raw) > 0 {
		line := raw[:bytes.IndexByte(raw, '\n')+1]
		if len(line) == 0 {
			line = raw
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break // the header ends
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := bytes.Cut(line, []byte(":"))
			dropping = strings.EqualFold(string(bytes.TrimSpace(name)), "Bcc")
		}
		if !dropping {
			out = append(out, line...)
		}
		raw = raw[len(line):]
	}
	return append(out, raw...)
}
