package fetch

import (
	"time"

	"postern/internal/handover"
)

// Task is a scheduled fetch: whose mail, and what becomes of it.
type Task struct {
	Name     string    `json:"name"`
	Account  string    `json:"account"` // whose mailbox
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created,omitzero"` // set by the store when the task is first put
	Spec
}

// Spec is what a task does. Its words are the same in JSON and YAML, in the database,
// in `postern apply` and in the API; the zero value of every field is its default.
type Spec struct {
	Source      Origin   `json:"source,omitzero" yaml:"source,omitempty"`
	Rules       []Rule   `json:"rules,omitempty" yaml:"rules,omitempty"`   // in order, the first that fits takes the message; none: all attachments
	Nested      Nested   `json:"nested,omitempty" yaml:"nested,omitempty"` // messages within messages: keep (default), open
	Handover    Handover `json:"handover" yaml:"handover,omitempty"`
	After       Action   `json:"after,omitzero" yaml:"after,omitempty"`                // to messages that were handed over
	Unmatched   Action   `json:"unmatched,omitzero" yaml:"unmatched,omitempty"`        // to messages that no rule takes
	Failure     Failure  `json:"failure,omitzero" yaml:"failure,omitempty"`            // to messages that failed too often
	MakeFolders bool     `json:"make_folders,omitempty" yaml:"make_folders,omitempty"` // make the folders that messages are moved to
	Schedule    Schedule `json:"schedule,omitzero" yaml:"schedule,omitempty"`
	Limits      Limits   `json:"limits,omitzero" yaml:"limits,omitempty"`
}

// Origin says which messages of the mailbox are looked at.
type Origin struct {
	Protocol Protocol `json:"protocol,omitempty" yaml:"protocol,omitempty"` // imap (default), pop3
	Folders  []string `json:"folders,omitempty" yaml:"folders,omitempty"`   // as the server names them, * and ? stand for anything; INBOX by default
	Exclude  []string `json:"exclude,omitempty" yaml:"exclude,omitempty"`   // not these of them
	Which    Which    `json:"which,omitempty" yaml:"which,omitempty"`       // all (default), unread, unflagged, untagged
	Start    Start    `json:"start,omitempty" yaml:"start,omitempty"`       // new (default), all
	Since    Date     `json:"since,omitzero" yaml:"since,omitempty"`        // arrived on that day or later
	MaxAge   Duration `json:"max_age,omitzero" yaml:"max_age,omitempty"`    // arrived within
	Search   string   `json:"search,omitempty" yaml:"search,omitempty"`     // and found by this IMAP search expression
}

// Which narrows the messages by what stands on them.
type Which string

// The choices.
const (
	All       Which = "all"
	Unread    Which = "unread"
	Unflagged Which = "unflagged"
	Untagged  Which = "untagged" // without the keyword that After sets
)

// Start says which messages the first run looks at.
type Start string

// The starts.
const (
	StartNew Start = "new" // those that arrived after the task was made
	StartAll Start = "all" // whatever is in the folder
)

// Rule says which messages it is for and what is taken out of them.
type Rule struct {
	Name  string `json:"name,omitempty" yaml:"name,omitempty"` // {rule} in templates
	Match Match  `json:"match,omitzero" yaml:"match,omitempty"`
	Skip  bool   `json:"skip,omitempty" yaml:"skip,omitempty"` // such messages are none of the task's
	Take  Take   `json:"take,omitzero" yaml:"take,omitempty"`
}

// Match is what a message must have. Each list is satisfied when one of its patterns
// fits and none of the negated ones does.
type Match struct {
	From          Patterns `json:"from,omitempty" yaml:"from,omitempty"`                     // address, or name and address
	To            Patterns `json:"to,omitempty" yaml:"to,omitempty"`                         // To and Cc
	Subject       Patterns `json:"subject,omitempty" yaml:"subject,omitempty"`               //
	Body          Patterns `json:"body,omitempty" yaml:"body,omitempty"`                     // the first 256 KiB of its text
	SkipAutomatic bool     `json:"skip_automatic,omitempty" yaml:"skip_automatic,omitempty"` // no auto-replies, bounces and receipts
}

// Take says what is taken out of a message. A message without a wanted attachment is
// not the rule's, unless AnyMessage says so.
type Take struct {
	Save       []Kind   `json:"save,omitempty" yaml:"save,omitempty"`        // attachments and manifest, by default
	Names      Patterns `json:"names,omitempty" yaml:"names,omitempty"`      // of attachments, as the message calls them
	Types      []string `json:"types,omitempty" yaml:"types,omitempty"`      // by content: application/pdf, image/*
	MinSize    Size     `json:"min_size,omitzero" yaml:"min_size,omitempty"` // of an attachment
	MaxSize    Size     `json:"max_size,omitzero" yaml:"max_size,omitempty"`
	Inline     bool     `json:"inline,omitempty" yaml:"inline,omitempty"` // pictures of the text too
	AnyMessage bool     `json:"any_message,omitempty" yaml:"any_message,omitempty"`
}

// Kind is a kind of file.
type Kind string

// The kinds.
const (
	Attachments Kind = "attachments"
	EML         Kind = "eml"  // the whole message, as it came
	Text        Kind = "text" // its plain text
	HTML        Kind = "html"
	List        Kind = "manifest" // JSON, with the digest of every other
)

// Nested is what becomes of a message within the message.
type Nested string

// The ways.
const (
	Keep Nested = "keep" // as one .eml
	Open Nested = "open" // its attachments, instead
)

// Failure is what becomes of a message that cannot be taken.
type Failure struct {
	Do    Action `json:"do,omitzero" yaml:"do,omitempty"`        // once it is parked: nothing, flag, move FOLDER
	Tries int    `json:"tries,omitempty" yaml:"tries,omitempty"` // before it is parked; 3 by default
}

// Schedule says when a task runs. None: by hand.
type Schedule struct {
	Every Duration `json:"every,omitzero" yaml:"every,omitempty"`
	Cron  string   `json:"cron,omitempty" yaml:"cron,omitempty"`   // 0 6 * * 1-5, @daily
	Zone  string   `json:"zone,omitempty" yaml:"zone,omitempty"`   // of Cron: Europe/Berlin; UTC by default
	Watch bool     `json:"watch,omitempty" yaml:"watch,omitempty"` // as soon as mail arrives; Every is how often else
}

// Limits bound one run; what is left over is taken by the next.
type Limits struct {
	Messages int  `json:"messages,omitempty" yaml:"messages,omitempty"`
	Bytes    Size `json:"bytes,omitzero" yaml:"bytes,omitempty"`
	Message  Size `json:"message,omitzero" yaml:"message,omitempty"` // larger ones are parked
}

// Handover says where files go: to a folder, to a target, or first to the one and then
// to the other, which is told where they are.
type Handover struct {
	Directory string         `json:"directory,omitempty" yaml:"directory,omitempty"` // absolute
	Path      string         `json:"path,omitempty" yaml:"path,omitempty"`           // template of the path in it; {filename} by default
	Clash     handover.Clash `json:"clash,omitempty" yaml:"clash,omitempty"`         // when that name is used: rename (default), overwrite, skip, fail

	handover.Spec `yaml:",inline"` // object, webhook or command
	Each          Each             `json:"each,omitempty" yaml:"each,omitempty"` // what a target gets at once: message (default), attachment
	Act           Act              `json:"act,omitempty" yaml:"act,omitempty"`   // when After is made: handed_over (default), saved
}

// Each says what one delivery is.
type Each string

// The ways.
const (
	EachMessage    Each = "message"
	EachAttachment Each = "attachment"
)

// Act says what the mailbox action waits for.
type Act string

// The choices.
const (
	ActHandedOver Act = "handed_over" // folder and target have everything
	ActSaved      Act = "saved"       // the folder has; the target may still be tried
)
