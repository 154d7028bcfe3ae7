package bridge

import (
	"encoding/base64"
	"strings"

	"postern/internal/fault"
)

// signInPOP3 signs in, and learns what the server can do.
func (t *talk) signInPOP3() ([]string, error) {
	if !t.greeted {
		if _, err := t.status("greeting", fault.Temporary); err != nil {
			return nil, err
		}
	}
	if err := t.authenticatePOP3(); err != nil {
		return nil, err
	}
	if known, ok := t.learnt.of(t.account, POP3); ok {
		return known, nil
	}
	lines, err := t.capa()
	if err != nil {
		return nil, err
	}
	t.learnt.keep(t.account, POP3, passablePOP3(lines))
	return passablePOP3(lines), nil
}

// authenticatePOP3 signs in (RFC 5034). The mechanism goes first and the credentials on
// a line of their own: Exchange hangs up on a single line.
func (t *talk) authenticatePOP3() error {
	client := t.client([]string{"PLAIN"})
	mech, first, err := client.Start()
	if err != nil {
		return fault.Wrap(fault.Invalid, "pop3 AUTH", err)
	}
	if err := t.send("AUTH " + mech); err != nil {
		return err
	}
	sent := base64.StdEncoding.EncodeToString(first)
	return t.exchange(client, first, func(said string) (string, bool, error) {
		line, err := t.in.long(maxAnswer)
		if err != nil {
			return "", false, err
		}
		if line == "+" || strings.HasPrefix(line, "+ ") {
			return strings.TrimSpace(line[1:]), true, nil
		}
		_, err = t.verdictPOP3("AUTH", line, fault.NeedsSignIn, sent, said)
		return "", false, err
	})
}

// status reads a status line.
func (t *talk) status(stage string, otherwise fault.Kind) (string, error) {
	line, err := t.in.long(maxAnswer)
	if err != nil {
		return "", err
	}
	return t.verdictPOP3(stage, line, otherwise)
}

func (t *talk) verdictPOP3(stage, line string, otherwise fault.Kind, said ...string) (string, error) {
	status, text, _ := strings.Cut(line, " ")
	if status == "+OK" {
		return text, nil
	}
	for _, passing := range []string{"[IN-USE]", "[SYS/TEMP]", "[LOGIN-DELAY"} {
		if hasPrefix(text, passing) {
			otherwise = fault.Temporary
		}
	}
	if hasPrefix(text, "Server Unavailable") {
		otherwise = fault.Temporary
	}
	return "", t.refused(stage, otherwise, status, text, said...)
}

// capa asks what the server can do; one that does not know the question has nothing.
func (t *talk) capa() ([]string, error) {
	if err := t.send("CAPA"); err != nil {
		return nil, err
	}
	line, err := t.in.long(maxAnswer)
	if err != nil || !strings.HasPrefix(line, "+OK") {
		return nil, err
	}
	var all []string
	for range maxUntagged {
		line, err := t.in.long(maxAnswer)
		if err != nil {
			return nil, err
		}
		if line == "." {
			return all, nil
		}
		all = append(all, line)
	}
	return nil, fault.New(fault.Temporary, "pop3 CAPA", "no end of the answer")
}
