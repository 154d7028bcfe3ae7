package handover

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"os"
	"sync"

	"postern/internal/fault"
)

// body is a request's, which can be written any number of times, always the same.
type body struct {
	format Format
	notice notice
	files  []File // as in the notice
}

// body makes the request of a delivery.
func (w *hook) body(d Delivery) (body, error) {
	b := body{format: w.spec.Format, notice: d.notice(w.safe), files: d.Files}
	total := int64(0)
	for i, f := range d.Files {
		total += f.Size
		if b.format == FormatMultipart {
			b.notice.Files[i].Part = fmt.Sprintf("file-%d", i+1)
		}
	}
	if limit := int64(w.spec.LimitMB) << 20; b.format == FormatJSON && total > limit {
		return b, fault.New(fault.Permanent, callWebhook, "the files have %d octets together, and JSON is for up to %d", total, limit).
			WithHint("set format to multipart, or raise limit_mb if the receiver can take it")
	}
	return b, nil
}

// boundary divides the parts. It is the delivery's: nobody who writes the files can
// know it, and every try has the same.
func (b body) boundary() string {
	sum := sha256.Sum256([]byte("boundary of " + b.notice.Delivery))
	for _, f := range b.files {
		sum = sha256.Sum256(fmt.Appendf(sum[:], "%s", f.SHA256))
	}
	return "postern-" + hex.EncodeToString(sum[:16])
}

func (b body) contentType() string {
	if b.format == FormatMultipart {
		return "multipart/form-data; boundary=" + b.boundary()
	}
	return "application/json"
}

// writeTo writes the body.
func (b body) writeTo(ctx context.Context, w io.Writer) error {
	if b.format == FormatMultipart {
		return b.writeParts(ctx, w)
	}
	return b.writeJSON(ctx, w)
}

// inlined is a file of a JSON body: what is known of it, then its content.
const inlined = `,"content":"`

// writeJSON writes the notice, and into each of its files "content" in base64.
func (b body) writeJSON(ctx context.Context, w io.Writer) error {
	files := b.notice.Files
	head := b.notice
	head.Files = []noticeFile{}
	text, err := json.Marshal(head)
	if err != nil {
		return fault.Wrap(fault.Permanent, callWebhook, err)
	}
	if _, err := w.Write(text[:len(text)-len("]}")]); err != nil {
		return err
	}
	for i, f := range files {
		text, err := json.Marshal(f)
		if err != nil {
			return fault.Wrap(fault.Permanent, callWebhook, err)
		}
		if i > 0 {
			text = append([]byte(","), text...)
		}
		if _, err := w.Write(append(text[:len(text)-1], inlined...)); err != nil {
			return err
		}
		content := base64.NewEncoder(base64.StdEncoding, w)
		if err := b.copy(ctx, content, i); err != nil {
			return err
		}
		if err := content.Close(); err != nil {
			return err
		}
		if _, err := io.WriteString(w, `"}`); err != nil {
			return err
		}
	}
	_, err = io.WriteString(w, "]}")
	return err
}

// writeParts writes the notice as the part "notice" and each file as a part of its own.
func (b body) writeParts(ctx context.Context, w io.Writer) error {
	parts := multipart.NewWriter(w)
	if err := parts.SetBoundary(b.boundary()); err != nil {
		return err
	}
	part, err := parts.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="notice"`}, "Content-Type": {"application/json"},
	})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(part).Encode(b.notice); err != nil {
		return err
	}
	for i, f := range b.notice.Files {
		part, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {multipart.FileContentDisposition(f.Part, f.Name)}, "Content-Type": {"application/octet-stream"},
		})
		if err != nil {
			return err
		}
		if err := b.copy(ctx, part, i); err != nil {
			return err
		}
	}
	return parts.Close()
}

// copy writes the i-th file. A file that is not what the manifest says ends the body
// before it is whole, so that nobody can take it for one.
func (b body) copy(ctx context.Context, w io.Writer, i int) error {
	f := b.files[i]
	file, err := os.Open(f.Path)
	if err != nil {
		return f.damaged(err)
	}
	defer func() { _ = file.Close() }()
	digest := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, digest), reader{ctx, file})
	if err == nil && (n != f.Size || hex.EncodeToString(digest.Sum(nil)) != f.SHA256) {
		err = f.damaged(errAltered)
	}
	return err
}

// counter counts octets.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// streams are the bodies of one request, of which redirects and lost connections may
// want several.
type streams struct {
	ctx   context.Context //nolint:containedctx // it lives as long as one request
	body  body
	sent  sync.WaitGroup
	pipes []*io.PipeReader
}

func (s *streams) next() io.ReadCloser {
	r, w := io.Pipe()
	s.pipes = append(s.pipes, r)
	s.sent.Go(func() { _ = w.CloseWithError(s.body.writeTo(s.ctx, w)) })
	return r
}

// wait ends what is still being written, and waits for it.
func (s *streams) wait() {
	for _, r := range s.pipes {
		_ = r.Close()
	}
	s.sent.Wait()
}
