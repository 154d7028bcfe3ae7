package mailbox

import (
	"strings"
	"sync"

	"postern/internal/secret"
)

// tracer writes a dialogue down line by line, without credentials: "C: " and "S: " say
// who spoke. It is for dialogues of short lines; of a long one only the start is kept.
type tracer struct {
	say func(line string)

	mu     sync.Mutex
	client []byte      // the line under way, as far as it is kept
	server []byte      //
	hush   bool        // credentials are under way: what the client says is not shown
	said   secret.Text // what was not shown last, which servers like to repeat
}

// longestTraced bounds what is kept of a line; an echo of credentials begins earlier.
const longestTraced = 8 << 10

// shownOf is how much of a line is shown.
const shownOf = 400

// sent takes what the client wrote.
func (t *tracer) sent(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.client = split(t.client, p, func(line string) { t.say("C: " + t.hide(line)) })
}

// heard takes what the server said.
func (t *tracer) heard(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.server = split(t.server, p, func(line string) {
		if line != "+" && !strings.HasPrefix(line, "+ ") {
			t.hush = false
		}
		t.say("S: " + cut(secret.Unecho(line, t.said)))
	})
}

// split gives each whole line to each and returns the start of the one that is not.
func split(begun, p []byte, each func(line string)) []byte {
	for _, b := range p {
		switch {
		case b == '\n':
			each(strings.TrimSuffix(string(begun), "\r"))
			begun = begun[:0]
		case len(begun) < longestTraced:
			begun = append(begun, b)
		}
	}
	return begun
}

// hide is a client's line without credentials. What signs in is told by its verb, which
// stands behind a tag in IMAP and first in POP3.
func (t *tracer) hide(line string) string {
	if t.hush {
		t.said = secret.New(line)
		return secret.Redacted
	}
	words := strings.SplitN(line, " ", 4)
	for i, w := range words[:min(len(words), 2)] {
		keep := i + 1
		switch strings.ToUpper(w) {
		case "AUTHENTICATE", "AUTH":
			keep++ // the mechanism
			t.hush = true
		case "LOGIN", "PASS":
		default:
			continue
		}
		if len(words) <= keep {
			return line
		}
		rest := strings.Join(words[keep:], " ")
		t.said = secret.New(rest)
		return strings.TrimSuffix(line, rest) + secret.Redacted
	}
	return cut(line)
}

func cut(line string) string {
	if len(line) <= shownOf {
		return line
	}
	return line[:shownOf] + " …"
}
