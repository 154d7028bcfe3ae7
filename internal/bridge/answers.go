package bridge

import (
	"bytes"
	"errors"
	"strconv"
)

// answers follows what a server says, line by line, so that words inside a message are
// never taken for the server's (RFC 9051 §2.2.2, §4.3). Literals are passed by counting;
// nothing is kept.
type answers struct {
	literal int64 // octets of a literal still to pass
	within  bool  // the line goes on a response that began before a literal
	long    bool  // the line's beginning was passed on already
	tail    tail
}

// between reports whether nothing is half said.
func (a *answers) between() bool { return a.literal == 0 && !a.within && !a.long }

// follow looks through what was read. see is given every line that begins a response,
// with its end, and says whether it passes or what goes instead. What passes is put out
// in runs as long as can be. rest is the beginning of a line, to come again with more
// behind it.
func (a *answers) follow(p []byte, see func(line []byte) (pass bool, instead []byte), put func(run []byte) error) (rest []byte, err error) {
	from, at := 0, 0
	for at < len(p) {
		if a.literal > 0 {
			skip := min(a.literal, int64(len(p)-at))
			a.literal -= skip
			at += int(skip)
			continue
		}
		n := bytes.IndexByte(p[at:], '\n') + 1
		if n == 0 {
			if len(p)-at < maxHeld && !a.long {
				return p[at:], putSome(put, p[from:at])
			}
			a.long = true
			a.tail.add(p[at:])
			break
		}
		line := p[at : at+n]
		switch {
		case a.long:
			a.tail.add(line)
			a.end(a.tail[:], false)
		case a.within:
			a.end(line, false)
		default:
			a.end(line, isStatus(line))
			if pass, instead := see(line); !pass {
				if err := errors.Join(putSome(put, p[from:at]), putSome(put, instead)); err != nil {
					return nil, err
				}
				from = at + n
			}
		}
		at += n
	}
	return nil, putSome(put, p[from:])
}

func putSome(put func([]byte) error, run []byte) error {
	if len(run) == 0 {
		return nil
	}
	return put(run)
}

// tail is the last octets of a line that is passed on in pieces, where a literal is
// announced.
type tail [24]byte

func (t *tail) add(p []byte) {
	if len(p) >= len(t) {
		copy(t[:], p[len(p)-len(t):])
		return
	}
	copy(t[:], t[len(p):])
	copy(t[len(t)-len(p):], p)
}

// end is the end of a line: another one begins, or a literal.
func (a *answers) end(line []byte, text bool) {
	a.long = false
	size, _, is := announced(line)
	a.within = is && !text
	if a.within {
		a.literal = size
	}
}

// isStatus reports whether a line ends in words for people, which may look like anything.
func isStatus(line []byte) bool {
	_, rest, _ := bytes.Cut(line, []byte(" "))
	word, _, _ := bytes.Cut(rest, []byte(" "))
	switch string(bytes.ToUpper(word)) {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		return true
	}
	return len(line) > 0 && line[0] == '+'
}

// numbered reads "* 12 EXISTS": the number and the word behind it.
func numbered(line []byte) (n int64, word []byte, ok bool) {
	if len(line) < 4 || line[0] != '*' || line[1] != ' ' || line[2] < '0' || line[2] > '9' {
		return 0, nil, false
	}
	digits, rest, ok := bytes.Cut(line[2:], []byte(" "))
	if !ok || len(digits) > 10 {
		return 0, nil, false
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	return n, rest, err == nil
}

// codeNumber reads the number of a response code: "* OK [UIDNEXT 12] text".
func codeNumber(line []byte, name string) (uint32, bool) {
	rest, ok := bytes.CutPrefix(line, []byte("* OK ["+name+" "))
	digits, _, closed := bytes.Cut(rest, []byte("]"))
	n, err := strconv.ParseUint(string(digits), 10, 32)
	return uint32(n), ok && closed && err == nil
}
