package graph

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
)

// draft is a message in Graph's JSON: what of a header Graph can carry.
type draft struct {
	Subject     string      `json:"subject"`
	MessageID   string      `json:"internetMessageId,omitempty"`
	From        *recipient  `json:"from,omitempty"`
	ReplyTo     []recipient `json:"replyTo,omitempty"`
	To          []recipient `json:"toRecipients"`
	Cc          []recipient `json:"ccRecipients"`
	Bcc         []recipient `json:"bccRecipients"`
	Importance  string      `json:"importance,omitempty"`
	ReadReceipt bool        `json:"isReadReceiptRequested,omitempty"`
	Headers     []header    `json:"internetMessageHeaders,omitempty"`
	Threads     []property  `json:"singleValueExtendedProperties,omitempty"`
	Body        *itemBody   `json:"body,omitempty"`
}

type header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// property is a MAPI property: In-Reply-To and References have no name of their own.
type property struct {
	ID    string `json:"id"`
	Value string `json:"value"`
}

type itemBody struct {
	ContentType string `json:"contentType"` // text or html
	Content     string `json:"content"`
}

// maxCustom is how many headers of its own Graph lets a draft have.
const maxCustom = 5

// draft writes down what of the header can be carried.
func (l *Letter) draft() draft {
	d := draft{
		Subject: l.decoded("subject"), MessageID: l.MessageID,
		To: recipients(l.to), Cc: recipients(l.cc), Bcc: recipients(l.bcc), ReplyTo: recipients(people(l.get("reply-to"))),
		Importance: importance(l.get("importance"), l.get("x-priority")), ReadReceipt: l.get("disposition-notification-to") != "",
	}
	if from := recipients(people(l.get("from"))); len(from) > 0 {
		d.From = &from[0]
	}
	for _, f := range l.fields {
		if strings.HasPrefix(f.name, "x-") && f.name != "x-priority" && len(d.Headers) < maxCustom {
			d.Headers = append(d.Headers, header{f.name, clip(f.value(), 990)})
		}
	}
	for name, id := range map[string]string{"in-reply-to": "String 0x1042", "references": "String 0x1039"} {
		if v := l.get(name); v != "" {
			d.Threads = append(d.Threads, property{id, v})
		}
	}
	return d
}

func importance(word, priority string) string {
	switch word = strings.ToLower(word); {
	case word == "high" || word == "low":
		return word
	case strings.HasPrefix(priority, "1") || strings.HasPrefix(priority, "2"):
		return "high"
	case strings.HasPrefix(priority, "4") || strings.HasPrefix(priority, "5"):
		return "low"
	}
	return ""
}

// sealed reports whether a message is signed or encrypted: taken apart, it would be
// neither any more.
func (l *Letter) sealed() bool {
	kind, _ := mediaType(l.get("content-type"))
	switch kind {
	case "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return false
}

// sendLarge sends what is too large for one request: a draft, its attachments one by
// one, its text, and then the word to send it.
func (m *Mailbox) sendLarge(ctx context.Context, l *Letter) (fault.Reply, error) {
	if l.sealed() {
		return fault.Reply{}, fault.New(fault.Permanent, "graph draft", "the message is signed or encrypted, which it would not survive, and larger than the %d KB that Graph takes unchanged", m.cfg.Request>>10).
			WithHint("add send to the account's purposes: SMTP takes it as it is")
	}
	var made struct{ ID string }
	k, err := call{
		stage: "draft", method: http.MethodPost, url: m.base + "/messages", want: []int{http.StatusCreated},
		into: &made, acts: true, // a draft may have been left behind
	}.inJSON(l.draft())
	if err != nil {
		return fault.Reply{}, err
	}
	if _, err := m.do(ctx, k); err != nil {
		return fault.Reply{}, mayNot(err)
	}
	reply, err := m.finish(ctx, made.ID, l)
	if f := fault.As(err); f != nil && !f.Ambiguous {
		f.Ambiguous = m.tidy(ctx, made.ID) != nil // it is looked for before the next try
	}
	return reply, err
}

// mayNot keeps a missing permission from stopping the account: it concerns large
// messages alone.
func mayNot(err error) error {
	f := fault.As(err)
	if f == nil || f.Kind != fault.NeedsAdmin || f.Reply == nil || f.Reply.Code != strconv.Itoa(http.StatusForbidden) {
		return err
	}
	f.Kind = fault.Permanent
	return f.WithHint("large messages need the Graph permission Mail.ReadWrite: add it, and sign the account in again; or add send to its purposes")
}

// finish fills a draft and sends it.
func (m *Mailbox) finish(ctx context.Context, id string, l *Letter) (fault.Reply, error) {
	at := m.base + "/messages/" + url.PathEscape(id)
	w := &walker{src: l.rest, attach: func(f file, r io.Reader) error { return m.attach(ctx, at, f, r) }}
	if err := w.message(l); err != nil {
		return fault.Reply{}, gone(err)
	}
	k, err := call{stage: "draft", method: http.MethodPatch, url: at, want: []int{http.StatusOK}}.inJSON(map[string]any{"body": w.text()})
	if err != nil {
		return fault.Reply{}, err
	}
	if _, err := m.do(ctx, k); err != nil {
		return fault.Reply{}, gone(err)
	}
	reply, err := m.do(ctx, call{stage: "send draft", method: http.MethodPost, url: at + "/send", want: []int{http.StatusAccepted}, acts: true})
	if isGone(err) { // to Sent Items, perhaps
		err = gone(err)
		fault.As(err).Ambiguous = true
	}
	return reply, err
}

func isGone(err error) bool {
	r := fault.ReplyOf(err)
	return r != nil && r.Code == strconv.Itoa(http.StatusNotFound)
}

// gone lets the next try begin anew where somebody deleted the draft meanwhile, or
// Exchange its upload: neither is a fault of the message.
func gone(err error) error {
	if f := fault.As(err); f != nil && isGone(err) {
		f.Kind = fault.Temporary
	}
	return err
}

// tidy deletes a draft that will not be sent, even when ctx has ended.
func (m *Mailbox) tidy(ctx context.Context, id string) error {
	const limit = 20 * time.Second
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return m.discard(late, id)
}

// errMalformed marks what cannot be taken apart.
var errMalformed = errors.New("the message cannot be taken apart")
