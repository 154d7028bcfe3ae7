package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
)

// seenField is what the form of a thing that is there carries of it, so that nobody
// undoes unknowingly what somebody else has changed since it was opened.
const seenField = "seen"

// shown is the form of a thing that is there.
func shown(now url.Values) form {
	mark := markOf(now)
	now.Set(seenField, mark)
	return blank(now)
}

// markOf tells one state of a thing from another.
func markOf(now url.Values) string {
	sum := sha256.Sum256([]byte(now.Encode()))
	return hex.EncodeToString(sum[:8])
}

// overtaken refuses a form that was opened before somebody else changed the thing, which
// now is so. Sent again it counts. A program that sends no mark wants it so in any case.
func (f *form) overtaken(now url.Values) {
	seen, mark := f.Get(seenField), markOf(now)
	if seen == "" || seen == mark {
		return
	}
	f.Values.Set(seenField, mark)
	f.Why = "Somebody has changed this since you opened the form. What you typed stands here still: look at how it is now in another window, then save again what shall be."
}
