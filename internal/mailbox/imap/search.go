package imap

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

// Search returns the folder's UIDVALIDITY and, in ascending order, the UIDs of the
// messages in it now that the query finds. Servers compare days in their own zone.
//
// CHARSET is only sent with words outside ASCII. A server that will not search at all
// has its work done here, as far as flags and dates go.
func (s *Source) Search(ctx context.Context, q mailbox.Query) (uint32, mailbox.IDs, error) {
	criteria, err := criteria(q)
	if err != nil {
		return 0, mailbox.IDs{}, err
	}
	defer s.c.begin(ctx)()
	st, err := s.c.enter(ctx, s.name, false) // anew: only this updates the view
	if err != nil || st.Messages == 0 {
		return st.UIDValidity, mailbox.IDs{}, err
	}
	data, err := s.c.c.UIDSearch(criteria, nil).Wait()
	if err == nil {
		return st.UIDValidity, ids(data.AllUIDs()), nil
	}
	failure := s.c.failed(ctx, "SEARCH", err)
	if status := new(imap.Error); !errors.As(err, &status) || fault.KindOf(failure) == fault.Throttled {
		return 0, mailbox.IDs{}, failure
	}
	if q.Raw != "" {
		return 0, mailbox.IDs{}, (&fault.Error{Kind: fault.NeedsAdmin, Op: "search", Err: failure}).
			WithHint("this server does not take the search expression: use the filters of the task instead")
	}
	found, err := s.scan(ctx, q)
	return st.UIDValidity, found, err
}

func ids(uids []imap.UID) mailbox.IDs {
	sorted := ascending(uids)
	return mailbox.NewIDs(func(yield func(string) bool) {
		for _, uid := range sorted {
			if !yield(decimal(uid)) {
				return
			}
		}
	})
}

func criteria(q mailbox.Query) (*imap.SearchCriteria, error) {
	c := &imap.SearchCriteria{}
	if q.Raw != "" {
		raw, err := parseSearch(q.Raw)
		if err != nil {
			return nil, err
		}
		c = raw
	}
	and(c, &imap.SearchCriteria{Since: q.Since, NotFlag: without(q)})
	return c, nil
}

// without lists the flags that a message must not have.
func without(q mailbox.Query) []imap.Flag {
	var flags []imap.Flag
	if q.Unread {
		flags = append(flags, imap.FlagSeen)
	}
	if q.Unflagged {
		flags = append(flags, imap.FlagFlagged)
	}
	if q.Untagged != "" {
		flags = append(flags, imap.Flag(q.Untagged))
	}
	return flags
}

// scan does the server's work when it refuses to search.
func (s *Source) scan(ctx context.Context, q mailbox.Query) (mailbox.IDs, error) {
	var found []imap.UID
	unwanted := without(q)
	every := imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}} // 1:*
	err := s.c.fetch(ctx, every, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true}, func(m *imapclient.FetchMessageBuffer) {
		has := func(flag imap.Flag) bool {
			return slices.ContainsFunc(m.Flags, func(f imap.Flag) bool { return strings.EqualFold(string(f), string(flag)) })
		}
		if !slices.ContainsFunc(unwanted, has) && !m.InternalDate.Before(q.Since) {
			found = append(found, m.UID)
		}
	})
	return ids(found), err
}
