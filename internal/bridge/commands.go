package bridge

import (
	"bytes"
	"strings"
)

// nature is what a command means for signing in again.
type nature uint8

const (
	// unknown commands may leave something behind that cannot be restored.
	unknown nature = iota
	// plain commands leave nothing behind in the connection, but may not be said twice.
	plain
	// repeatable ones may be said again when the first time went unanswered.
	repeatable
	// opens is SELECT and EXAMINE, closes leaves the folder, waits is IDLE, enables is
	// ENABLE: what they leave behind is known.
	opens
	closes
	waits
	enables
)

// natureOf judges a command by its name, "UID" included.
func natureOf(name string) nature {
	switch name {
	case "NOOP", "CHECK", "CAPABILITY", "ID", "NAMESPACE", "LIST", "LSUB", "XLIST", "STATUS", "FETCH", "SEARCH", "SORT", "THREAD",
		"UID FETCH", "UID SEARCH", "UID SORT", "UID THREAD", "UID STORE", "UID EXPUNGE", "SUBSCRIBE", "UNSUBSCRIBE",
		"GETQUOTA", "GETQUOTAROOT", "GETACL", "MYRIGHTS", "LISTRIGHTS", "GETMETADATA":
		return repeatable
	case "APPEND", "COPY", "MOVE", "STORE", "EXPUNGE", "UID COPY", "UID MOVE", "CREATE", "DELETE", "RENAME", "LOGOUT",
		"SETQUOTA", "SETACL", "DELETEACL", "SETMETADATA", "NOCOMPRESS", "LOGIN", "AUTHENTICATE", "STARTTLS":
		return plain
	case "SELECT", "EXAMINE":
		return opens
	case "CLOSE", "UNSELECT":
		return closes
	case "IDLE":
		return waits
	case "ENABLE":
		return enables
	}
	return unknown
}

// order is a command under way: said by the client, its answer not yet at an end.
type order struct {
	tag    string
	nature nature
	text   []byte // all of it as it was said; nil when it is too long to be kept
	whole  bool   // the client has said all of it
	done   bool   // of IDLE: the client has said DONE
}

// maxKept bounds what is kept of a command, to say it again.
const maxKept = 2 << 10

// newOrder reads the beginning of a command.
func newOrder(line []byte) *order {
	tag, rest, _ := bytes.Cut(line, []byte(" "))
	first, rest, _ := bytes.Cut(bytes.TrimRight(rest, "\r\n"), []byte(" "))
	name := strings.ToUpper(string(first))
	if name == "UID" {
		second, _, _ := bytes.Cut(rest, []byte(" "))
		name += " " + strings.ToUpper(string(second))
	}
	o := &order{tag: string(bytes.TrimRight(tag[:min(len(tag), 256)], "\r\n")), nature: natureOf(name)}
	upper := strings.ToUpper(string(rest[:min(len(rest), maxKept)]))
	switch {
	case strings.Contains(upper, "QRESYNC"), strings.Contains(name, "SEARCH") && strings.Contains(upper, "RETURN") && strings.Contains(upper, "SAVE"):
		o.nature = unknown // what the server remembers of it is lost with the connection
	case name == "UID STORE" && strings.Contains(upper, "UNCHANGEDSINCE"):
		o.nature = plain
	}
	return o
}

// add keeps what the client says of the command.
func (o *order) add(p []byte, first bool) {
	switch {
	case !first && o.text == nil:
	case len(o.text)+len(p) > maxKept:
		o.text = nil
	default:
		o.text = append(o.text, p...)
	}
}

// body is the command without its tag.
func (o *order) body() []byte {
	_, rest, _ := bytes.Cut(o.text, []byte(" "))
	return rest
}

// again reports whether the command may be said a second time when the first was not
// answered with a word.
func (o *order) again() bool {
	if o.text == nil || !o.whole || bytes.Count(o.text, []byte("\n")) > 1 { // a literal would have to be asked for
		return false
	}
	switch o.nature {
	case repeatable, opens, waits, enables:
		return true
	}
	return false
}

// compresses finds COMPRESS, after which nobody could follow any more. It was not
// offered; what is sent in its place no server knows.
func compresses(line []byte) (instead []byte, is bool) {
	tag, rest, _ := bytes.Cut(line, []byte(" "))
	if len(rest) < 8 || !strings.EqualFold(string(rest[:8]), "COMPRESS") {
		return nil, false
	}
	return append(append([]byte(nil), tag...), " NOCOMPRESS\r\n"...), true
}
