package graph

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Limits of attachments (reference section 5.4).
const (
	piece      = 12 * 320 << 10 // octets of one range: below 4 MB, a multiple of 320 KiB
	directly   = 29 << 20 / 10  // an attachment up to this goes in one request
	tries      = 5              // of one range
	firstPause = time.Second    // doubles
	longPause  = time.Minute    // what is to wait longer waits in the queue
)

// attach adds a file to a draft. Graph wants its size before its first octet, so it
// lies on disk until it is uploaded.
func (m *Mailbox) attach(ctx context.Context, draft string, f file, r io.Reader) error {
	const op = "graph attach"
	spool, err := os.CreateTemp(m.cfg.Spool, "attachment-*")
	if err != nil {
		return fault.Wrap(fault.Temporary, op, err)
	}
	defer func() {
		_ = spool.Close() // nothing in it is needed any more
		_ = os.Remove(spool.Name())
	}()
	size, err := io.Copy(spool, r)
	if err != nil {
		if fault.As(err) != nil {
			return err
		}
		return fault.Wrap(fault.Temporary, op, err)
	}
	if size <= directly {
		return m.attachSmall(ctx, draft, f, io.NewSectionReader(spool, 0, size))
	}
	return m.attachLarge(ctx, draft, f, spool, size)
}

// attachSmall sends a file in one request, its base64 as it is read.
func (m *Mailbox) attachSmall(ctx context.Context, draft string, f file, content *io.SectionReader) error {
	about, err := json.Marshal(map[string]any{
		"@odata.type": "#microsoft.graph.fileAttachment", "name": f.name, "contentType": f.kind,
		"isInline": f.inline, "contentId": f.contentID,
	})
	if err != nil {
		return fault.Wrap(fault.Permanent, "graph attach", err)
	}
	head := strings.TrimSuffix(string(about), "}") + `,"contentBytes":"`
	const tail = `"}`
	_, err = m.do(ctx, call{
		stage: "attach", method: http.MethodPost, url: draft + "/attachments", kind: "application/json", want: []int{http.StatusCreated},
		size: int64(len(head) + base64.StdEncoding.EncodedLen(int(content.Size())) + len(tail)),
		body: func() io.Reader {
			return io.MultiReader(strings.NewReader(head), &encoder{src: io.NewSectionReader(content, 0, content.Size())}, strings.NewReader(tail))
		},
	})
	return err
}

// session is an upload under way. Its address is a key to it, and needs no token.
type session struct {
	UploadURL string    `json:"uploadUrl"`
	Expires   time.Time `json:"expirationDateTime"`
}

// attachLarge uploads a file in pieces, in order.
func (m *Mailbox) attachLarge(ctx context.Context, draft string, f file, content io.ReaderAt, size int64) error {
	var s session
	k, err := call{
		stage: "upload", method: http.MethodPost, url: draft + "/attachments/createUploadSession", want: []int{http.StatusCreated, http.StatusOK}, into: &s,
	}.inJSON(map[string]any{"AttachmentItem": map[string]any{
		"attachmentType": "file", "name": f.name, "contentType": f.kind, "size": size, "isInline": f.inline, "contentId": f.contentID,
	}})
	if err != nil {
		return err
	}
	if _, err := m.do(ctx, k); err != nil {
		return err
	}
	if u, err := url.Parse(s.UploadURL); err != nil || u.Scheme != "https" {
		return fault.New(fault.Temporary, "graph upload", "Graph named no https address to upload to")
	}
	for at := int64(0); at < size; {
		if at, err = m.put(ctx, s, content, at, size); err != nil {
			return anew(err)
		}
	}
	return nil
}

// anew lets the next try begin with another session, whatever Exchange has against
// this one: it took the message's draft and the size of the file.
func anew(err error) error {
	if f := fault.As(err); f != nil && f.Kind != fault.Throttled {
		f.Kind = fault.Temporary
	}
	return err
}

// put uploads the piece at an offset and returns where the next begins. What fails and
// may pass is tried again, from where the server says it stands.
func (m *Mailbox) put(ctx context.Context, s session, content io.ReaderAt, at, size int64) (next int64, err error) {
	for n, pause := 1, firstPause; ; n, pause = n+1, 2*pause {
		end := min(at+piece, size)
		err = m.upload(ctx, s, content, at, end, size)
		if err == nil {
			return end, nil
		}
		wait := max(pause, waitOf(err))
		if n == tries || wait > longPause || !passes(err) || !s.Expires.IsZero() && time.Now().Add(wait).After(s.Expires) {
			return at, err
		}
		if werr := waitFor(ctx, wait); werr != nil {
			return at, errors.Join(err, werr)
		}
		if stands, serr := m.stands(ctx, s); serr == nil && stands > at && stands <= size {
			return stands, nil // the piece had arrived, in whole or in part
		}
	}
}

// upload sends one piece. It needs no token, and a buffer of memory.
func (m *Mailbox) upload(ctx context.Context, s session, content io.ReaderAt, at, end, size int64) error {
	_, err := m.once(ctx, call{
		stage: "upload", method: http.MethodPut, url: s.UploadURL, kind: "application/octet-stream",
		pieces: fmt.Sprintf("bytes %d-%d/%d", at, end-1, size),
		size:   end - at, body: func() io.Reader { return io.NewSectionReader(content, at, end-at) },
		want: []int{http.StatusOK, http.StatusCreated, http.StatusAccepted},
	}, secret.Text{})
	return err
}

// stands asks an upload how far it is.
func (m *Mailbox) stands(ctx context.Context, s session) (int64, error) {
	var now struct {
		NextExpectedRanges []string `json:"nextExpectedRanges"`
	}
	if _, err := m.once(ctx, call{stage: "upload", method: http.MethodGet, url: s.UploadURL, want: []int{http.StatusOK}, into: &now}, secret.Text{}); err != nil {
		return 0, err
	}
	if len(now.NextExpectedRanges) == 0 {
		return 0, fault.New(fault.Temporary, "graph upload", "the upload does not say how far it is")
	}
	first, _, _ := strings.Cut(now.NextExpectedRanges[0], "-")
	return strconv.ParseInt(first, 10, 64)
}

func passes(err error) bool {
	return errors.Is(err, fault.Temporary) || errors.Is(err, fault.Throttled)
}

func waitOf(err error) time.Duration {
	if f := fault.As(err); f != nil {
		return f.RetryAfter
	}
	return 0
}

func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
