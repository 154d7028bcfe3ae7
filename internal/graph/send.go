package graph

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/fault"
)

// sendMail sends a message as it is. Only 202 says that it was taken.
func (m *Mailbox) sendMail(ctx context.Context, w whole) (fault.Reply, error) {
	return m.do(ctx, call{
		stage: "sendMail", method: http.MethodPost, url: m.base + "/sendMail", kind: "text/plain", acts: true,
		size: w.encoded(), body: func() io.Reader { return w.reader() }, want: []int{http.StatusAccepted},
	})
}

// Fate is what a mailbox shows of a message.
type Fate uint8

// The fates.
const (
	NotThere Fate = iota // Sent Items does not have it
	Sent                 // it went out, to everybody in its envelope
	Doubtful             // one with its Message-ID went out, to some of them
)

// clocksApart is how far Exchange's clock and ours may be apart; with more no sign-in works.
const clocksApart = 5 * time.Minute

// Fate looks for the letter in Sent Items. A message with its Message-ID that went to
// none of its recipients, or before the letter came, is another one: programs use an
// identity twice.
func (m *Mailbox) Fate(ctx context.Context, l *Letter) (Fate, error) {
	found, err := m.search(ctx, "sentitems", l)
	if err != nil {
		return Doubtful, err
	}
	fate := NotThere
	for _, item := range found {
		if sent := item.SentDateTime; !sent.IsZero() && sent.Before(l.accepted.Add(-clocksApart)) {
			continue
		}
		got := item.recipients()
		reached := 0
		for _, a := range l.envelope {
			if slices.ContainsFunc(got, func(s string) bool { return strings.EqualFold(s, a.String()) }) {
				reached++
			}
		}
		switch {
		case reached == len(l.envelope):
			return Sent, nil
		case reached > 0:
			fate = Doubtful
		}
	}
	return fate, nil
}

// DropDrafts deletes what an earlier try left of the letter in Drafts. One that was
// sent meanwhile is in Sent Items, so look there afterwards.
func (m *Mailbox) DropDrafts(ctx context.Context, l *Letter) error {
	found, err := m.search(ctx, "drafts", l)
	if err != nil {
		return err
	}
	for _, item := range found {
		if err := m.discard(ctx, item.ID); err != nil {
			return err
		}
	}
	return nil
}

// discard deletes a draft; one that is gone is no error.
func (m *Mailbox) discard(ctx context.Context, id string) error {
	_, err := m.do(ctx, call{
		stage: "delete draft", method: http.MethodDelete, url: m.base + "/messages/" + url.PathEscape(id),
		want: []int{http.StatusNoContent, http.StatusOK, http.StatusNotFound},
	})
	return err
}

// item is a message as a folder shows it.
type item struct {
	ID            string
	ToRecipients  []recipient
	CcRecipients  []recipient
	BccRecipients []recipient
	SentDateTime  time.Time
}

func (i item) recipients() []string {
	var all []string
	for _, r := range slices.Concat(i.ToRecipients, i.CcRecipients, i.BccRecipients) {
		all = append(all, r.EmailAddress.Address)
	}
	return all
}

// search finds the letter in a folder by its Message-ID.
func (m *Mailbox) search(ctx context.Context, folder string, l *Letter) ([]item, error) {
	if l.MessageID == "" {
		return nil, fault.New(fault.Permanent, "graph look up", "the message has no Message-ID to look for")
	}
	var found struct{ Value []item }
	q := url.Values{
		"$filter": {"internetMessageId eq '" + strings.ReplaceAll(l.MessageID, "'", "''") + "'"},
		"$select": {"id,toRecipients,ccRecipients,bccRecipients,sentDateTime"},
		"$top":    {"50"},
	}
	_, err := m.do(ctx, call{
		stage: "look up", method: http.MethodGet, url: m.base + "/mailFolders/" + folder + "/messages?" + query(q),
		want: []int{http.StatusOK}, into: &found,
	})
	return found.Value, err
}

// query writes blanks as %20: OData does not read a plus as one.
func query(q url.Values) string { return strings.ReplaceAll(q.Encode(), "+", "%20") }

// recipient is an address in Graph's JSON.
type recipient struct {
	EmailAddress emailAddress `json:"emailAddress"`
}

type emailAddress struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"`
}

func recipients(list []person) []recipient {
	out := make([]recipient, 0, len(list))
	for _, p := range list {
		out = append(out, recipient{emailAddress{p.name, p.address.String()}})
	}
	return out
}
