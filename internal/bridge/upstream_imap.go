package bridge

import (
	"encoding/base64"
	"slices"
	"strings"

	"postern/internal/fault"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/mailbox/pop3"
)

func spoken(p Protocol) mailbox.Protocol {
	if p == POP3 {
		return mailbox.Protocol{Name: "pop3", StartTLS: pop3.StartTLS}
	}
	return mailbox.Protocol{Name: "imap", StartTLS: imap.StartTLS}
}

// ourTag begins our own commands' tags; a client's may be the same, as they are never
// under way together.
const ourTag = "POSTERN"

// maxUntagged bounds what a server says before it answers.
const maxUntagged = 10_000

// signInIMAP signs in, and learns what the server can do.
func (t *talk) signInIMAP() ([]string, error) {
	before, err := t.beforeIMAP()
	if err != nil {
		return nil, err
	}
	after, err := t.authenticateIMAP(before)
	if err != nil {
		return nil, err
	}
	if len(after) == 0 {
		if known, ok := t.learnt.of(t.account, IMAP); ok {
			return known, nil
		}
		if after, err = t.capability(); err != nil {
			return nil, err
		}
	}
	t.learnt.keep(t.account, IMAP, passable(after))
	return passable(after), nil
}

// beforeIMAP reads the greeting, and says how one may sign in.
func (t *talk) beforeIMAP() ([]string, error) {
	if !t.greeted {
		line, err := t.in.long(maxAnswer)
		if err != nil {
			return nil, err
		}
		if !hasPrefix(line, "* OK") {
			return nil, t.refused("greeting", fault.Temporary, "BYE", strings.TrimPrefix(line, "* "))
		}
		if words := codeWords(line); len(words) > 0 {
			return words, nil
		}
	}
	if words, ok := t.learnt.ofBefore(t.server); ok {
		return words, nil
	}
	words, err := t.capability()
	if err == nil {
		t.learnt.keepBefore(t.server, words)
	}
	return words, err
}

// capability asks.
func (t *talk) capability() (words []string, err error) {
	text, err := t.command("CAPABILITY", func(line string) {
		if hasPrefix(line, "* CAPABILITY ") {
			words = strings.Fields(line)[2:]
		}
	})
	if err == nil && len(words) == 0 {
		words = codeWords(text)
	}
	return words, err
}

// command sends one and reads to the end of its answer, giving each untagged line to
// see. What the server calls anything but OK is an error.
func (t *talk) command(command string, see func(line string)) (text string, err error) {
	if err := t.send(ourTag + " " + command); err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(command, " ")
	return t.answer(ourTag, name, see)
}

// answer reads up to a tag.
func (t *talk) answer(tag, stage string, see func(line string)) (text string, err error) {
	for range maxUntagged {
		line, err := t.in.long(maxAnswer)
		if err != nil {
			return "", err
		}
		rest, tagged := strings.CutPrefix(line, tag+" ")
		switch {
		case tagged && hasPrefix(rest, "OK"):
			return rest, nil
		case tagged:
			status, text, _ := strings.Cut(rest, " ")
			return "", t.refused(stage, fault.Temporary, status, text)
		case hasPrefix(line, "* BYE"):
			return "", t.refused(stage, fault.Temporary, "BYE", strings.TrimSpace(line[5:]))
		}
		see(line)
	}
	return "", fault.New(fault.Temporary, "imap "+stage, "no end of the answer")
}

// authenticateIMAP signs in; it returns the capabilities that came with the OK.
func (t *talk) authenticateIMAP(offered []string) ([]string, error) {
	var mechanisms []string
	for _, w := range offered {
		if name, ok := strings.CutPrefix(strings.ToUpper(w), "AUTH="); ok {
			mechanisms = append(mechanisms, name)
		}
	}
	client := t.client(mechanisms)
	mech, first, err := client.Start()
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "imap AUTHENTICATE", err)
	}
	line := ourTag + " AUTHENTICATE " + mech
	inline := slices.Contains(offered, "SASL-IR") && first != nil
	if inline {
		line += " " + base64.StdEncoding.EncodeToString(first)
	}
	if err := t.send(line); err != nil {
		return nil, err
	}
	sent := base64.StdEncoding.EncodeToString(first)
	if inline {
		first = nil
	}
	var words []string
	err = t.exchange(client, first, func(said string) (string, bool, error) {
		challenge, ok, err := t.verdictIMAP(sent, said)
		words = append(words, codeWords(ok)...)
		return challenge, ok == "" && err == nil, err
	})
	return words, err
}

// verdictIMAP reads a challenge, or the OK, or the refusal.
func (t *talk) verdictIMAP(said ...string) (challenge, ok string, err error) {
	for range maxUntagged {
		line, err := t.in.long(maxAnswer)
		if err != nil {
			return "", "", err
		}
		if line == "+" || strings.HasPrefix(line, "+ ") {
			return strings.TrimSpace(line[1:]), "", nil
		}
		if hasPrefix(line, "* BYE") {
			return "", "", t.refused("AUTHENTICATE", fault.Temporary, "BYE", strings.TrimSpace(line[5:]), said...)
		}
		if rest, tagged := strings.CutPrefix(line, ourTag+" "); tagged {
			if hasPrefix(rest, "OK") {
				return "", rest, nil
			}
			status, text, _ := strings.Cut(rest, " ")
			kind := fault.NeedsSignIn
			if hasPrefix(text, "[UNAVAILABLE]") || hasPrefix(text, "[LIMIT]") || hasPrefix(text, "[INUSE]") {
				kind = fault.Temporary
			}
			return "", "", t.refused("AUTHENTICATE", kind, status, text, said...)
		}
	}
	return "", "", fault.New(fault.Temporary, "imap AUTHENTICATE", "no end of the answer")
}

// codeWords are the capabilities in a response code: "OK [CAPABILITY a b] text".
func codeWords(line string) []string {
	_, rest, ok := strings.Cut(line, "[CAPABILITY ")
	inner, _, closed := strings.Cut(rest, "]")
	if !ok || !closed {
		return nil
	}
	return strings.Fields(inner)
}

// hasPrefix disregards case.
func hasPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
