package relay

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/smtp"
)

// Addressed is a message and what its own header says of its way.
type Addressed struct {
	From    []mail.Address // as far as From holds addresses
	HasFrom bool
	Body    io.Reader // the whole message, but for what must not be sent on

	to []string // values of the fields that name recipients
}

// unsent are the fields that end where a message is handed in.
var unsent = [...]string{"bcc", "resent-bcc", "return-path"}

// sendable are the fields without those.
func (h header) sendable() []byte {
	fields := h.fields
	if h.hasUnsent {
		for _, name := range unsent {
			fields = without(fields, name)
		}
	}
	return fields
}

// ReadAddresses reads a message's header as [Relay.Accept] does, and takes Bcc out of it.
func ReadAddresses(body io.Reader) (Addressed, error) {
	br := bufio.NewReaderSize(smtp.Canonical(body), 32<<10)
	h, err := scanHeader(br)
	if err != nil {
		return Addressed{}, err
	}
	a := Addressed{HasFrom: len(h.from) > 0, to: recipientFields(h.fields)}
	if named, err := addresses(h.from); err == nil {
		a.From = named
	}
	a.Body = io.MultiReader(bytes.NewReader(h.sendable()), strings.NewReader("\r\n"), bytes.NewReader(h.body), br)
	return a, nil
}

// recipientFields are the values of To, Cc and Bcc; where the message was sent on by
// hand, those of the Resent fields only (RFC 5322 §3.6.6).
func recipientFields(fields []byte) []string {
	byName, name := map[string][]string{}, ""
	for line := range bytes.Lines(fields) {
		text := strings.TrimRight(string(line), "\r\n")
		if line[0] == ' ' || line[0] == '\t' {
			if all := byName[name]; len(all) > 0 {
				all[len(all)-1] += text
			}
			continue
		}
		name = fieldName(line)
		_, value, _ := strings.Cut(text, ":")
		byName[name] = append(byName[name], value)
	}
	for _, prefix := range []string{"resent-", ""} {
		var values []string
		for _, name := range []string{"to", "cc", "bcc"} {
			values = append(values, byName[prefix+name]...)
		}
		if len(values) > 0 {
			return values
		}
	}
	return nil
}

// To are the recipients that the header names. A name without a domain, as system
// programs use it, is taken to be in domain. fault.Invalid when one cannot be read:
// to send to the others only would hide that.
func (a Addressed) To(domain string) ([]mail.Address, error) {
	var all []mail.Address
	for _, value := range a.to {
		for _, one := range splitAddresses(value) {
			text := one
			if parsed, err := parser().Parse(one); err == nil {
				text = parsed.Address
			} else if inner, ok := strings.CutPrefix(one, "<"); ok && strings.HasSuffix(inner, ">") {
				text = strings.TrimSuffix(inner, ">") // a local name
			}
			addr, err := mail.Qualified(text, domain)
			if err != nil {
				return nil, fault.Wrap(fault.Invalid, "read recipients", err)
			}
			all = append(all, addr)
		}
	}
	return all, nil
}

// splitAddresses cuts a list at its commas and takes groups apart (RFC 5322 §3.4).
func splitAddresses(list string) []string {
	var all []string
	quoted, comment, angle, start := false, 0, false, 0
	cut := func(end int) {
		if one := strings.TrimSpace(list[start:end]); one != "" {
			all = append(all, one)
		}
		start = end + 1
	}
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '\\':
			i++
		case c == '"' && comment == 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			comment++
		case c == ')':
			comment = max(0, comment-1)
		case comment > 0:
		case c == '<', c == '>':
			angle = c == '<'
		case angle:
		case c == ',', c == ';':
			cut(i)
		case c == ':': // what stands before it is the group's name
			start = i + 1
		}
	}
	cut(len(list))
	return all
}
