package api

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/internal/fault"
	"postern/internal/relay"
)

var problemType = reflect.TypeFor[Problem]()

// MessageChoice chooses messages of the queue, a page at a time.
type MessageChoice struct {
	Account string      `query:"account" doc:"Only this account."`
	Device  string      `query:"device" doc:"Only this device."`
	State   relay.State `query:"state" enum:"queued,held,delivering,delivered,failed,simulated"`
	Text    string      `query:"text" doc:"Only where this stands in an address, the subject, the Message-ID or the id."`
	After   string      `query:"after" doc:"Only messages after this id: next of the page before."`
	Limit   int         `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type listInput struct{ MessageChoice }

type actAllInput struct {
	MessageChoice
	All bool `query:"all" doc:"Every message that the token sees; needed when nothing is chosen."`
}

type page struct {
	Messages []relay.Message `json:"messages"`
	Next     string          `json:"next,omitempty" doc:"The after of the next page; left out on the last one. A page of a search by text may be short, even empty, and still have a next one."`
}

type listOutput struct{ Body page }

func (s *server) list(ctx context.Context, in *listInput) (*listOutput, error) {
	out, err := s.page(ctx, in.MessageChoice)
	if err == nil {
		err = s.Explain(ctx, out.Messages)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &listOutput{out}, nil
}

// page finds the chosen messages that the caller may see.
func (s *server) page(ctx context.Context, in MessageChoice) (out page, err error) {
	f := relay.Filter{Account: in.Account, Device: in.Device, State: in.State, Text: in.Text, After: in.After, Limit: in.Limit + 1}
	if own := caller(ctx).Device; own != "" {
		if in.Device != "" && in.Device != own {
			return out, fault.New(fault.Denied, "list messages", "this token sees the messages of %s only", own)
		}
		f.Device = own
	}
	msgs, rest, err := s.find(ctx, f)
	if err != nil {
		return out, err
	}
	out = page{Messages: msgs, Next: rest}
	if len(msgs) > in.Limit {
		out.Messages, out.Next = msgs[:in.Limit], msgs[in.Limit-1].ID
	}
	if out.Messages == nil {
		out.Messages = []relay.Message{}
	}
	return out, nil
}

// searchPatience keeps a page that looks for words in a long queue from being waited for.
const searchPatience = 150 * time.Millisecond

// find lists messages. rest is where to go on when a search has not seen all of them.
func (s *server) find(ctx context.Context, f relay.Filter) (found []relay.Message, rest string, err error) {
	if f.Text != "" {
		return s.Queue.Search(ctx, f, searchPatience)
	}
	found, err = s.Queue.Messages(ctx, f)
	return found, "", err
}

type oneInput struct {
	ID string `path:"id" maxLength:"64"`
}

type oneOutput struct{ Body relay.Message }

// message reads one that the caller may see. Another device's is as good as missing.
func (s *server) message(ctx context.Context, id string) (relay.Message, error) {
	m, err := s.Queue.Message(ctx, id)
	if own := caller(ctx).Device; err == nil && own != "" && m.Device != own {
		err = fault.New(fault.NotFound, "read message", "there is no message %q", id)
	}
	return m, err
}

func (s *server) show(ctx context.Context, in *oneInput) (*oneOutput, error) {
	m, err := s.message(ctx, in.ID)
	one := []relay.Message{m}
	if err == nil {
		err = s.Explain(ctx, one)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &oneOutput{one[0]}, nil
}

func (s *server) body(ctx context.Context, in *oneInput) (*huma.StreamResponse, error) {
	if _, err := s.message(ctx, in.ID); err != nil {
		return nil, s.problem(ctx, err)
	}
	r, err := s.Queue.Body(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &huma.StreamResponse{Body: func(out huma.Context) {
		defer r.Close()
		out.SetHeader("Content-Type", rfc822)
		out.SetHeader("Content-Disposition", `attachment; filename="message.eml"`)
		if _, err := io.Copy(out.BodyWriter(), r); err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "a message was not downloaded whole", "id", in.ID, "error", err)
			panic(http.ErrAbortHandler) // a cut connection is the one way to say so now
		}
	}}, nil
}

// act changes a message and answers what it is then.
func (s *server) act(act relay.Action) func(context.Context, *oneInput) (*oneOutput, error) {
	return func(ctx context.Context, in *oneInput) (*oneOutput, error) {
		if err := s.do(ctx, act, in.ID); err != nil {
			return nil, s.problem(ctx, err)
		}
		return s.show(ctx, in)
	}
}

type acted struct {
	Changed int    `json:"changed"`
	Skipped int    `json:"skipped" doc:"Messages that are being delivered, or in no state for it."`
	First   string `json:"first,omitempty" doc:"Why the first of them was skipped."`
	Next    string `json:"next,omitempty" doc:"The after of the next page; left out on the last one."`
}

type actedOutput struct{ Body acted }

// actOnAll acts on a page of the chosen messages: all of a long queue would take longer
// than anybody waits for an answer.
func (s *server) actOnAll(act relay.Action) func(context.Context, *actAllInput) (*actedOutput, error) {
	return func(ctx context.Context, in *actAllInput) (*actedOutput, error) {
		if chosen := in.Account+in.Device+string(in.State)+in.Text != ""; in.All == chosen {
			return nil, s.problem(ctx, fault.New(fault.Invalid, string(act), "say which messages, or all=true"))
		}
		found, err := s.page(ctx, in.MessageChoice)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		done, err := s.Operator.DoThese(ctx, "api:"+caller(ctx).Name, act, in.State, found.Messages)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		out := acted{Changed: done.Changed, Skipped: done.Skipped, Next: found.Next}
		if done.First != nil {
			out.First = done.First.Error()
		}
		return &actedOutput{out}, nil
	}
}

func (s *server) remove(ctx context.Context, in *oneInput) (*struct{}, error) {
	if err := s.do(ctx, relay.Delete, in.ID); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil //nolint:nilnil // huma's way to say 204
}

func (s *server) do(ctx context.Context, act relay.Action, id string) error {
	if _, err := s.message(ctx, id); err != nil {
		return err
	}
	return s.Operator.Do(ctx, "api:"+caller(ctx).Name, act, id)
}
