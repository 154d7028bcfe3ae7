// Package catalogue says in plain words what Microsoft's answers mean: the
// AADSTS codes of Entra and the replies of Exchange's SMTP, IMAP, POP3 and Graph
// servers, each with its fix, who must act and whether trying again helps. The
// entries are data, in replies.txt.
//
// It is help for people and never control flow: Microsoft changes codes and
// texts without notice, so what Postern does is decided by the OAuth error value
// and the protocol's status, elsewhere. It knows no page and no command of
// Postern's own, and it makes no connection.
package catalogue

import (
	_ "embed"
	"slices"
)

//go:embed replies.txt
var replies string

// Who must act.
type Who string

// Those who can be asked to act.
const (
	Operator    Who = "operator"     // whoever runs Postern and owns the app registration
	User        Who = "user"         // whoever owns the mailbox or sent the message
	TenantAdmin Who = "tenant_admin" // an administrator of Microsoft 365
	Microsoft   Who = "microsoft"    // only Microsoft can
	Nobody      Who = "nobody"       // it passes, or Postern handles it
)

// Class is the sort of failure, in the words of package fault.
type Class string

// The classes.
const (
	Temporary   Class = "temporary"
	Throttled   Class = "throttled"
	Quota       Class = "quota"
	NeedsSignIn Class = "needs_sign_in"
	NeedsAdmin  Class = "needs_admin"
	Permanent   Class = "permanent"
)

// Retry is whether asking again by itself is of use.
type Retry string

// The ways of retrying.
const (
	No      Retry = "no"
	Once    Retry = "once"
	Refresh Retry = "refresh" // once, with a new access token
	Poll    Retry = "poll"    // at the interval the server gave
	Backoff Retry = "backoff" // with growing pauses
	Hourly  Retry = "hourly"
)

// Protocols that entries belong to.
const (
	OAuth = "oauth"
	SMTP  = "smtp"
	HVE   = "hve" // SMTP of High Volume Email; what it has no entry for is looked up as SMTP
	IMAP  = "imap"
	POP3  = "pop3"
	Graph = "graph"
)

// Match is what a reply must have for an entry to answer it: one of each list
// that is not empty.
type Match struct {
	AADSTS   []string `json:"aadsts,omitempty"`   // numbers of Entra errors
	Code     []string `json:"code,omitempty"`     // 535, NO, -ERR, 429, invalid_grant
	Enhanced []string `json:"enhanced,omitempty"` // 5.7.3, a range 5.7.700-749, IN-USE, ErrorAccessDenied
	Text     []string `json:"text,omitempty"`     // parts of the text, lower case
}

// Entry is one meaning. Meaning, Fix, Command and Link may hold placeholders
// until [Entry.Fill] replaces them.
type Entry struct {
	ID       string   `json:"id"` // protocol.name
	Protocol string   `json:"protocol"`
	Match    Match    `json:"match"`
	Meaning  string   `json:"meaning"`           // one sentence: what happened
	Fix      string   `json:"fix"`               // what to do
	Command  string   `json:"command,omitempty"` // PowerShell
	Link     string   `json:"link,omitempty"`    // https: the page where it is done, or Microsoft's explanation
	Who      Who      `json:"who"`
	Class    Class    `json:"class"`
	Retry    Retry    `json:"retry"`
	Source   string   `json:"source"` // section of the Microsoft reference
	Examples []string `json:"examples,omitempty"`
}

// Catalogue is all the entries. It is safe for concurrent use.
type Catalogue struct{ entries []Entry }

// Load reads the embedded entries. An error is a mistake in the data, which a
// test finds first.
func Load() (*Catalogue, error) {
	entries, err := parse(replies)
	if err != nil {
		return nil, err
	}
	return &Catalogue{entries: entries}, nil
}

// All returns the entries in the order of the data file. The caller may change
// the slice, but not what the entries hold.
func (c *Catalogue) All() []Entry { return slices.Clone(c.entries) }
