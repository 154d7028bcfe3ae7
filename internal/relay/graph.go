package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"postern/internal/fault"
	"postern/internal/graph"
	"postern/internal/mail"
	"postern/internal/smtp"
)

// Bounds of sending through Graph.
const (
	settleAfter  = 30 * time.Second // what Graph was asked to do is done by then
	noteTimeout  = 10 * time.Second // for one write about a message's fate
	stageLookUp  = "graph look up"
	ambiguousTip = "Postern looks into Sent Items before it sends again; that needs the Graph permission Mail.ReadWrite"
)

// Mailboxes finds the Graph mailbox of an account. Errors as those of [Routes].
type Mailboxes interface {
	Mailbox(ctx context.Context, account string) (*graph.Mailbox, error)
}

// Doubts remembers which messages were handed to Graph without an answer that is
// written down, so that none of them is sent again before somebody has looked. A kill
// between Graph's answer and its commit leaves a doubt too.
type Doubts interface {
	// Doubt is when the message was last handed over; zero when it never was, or when
	// what came of it is known.
	Doubt(ctx context.Context, id string) (time.Time, error)
	// BeginDoubt is committed before the message is handed over.
	BeginDoubt(ctx context.Context, id string, at time.Time) error
	// EndDoubt: Graph did not take it. (What it took is delivered, and keeps its doubt.)
	EndDoubt(ctx context.Context, id string) error
}

// Graph is the [Sender] over Microsoft Graph.
type Graph struct {
	Mailboxes Mailboxes
	Doubts    Doubts
	Working   func(ctx context.Context, account string) error // as [Accounts] has it
	Now       func() time.Time
}

// Open gets a token. Graph itself is asked with the first message.
func (g *Graph) Open(ctx context.Context, account string) (Upstream, error) {
	box, err := g.Mailboxes.Mailbox(ctx, account)
	if err != nil {
		return nil, err
	}
	if err := box.SignIn(ctx); err != nil {
		return nil, err
	}
	return &letterbox{g: g, account: account, box: box}, nil
}

// untried is an [Upstream] whose opening may prove nothing. It says itself, after a
// message, that the account works.
type untried interface{ untried() bool }

// proven reports whether opening it has shown that the account works.
func proven(up Upstream) bool {
	u, ok := up.(untried)
	return !ok || !u.untried()
}

// letterbox is the [Upstream] of one Graph mailbox. There is no connection to lose.
type letterbox struct {
	g       *Graph
	account string
	box     *graph.Mailbox
}

func (*letterbox) untried() bool { return true }

func (*letterbox) over() Transport { return OverGraph }

func (*letterbox) Usable() bool { return true }

func (*letterbox) Close(context.Context) error { return nil }

func (*letterbox) Abort() {}

// Send hands a message over, once it is certain that Graph does not have it already.
// Graph takes a message for all of its recipients or for none.
func (b *letterbox) Send(ctx context.Context, env mail.Envelope, size int64, body io.Reader, ours Ours) (smtp.Result, error) {
	var res smtp.Result
	letter, err := graph.Read(env, size, body)
	if err != nil {
		return res, err
	}
	since, err := b.g.Doubts.Doubt(ctx, env.ID)
	if err != nil {
		return res, fault.Wrap(fault.Temporary, "see whether Graph has the message", err)
	}
	reply, err := b.earlier(ctx, since, letter)
	res.InDoubt = err != nil
	if err == nil && reply == nil {
		reply, err = b.hand(ctx, env.ID, letter, ours)
		f := fault.As(err)
		res.InDoubt = f != nil && f.Ambiguous
	}
	if err != nil {
		return res, err
	}
	res.Accepted, res.Reply = true, reply
	if err := b.g.Working(ctx, b.account); err != nil { // the message went out all the same
		return res, nil //nolint:nilerr // the next message says it again
	}
	return res, nil
}

// earlier finds out what became of an earlier try, if there was one: a reply when it went
// out, neither reply nor error when it did not, and may be sent now. While that cannot be
// known the message waits.
func (b *letterbox) earlier(ctx context.Context, since time.Time, letter *graph.Letter) (*fault.Reply, error) {
	if since.IsZero() {
		return nil, nil //nolint:nilnil // there was none
	}
	age := b.g.Now().Sub(since)
	if age >= settleAfter { // what is still a draft will never be sent by itself
		if err := b.box.DropDrafts(ctx, letter); err != nil {
			return nil, unknown(err)
		}
	}
	reply, err := b.seen(ctx, letter)
	if err != nil || reply != nil || age >= settleAfter {
		return reply, err
	}
	wait := fault.New(fault.Temporary, stageLookUp, "Graph was asked to send it %s ago and may be at it", age.Round(time.Second))
	wait.RetryAfter = settleAfter - age
	return nil, wait
}

// seen is a reply when Sent Items has the letter.
func (b *letterbox) seen(ctx context.Context, letter *graph.Letter) (*fault.Reply, error) {
	fate, err := b.box.Fate(ctx, letter)
	switch {
	case err != nil:
		return nil, unknown(err)
	case fate == graph.Sent:
		return &fault.Reply{Protocol: "graph", Stage: "look up", Code: "200", Text: "found in Sent Items"}, nil
	case fate == graph.Doubtful:
		return nil, unknown(errors.New("a message with its Message-ID went to some of its recipients"))
	}
	return nil, nil //nolint:nilnil // it is not there, which is an answer
}

// unknown keeps a message whose fate cannot be found out: it waits, and is looked for
// again. That a look was refused says nothing against the account, which may send.
func unknown(err error) error {
	return &fault.Error{
		Kind: fault.Temporary, Op: "see whether Graph has sent it", Err: fmt.Errorf("it may have been sent already: %w", err),
		Hint: ambiguousTip, RetryAfter: retryAfterOf(err),
	}
}

func retryAfterOf(err error) time.Duration {
	if f := fault.As(err); f != nil {
		return f.RetryAfter
	}
	return 0
}

// hand gives the letter to Graph. When the answer is lost it looks once, at once. The
// body was read long ago: signing in and looking may have taken their time.
func (b *letterbox) hand(ctx context.Context, id string, letter *graph.Letter, ours Ours) (*fault.Reply, error) {
	if err := ours(ctx); err != nil {
		return nil, err
	}
	if err := b.g.Doubts.BeginDoubt(ctx, id, b.g.Now()); err != nil {
		return nil, fault.Wrap(fault.Temporary, "note that Graph gets the message", err)
	}
	reply, err := b.box.Send(ctx, letter)
	if err == nil {
		return &reply, nil
	}
	f := fault.As(err)
	if f == nil || !f.Ambiguous {
		_ = b.endDoubt(ctx, id) // with a doubt too many the next try only looks in vain
		return nil, err
	}
	if found, _ := b.seen(ctx, letter); found != nil { // otherwise the next try looks again
		return found, nil
	}
	f.Hint = ambiguousTip
	return nil, err
}

// endDoubt is written even when ctx has ended: the next try would look in vain.
func (b *letterbox) endDoubt(ctx context.Context, id string) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	return b.g.Doubts.EndDoubt(late, id)
}
