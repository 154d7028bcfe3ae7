package imap_test

import (
	"slices"
	"testing"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

// A server that knows no character set, and says so where none was named, is searched
// here; one that was named is the search expression's fault.
func TestBadCharset(t *testing.T) {
	t.Parallel()
	c := signIn(t, scripted(t, opened+`C: UID SEARCH UNSEEN
		S: TAG NO [BADCHARSET (US-ASCII)] The specified charset is not supported.
		C: UID FETCH 1:*
		S: * 1 FETCH (UID 7 FLAGS (\Seen) INTERNALDATE "04-Mar-2026 05:06:07 +0000")
		S: * 2 FETCH (UID 9 FLAGS () INTERNALDATE "04-Mar-2026 05:06:07 +0000")
		S: TAG OK FETCH completed.`))
	if _, uids, err := c.Source(user).Search(t.Context(), mailbox.Query{Unread: true}); err != nil || !slices.Equal(slices.Collect(uids.All()), []string{"9"}) {
		t.Errorf("%v, %v", uids, err)
	}
	c = signIn(t, scripted(t, opened+`C: UID SEARCH CHARSET UTF-8
		S: TAG NO [BADCHARSET (US-ASCII)] The specified charset is not supported.`))
	_, _, err := c.Source(user).Search(t.Context(), mailbox.Query{Raw: "SUBJECT für"})
	if fault.KindOf(err) != fault.NeedsAdmin || fault.HintOf(err) == "" {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
}
