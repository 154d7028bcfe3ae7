package app

import (
	"bytes"
	"context"
	"errors"
	"net/mail"
	"slices"
	"time"

	"postern/internal/fetch"
	postmail "postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/vault"
)

// newest is how many messages one look reads the headers of, at most.
const newest = 100

// lookout looks for one message in a mailbox that an account may read.
type lookout struct {
	*App
	account  string
	protocol fetch.Protocol
	since    time.Time
	seen     map[string]bool // ids of what it is not
}

// lookoutFor is how a check sees its test message arrive; nil where no account may read the
// recipient's mailbox now.
func (a *App) lookoutFor(ctx context.Context, to postmail.Address) (func(ctx context.Context, messageID string) (bool, error), error) {
	all, err := a.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	paused, err := (accounts{a}).Paused(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range []struct {
		purpose  vault.Purpose
		protocol fetch.Protocol
	}{{vault.IMAP, fetch.IMAP}, {vault.POP3, fetch.POP3}} {
		for _, acct := range all {
			if acct.Mailbox.Same(to) && acct.May(p.purpose) && !slices.Contains(paused, acct.Name) {
				l := lookout{App: a, account: acct.Name, protocol: p.protocol, since: a.Store.Now().AddDate(0, 0, -1), seen: map[string]bool{}}
				return l.look, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // nobody may, which is an answer
}

// look opens INBOX anew: over POP3 only that shows what has come meanwhile.
func (l lookout) look(ctx context.Context, messageID string) (there bool, err error) {
	source, err := sources{l.App, &seats{}}.Open(ctx, l.account, l.protocol)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	validity, ids, err := source.Search(ctx, mailbox.Query{Since: l.since})
	if err != nil {
		return false, err
	}
	var late []string
	for i := max(ids.Len()-newest, 0); i < ids.Len(); i++ {
		if id := ids.At(i); !l.seen[id] {
			late = append(late, id)
		}
	}
	if len(late) == 0 {
		return false, nil
	}
	err = source.Describe(ctx, validity, late, true, func(b mailbox.Brief) {
		l.seen[b.ID] = true
		there = there || idIn(b.Header) == messageID
	})
	return there, err
}

// idIn is the Message-ID of a header block; others name it too, as what they answer.
func idIn(header []byte) string {
	m, err := mail.ReadMessage(bytes.NewReader(append(bytes.TrimRight(header, "\r\n"), "\r\n\r\n"...)))
	if err != nil {
		return ""
	}
	return m.Header.Get("Message-Id")
}
