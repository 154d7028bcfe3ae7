package smtp

import (
	"bufio"
	"errors"
	"strconv"
	"strings"

	"postern/internal/fault"
)

// Bounds of a reply: RFC 5321 allows 512 octets a line, servers send more.
const (
	maxReplyLine  = 4096
	maxReplyLines = 128
)

var errReply = errors.New("the server's answer is not SMTP")

// reply is one answer, multi-line answers joined.
type reply struct {
	code     int
	enhanced string   // "5.7.3", "" when the server gave none
	lines    []string // the words, enhanced code taken off
}

func (r reply) text() string { return strings.Join(r.lines, " ") }

// readReply reads one answer (RFC 5321 §4.2). The reader's buffer bounds a line.
func readReply(br *bufio.Reader, trace func(string)) (reply, error) {
	var r reply
	for range maxReplyLines {
		raw, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return reply{}, errReply
		}
		if err != nil {
			return reply{}, err
		}
		line := strings.TrimRight(string(raw), "\r\n")
		trace("S: " + line)
		code, more, words, ok := parseReplyLine(line)
		if !ok || (r.code != 0 && r.code != code) {
			return reply{}, errReply
		}
		r.code = code
		if enhanced, rest, ok := cutEnhanced(words); ok && (enhanced[0] == '2') == (code < 400) {
			r.enhanced, words = enhanced, rest
		}
		r.lines = append(r.lines, words)
		if !more {
			return r, nil
		}
	}
	return reply{}, errReply
}

func parseReplyLine(line string) (code int, more bool, words string, ok bool) {
	if len(line) < 3 {
		return 0, false, "", false
	}
	code, err := strconv.Atoi(line[:3])
	if err != nil || code < 200 || code > 599 {
		return 0, false, "", false
	}
	switch {
	case len(line) == 3:
		return code, false, "", true
	case line[3] == ' ':
		return code, false, line[4:], true
	case line[3] == '-':
		return code, true, line[4:], true
	}
	return 0, false, "", false
}

// cutEnhanced takes an RFC 3463 code off the front: class "." subject "." detail.
func cutEnhanced(words string) (enhanced, rest string, ok bool) {
	enhanced, rest, _ = strings.Cut(words, " ")
	parts := strings.Split(enhanced, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return "", words, false
	}
	for _, p := range parts[1:] {
		// Exchange writes ranges of details: "4.7.500-699 (ASxxx)".
		first, _, _ := strings.Cut(p, "-")
		if n, err := strconv.ParseUint(first, 10, 16); err != nil || n > 999 {
			return "", words, false
		}
	}
	return enhanced, rest, true
}

// told is the reply as a fault carries it.
func (r reply) told(stage string) *fault.Reply {
	return &fault.Reply{Protocol: "smtp", Stage: stage, Code: strconv.Itoa(r.code), Enhanced: r.enhanced, Text: r.text()}
}
