package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

const rfc822 = "message/rfc822"

// Bounds of letters in JSON, which must be held whole to be read.
const (
	maxJSON       = 40 << 20 // 30 MB of attachments
	lettersAtOnce = 2 * maxJSON
)

// keyFor is how long an Idempotency-Key is remembered.
const keyFor = 24 * time.Hour

// errMedia is in the chain of what is said of a body of another type.
var errMedia = errors.New("the body is of no type that is read here")

type sendInput struct {
	Type string   `header:"Content-Type"`
	Key  string   `header:"Idempotency-Key" maxLength:"255" doc:"Of your choosing, one for each message. The same request with the same key within 24 hours is answered as the first one was, and sends nothing again."`
	From string   `query:"from" doc:"Sender of a message/rfc822. Left out: its From, else the device's mailbox."`
	To   []string `query:"to,explode" doc:"Recipients of a message/rfc822. Left out: its To, Cc and Bcc."`

	remote string
	length int64 // of the body, -1 when nobody says
	body   io.Reader
}

// Resolve is for huma: it reads no body that is not declared, and so leaves this one
// to be streamed.
func (in *sendInput) Resolve(ctx huma.Context) []error {
	r, _ := humago.Unwrap(ctx)
	in.remote, in.length, in.body = r.RemoteAddr, r.ContentLength, r.Body
	return nil
}

type sent struct {
	ID string `json:"id" doc:"What the queue calls the message."`
}

type sendOutput struct {
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed" doc:"true: this key has been answered before."`
	Body     sent
}

func (s *server) sendOperation(a huma.API) huma.Operation {
	op := s.operation(a, http.MethodPost, "/messages", "send-message", "Send a message", door.MaySend)
	op.Description += ". 202 is answered when the message is safe in the queue, and will be delivered or visibly fail."
	op.DefaultStatus = http.StatusAccepted
	return op
}

// sendBody describes the bodies of sendOperation. It goes into the description after
// the operation is registered: a body that huma knows of it reads into memory.
func sendBody(a huma.API) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: huma.SchemaFromType(a.OpenAPI().Components.Schemas, reflect.TypeFor[Draft]())},
		rfc822:             {Schema: &huma.Schema{Type: "string", Description: "A whole message. It is streamed: the way for large ones. Bcc is taken out."}},
	}}
}

func (s *server) send(ctx context.Context, in *sendInput) (*sendOutput, error) {
	id, replayed, err := s.sendOnce(ctx, in)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &sendOutput{Location: base + "/messages/" + id, Body: sent{ID: id}}
	if replayed {
		out.Replayed = "true"
	}
	return out, nil
}

// sendOnce sends, unless the key has been used: then it gives the message that was
// sent with it. The store notes the key in the commit of the message, so that neither
// a crash nor two requests at once can send twice.
func (s *server) sendOnce(ctx context.Context, in *sendInput) (id string, replayed bool, err error) {
	device := deviceOfCaller(ctx)
	sum := in.digest()
	in.body = io.TeeReader(&bounded{r: in.body, left: s.largest(in), limit: s.largest(in)}, sum)
	if in.Key == "" {
		id, err = s.accept(ctx, device, in, nil)
		return id, false, err
	}
	owner := caller(ctx).ID
	if _, _, err := s.Queue.HandedIn(ctx, owner, in.Key, s.Now()); errors.Is(err, fault.NotFound) {
		once := &relay.Once{Owner: owner, Key: in.Key, For: keyFor, Sum: func() []byte { return sum.Sum(nil) }}
		if id, err = s.accept(ctx, device, in, once); !errors.Is(err, fault.Conflict) {
			return id, false, err
		}
	} else if err != nil {
		return "", false, err
	}
	if _, err := io.Copy(io.Discard, in.body); err != nil { // to know what it is
		return "", false, fmt.Errorf("read the request: %w", err)
	}
	id, err = s.answered(ctx, owner, in.Key, sum.Sum(nil))
	return id, true, err
}

// answered is what a key stands for, if it stands for the same content.
func (s *server) answered(ctx context.Context, owner, key string, sum []byte) (string, error) {
	id, before, err := s.Queue.HandedIn(ctx, owner, key, s.Now())
	if err == nil && subtle.ConstantTimeCompare(before, sum) != 1 {
		err = fault.New(fault.Conflict, "accept message", "the Idempotency-Key was used for another message, %s", id).
			WithHint("use a new key for each message, and the old one only to repeat the same request")
	}
	return id, err
}

// digest begins with what is not in the body.
func (in *sendInput) digest() hash.Hash {
	sum := sha256.New()
	head, _ := json.Marshal([]any{in.Type, in.From, in.To}) // strings cannot fail
	sum.Write(head)
	return sum
}

func (in *sendInput) json() bool {
	kind, _, err := mime.ParseMediaType(in.Type)
	return err == nil && kind == "application/json"
}

func (s *server) largest(in *sendInput) int64 {
	if in.json() {
		return min(maxJSON, s.Intake.MaxSize/3*4+1<<20) // base64 makes four octets of three
	}
	return s.Intake.MaxSize
}

func (s *server) accept(ctx context.Context, d door.Device, in *sendInput, once *relay.Once) (string, error) {
	h := Handed{Device: d, RemoteAddr: in.remote, Via: "HTTP", Once: once, Body: in.body}
	if in.json() {
		return s.acceptJSON(ctx, h, in.length)
	}
	if kind, _, err := mime.ParseMediaType(in.Type); err != nil || kind != rfc822 {
		return "", fault.New(fault.Invalid, "accept message", "%w: %q", errMedia, in.Type).WithHint("application/json or %s", rfc822)
	}
	for _, text := range append(one(in.From), in.To...) {
		a, err := mail.ParseAddress(text)
		if err != nil {
			return "", fault.Wrap(fault.Invalid, "read the query", err)
		}
		h.To = append(h.To, a)
	}
	if in.From != "" {
		h.From, h.To = h.To[0], h.To[1:]
	}
	return s.Intake.Raw(ctx, h)
}

// acceptJSON holds a letter in memory, but not any number of them.
func (s *server) acceptJSON(ctx context.Context, h Handed, length int64) (string, error) {
	if length < 0 || length > maxJSON {
		length = maxJSON
	}
	if err := s.memory.Acquire(ctx, length); err != nil {
		return "", fault.Wrap(fault.Temporary, "accept message", err)
	}
	defer s.memory.Release(length)
	d, err := readDraft(h.Body)
	if err != nil {
		return "", err
	}
	l, err := d.Letter()
	if err != nil {
		return "", err
	}
	return s.Intake.Letter(ctx, h, l)
}

// readDraft reads one draft and nothing else: what is misspelt would be missing from
// the letter.
func readDraft(r io.Reader) (Draft, error) {
	var d Draft
	whole, err := io.ReadAll(r)
	if err != nil {
		return d, fmt.Errorf("read message: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(whole))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return d, fault.New(fault.Invalid, "read message", "the JSON cannot be read: %w", err).WithHint("%s/openapi.json describes it; attachments are in standard base64", base)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return d, fault.New(fault.Invalid, "read message", "something follows the JSON")
	}
	return d, nil
}
