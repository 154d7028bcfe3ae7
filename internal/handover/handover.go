// Package handover gives what was taken out of a message to whoever wants it: an
// object store, a webhook or a command. It also has the templates that paths and names
// are made with, which the hand-over to a folder uses too.
//
// It keeps nothing and tries nothing twice: a delivery that failed is given again by
// whoever holds the ledger, under the same ID, and has the same effect as the first
// time. The kind of the error ([fault.Kind]) says what to do:
//
//	Temporary   try again, not before RetryAfter
//	NeedsAdmin  the target itself is wrong: no message would fare better
//	Permanent   this message will never be taken
//	Conflict    the name is taken, and the clash rule says to fail
//	Invalid     the description of the target is wrong (from [New] only)
package handover

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
)

// Delivery is what is handed over at once: a message with all its files, or one file.
type Delivery struct {
	ID       string // the idempotency key: the same on every try
	Manifest []byte // JSON ([Manifest]); nil for none
	Files    []File
	Vars     Vars // of the message; those of a file are taken from it
}

// File is one file of a delivery, staged on this machine.
type File struct {
	Path        string // absolute
	Name        string // as the message calls it
	ContentType string
	SHA256      string // hex
	Size        int64
	Index       int // its place in the message, from 1
}

// Target takes deliveries. It is safe for concurrent use.
type Target interface {
	// Deliver may be repeated: the same ID has the same effect once. The receipt is
	// what the target said, for the ledger; it is bounded and holds no secret.
	Deliver(ctx context.Context, d Delivery) (receipt string, err error)
	// Check proves that the target can be used, and leaves nothing behind that a
	// consumer would take for a delivery.
	Check(ctx context.Context) error
	Close() error
}

// Spec describes a target; exactly one of its fields is set. It holds no secret.
type Spec struct {
	Object  *Object  `json:"object,omitempty" yaml:"object,omitempty"`
	Webhook *Webhook `json:"webhook,omitempty" yaml:"webhook,omitempty"`
	Command *Command `json:"command,omitempty" yaml:"command,omitempty"`
}

// Kind is object, webhook or command; "" when the Spec is empty.
func (s Spec) Kind() string {
	switch {
	case s.Object != nil:
		return "object"
	case s.Webhook != nil:
		return "webhook"
	case s.Command != nil:
		return "command"
	}
	return ""
}

// SafeName makes a file name that is harmless on Linux, Windows and macOS out of what a
// sender called the n-th file (extract.SafeName).
type SafeName func(name, contentType string, n int) string

// With is what targets work with beside their Spec.
type With struct {
	Key     secret.Text // the store's key, or what a webhook's requests are signed with
	Network outbound.Network
	Name    SafeName
	Now     func() time.Time // nil: time.Now
}

// New makes the target that spec describes. It touches neither network nor disk, and
// misses no key until there is something to do: so it is how a Spec is checked too.
func New(spec Spec, with With) (Target, error) {
	if with.Now == nil {
		with.Now = time.Now
	}
	set := 0
	for _, is := range []bool{spec.Object != nil, spec.Webhook != nil, spec.Command != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, fault.New(fault.Invalid, "describe target", "%d targets are given", set).
			WithHint("give exactly one of object, webhook and command")
	}
	switch {
	case spec.Object != nil:
		return newObject(*spec.Object, with)
	case spec.Webhook != nil:
		return newWebhook(*spec.Webhook, with)
	}
	return newCommand(*spec.Command, with)
}

const readStaged = "read staged file"

var errAltered = errors.New("it is not as it was written")

// open opens a staged file whose content is what the ledger says: a disk that lost a
// page must not become the truth elsewhere.
func (f File) open(ctx context.Context) (*os.File, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, f.damaged(err)
	}
	digest := sha256.New()
	size, err := io.Copy(digest, reader{ctx, file})
	if err == nil && (size != f.Size || hex.EncodeToString(digest.Sum(nil)) != f.SHA256) {
		err = errAltered
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return nil, f.damaged(err)
	}
	return file, nil
}

func (f File) damaged(err error) error {
	return fault.New(fault.Temporary, readStaged, "%q: %w", f.Name, err).
		WithHint("look at the disk of data_dir; the message is still in the mailbox: process it anew")
}

// reader ends with its context.
type reader struct {
	ctx context.Context //nolint:containedctx // it lives as long as one call
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("stopped: %w", context.Cause(r.ctx))
	}
	return r.r.Read(p)
}

// seconds is a limit given in whole seconds, or else the usual one.
func seconds(n int, usual time.Duration) time.Duration {
	if n <= 0 {
		return usual
	}
	return time.Duration(n) * time.Second
}
