package imap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

// folder is what SELECT or EXAMINE said.
type folder struct {
	name     string
	writable bool
	validity uint32
	keeps    []imap.Flag // PERMANENTFLAGS; nil: not told, so all (RFC 9051 §7.1)
}

// Folders lists the folders as they are called (UTF-8), with their special use where
// the server tells.
func (c *Client) Folders(ctx context.Context) ([]mailbox.Folder, error) {
	defer c.begin(ctx)()
	return c.list(ctx, "*")
}

func (c *Client) list(ctx context.Context, pattern string) ([]mailbox.Folder, error) {
	var options *imap.ListOptions
	if caps := c.c.Caps(); caps.Has(imap.CapListExtended) && caps.Has(imap.CapSpecialUse) {
		options = &imap.ListOptions{ReturnSpecialUse: true}
	}
	all, err := c.c.List("", pattern, options).Collect()
	if err != nil {
		return nil, c.failed(ctx, "LIST", err)
	}
	c.opened = true
	folders := make([]mailbox.Folder, 0, len(all))
	for _, f := range all {
		folders = append(folders, listed(f))
	}
	slices.SortFunc(folders, func(a, b mailbox.Folder) int { return strings.Compare(a.Name, b.Name) })
	return folders, nil
}

func listed(data *imap.ListData) mailbox.Folder {
	f := mailbox.Folder{Name: data.Mailbox}
	if data.Delim != 0 {
		f.Delimiter = string(data.Delim)
	}
	for _, attr := range data.Attrs {
		switch attr {
		case imap.MailboxAttrNoSelect, imap.MailboxAttrNonExistent:
			f.Closed = true
		case imap.MailboxAttrArchive, imap.MailboxAttrDrafts, imap.MailboxAttrJunk, imap.MailboxAttrSent, imap.MailboxAttrTrash, imap.MailboxAttrAll:
			f.Use = strings.ToLower(strings.TrimPrefix(string(attr), `\`))
		}
	}
	return f
}

// HasFolder reports whether a folder of that name can be opened.
func (c *Client) HasFolder(ctx context.Context, name string) (bool, error) {
	defer c.begin(ctx)()
	return c.has(ctx, name)
}

func (c *Client) has(ctx context.Context, name string) (bool, error) {
	pattern := name
	if strings.ContainsAny(name, "*%") { // wildcards of LIST cannot be quoted
		pattern = "*"
	}
	folders, err := c.list(ctx, pattern)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(folders, func(f mailbox.Folder) bool {
		same := f.Name == name || strings.EqualFold(f.Name, "INBOX") && strings.EqualFold(name, "INBOX")
		return same && !f.Closed
	}), nil
}

// Status is what opening a folder told.
type Status struct {
	UIDValidity uint32
	UIDNext     uint32 // 0: not told
	Messages    uint32
}

// Examine opens a folder read-only. A folder that does not exist is fault.NotFound.
func (c *Client) Examine(ctx context.Context, name string) (Status, error) {
	defer c.begin(ctx)()
	return c.enter(ctx, name, false)
}

// Select opens a folder for changes.
func (c *Client) Select(ctx context.Context, name string) (Status, error) {
	defer c.begin(ctx)()
	return c.enter(ctx, name, true)
}

func (c *Client) enter(ctx context.Context, name string, writable bool) (Status, error) {
	stage := "EXAMINE"
	if writable {
		stage = "SELECT"
	}
	c.open = folder{} // a failed SELECT leaves nothing selected (RFC 9051 §6.3.2)
	select {
	case <-c.news:
	default:
	}
	data, err := c.c.Select(name, &imap.SelectOptions{ReadOnly: !writable}).Wait()
	if err != nil {
		return Status{}, c.missing(ctx, name, c.failed(ctx, stage, err))
	}
	c.opened = true
	if data.UIDValidity == 0 {
		return Status{}, fault.New(fault.Permanent, "imap "+stage, "folder %q has no UIDVALIDITY: nothing could be remembered about it", name)
	}
	c.open = folder{name: name, writable: writable, validity: data.UIDValidity, keeps: data.PermanentFlags}
	return Status{UIDValidity: data.UIDValidity, UIDNext: uint32(data.UIDNext), Messages: data.NumMessages}, nil
}

// missing finds out whether a folder that could not be opened exists: Exchange
// says NO, without a code, to a missing folder and to a busy one alike.
func (c *Client) missing(ctx context.Context, name string, err error) error {
	r := fault.ReplyOf(err)
	if r == nil || r.Code != "NO" || fault.KindOf(err) != fault.Temporary {
		return err
	}
	if there, lookErr := c.has(ctx, name); lookErr != nil || there {
		return err
	}
	return (&fault.Error{Kind: fault.NotFound, Op: fmt.Sprintf("open folder %q", name), Err: err}).
		WithHint("choose a folder that exists")
}

// Folders lists the mailbox's folders.
func (s *Source) Folders(ctx context.Context) ([]mailbox.Folder, error) { return s.c.Folders(ctx) }

// HasFolder reports whether a folder of that name, a target for Move, can be opened.
func (s *Source) HasFolder(ctx context.Context, name string) (bool, error) {
	return s.c.HasFolder(ctx, name)
}

// MakeFolder makes a folder, unless it is there. Levels are parted by the server's own
// delimiter, as Folders shows it.
func (s *Source) MakeFolder(ctx context.Context, name string) error {
	defer s.c.begin(ctx)()
	if there, err := s.c.has(ctx, name); err != nil || there {
		return err
	}
	err := s.c.c.Create(name, nil).Wait()
	if err == nil {
		return nil
	}
	err = s.c.failed(ctx, "CREATE", err)
	if there, lookErr := s.c.has(ctx, name); lookErr == nil && there {
		return nil // somebody else was faster
	}
	if r := fault.ReplyOf(err); r != nil && r.Code == "NO" && fault.KindOf(err) == fault.Temporary {
		return (&fault.Error{Kind: fault.NeedsAdmin, Op: fmt.Sprintf("make folder %q", name), Err: err}).
			WithHint("create the folder in the mailbox, or choose one that exists")
	}
	return err
}
