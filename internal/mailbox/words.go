package mailbox

import "time"

// Query says which messages of a folder are looked for; the zero Query is all of them.
type Query struct {
	Unread    bool      // without \Seen
	Unflagged bool      // without \Flagged
	Untagged  string    // without this keyword
	Since     time.Time // arrived since that day: a rough lower bound
	Raw       string    // and what this IMAP search expression finds (RFC 9051 §6.4.4)
}

// Brief is what a server tells of a message before it is read.
type Brief struct {
	ID      string    // IMAP: the UID in decimal; POP3: the UIDL
	Size    int64     // octets; Exchange's is an estimate
	Arrived time.Time // zero where the protocol does not tell
	Header  []byte    // the header block as it is, if it was asked for; bounded
}

// Folder is one line of a mailbox's list of folders.
type Folder struct {
	Name      string // as people read it, and as every method takes it
	Delimiter string // between the levels of Name; "" when there are none
	Use       string // special use (RFC 6154), lower case without the backslash: archive, drafts, junk, sent, trash, all
	Closed    bool   // it only holds other folders
}

// Abilities are what a protocol, or a server, offers beyond reading and deleting.
type Abilities struct {
	Folders bool // other folders than INBOX; Move, MakeFolder
	Flags   bool // \Seen and \Flagged: MarkRead, Flag, Query.Unread
	Tags    bool // keywords: Tag
	Search  bool // Query.Raw
	Watch   bool // it tells when mail arrives
}
