package bridge

import (
	"bytes"
	"strconv"
	"strings"
)

// view is the folder as the client knows it. It is enough to tell whether another
// session sees the same messages under the same numbers: all that the client knows have
// UIDs up to bound, all others have higher ones (RFC 9051 §2.3.1.1), so when the other
// session counts as many up to bound, they are the same.
type view struct {
	selects  []byte // the command that opened it, from its name on; nil when none is open
	opening  bool   // it is being opened
	validity uint32
	total    int64
	bound    uint32
	bounded  bool
}

// see notes what an untagged response says of the folder.
func (v *view) see(line []byte) {
	if n, word, ok := numbered(line); ok {
		v.count(n, word)
		return
	}
	if n, ok := codeNumber(line, "UIDVALIDITY"); ok {
		v.validity = n
	}
	if n, ok := codeNumber(line, "UIDNEXT"); ok && n > 0 {
		v.bound, v.bounded = n-1, true
	}
}

func (v *view) count(n int64, word []byte) {
	word, rest, _ := bytes.Cut(bytes.TrimRight(word, "\r\n"), []byte(" "))
	switch strings.ToUpper(string(word)) {
	case "EXISTS":
		if v.total != n && !v.opening {
			v.bounded = false // somebody new, of whom only the number is known
		}
		v.total = n
	case "EXPUNGE":
		v.total--
	case "FETCH":
		if uid, ok := uidOf(rest); ok && n == v.total && (!v.bounded || uid > v.bound) {
			v.bound, v.bounded = uid, true
		}
	}
}

// uidOf finds the UID in "(UID 12 FLAGS ())", before anything that could be quoted.
func uidOf(items []byte) (uint32, bool) {
	if i := bytes.IndexAny(items, "\"{"); i >= 0 {
		items = items[:i]
	}
	i := uidWord(items)
	if i < 1 || (items[i-1] != '(' && items[i-1] != ' ') {
		return 0, false
	}
	digits := items[i+4:]
	end := 0
	for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
		end++
	}
	uid, err := strconv.ParseUint(string(digits[:end]), 10, 32)
	return uint32(uid), err == nil && uid > 0
}

// uidWord is where UID stands, -1 when it does not. Letters outside ASCII keep their
// place: a server's octets need be no text.
func uidWord(items []byte) int {
	for i := 0; i+4 <= len(items); i++ {
		if bytes.EqualFold(items[i:i+4], []byte("UID ")) {
			return i
		}
	}
	return -1
}
