//go:build cloudkeys

package handover

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcerrors"
	"gocloud.dev/gcp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"postern/internal/fault"
)

// cloud is a bucket behind gocloud.dev.
type cloud struct {
	open  func() (*blob.Bucket, error) // once: credentials may have to be looked for
	used  atomic.Bool
	lost  func(op string, err error) error
	close func()
}

func openCloud(scheme, where, prefix string, spec Object, with With) (bucket, string, error) {
	way, err := with.Network.Transport(spec.CA)
	if err != nil {
		return nil, "", err
	}
	c := &cloud{lost: with.Network.Unreachable, close: way.CloseIdleConnections}
	switch scheme {
	case "azblob":
		c.open = sync.OnceValues(func() (*blob.Bucket, error) { return openAzure(where, spec, with, way) })
	case "gs":
		c.open = sync.OnceValues(func() (*blob.Bucket, error) { return openGoogle(where, with, way) })
	case "file":
		dir := filepath.FromSlash("/" + prefix)
		// It never flushes what it writes: a power cut may lose what counts as handed
		// over. docs/handover.md says so, and to take a folder instead.
		c.open = sync.OnceValues(func() (*blob.Bucket, error) { return fileblob.OpenBucket(dir, &fileblob.Options{NoTempDir: true}) })
		prefix = ""
	default:
		return nil, "", fault.New(fault.Invalid, openStore, "%s:// is no store", scheme).WithHint("known: s3://, azblob://, gs://, file://")
	}
	return c, prefix, nil
}

// at is the bucket, opened.
func (c *cloud) at() (*blob.Bucket, error) {
	c.used.Store(true)
	b, err := c.open()
	if err != nil {
		return nil, fault.New(fault.NeedsAdmin, openStore, "%w", err).WithHint("look at the store's address and its key; without a key this machine needs an identity of its own")
	}
	return b, nil
}

func openAzure(name string, spec Object, with With, way http.RoundTripper) (*blob.Bucket, error) {
	service := spec.Endpoint
	if service == "" {
		service = "https://" + spec.KeyID + ".blob.core.windows.net"
	}
	address, err := url.JoinPath(service, name)
	if err != nil {
		return nil, err
	}
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: way}}}
	options.Retry.MaxRetries = -1 // the ledger tries again
	var client *container.Client
	if with.Key.Empty() {
		who, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options.ClientOptions})
		if err != nil {
			return nil, err
		}
		client, err = container.NewClient(address, who, options)
		if err != nil {
			return nil, err
		}
	} else {
		who, err := container.NewSharedKeyCredential(spec.KeyID, with.Key.Reveal())
		if err != nil {
			return nil, errors.New("the key is no key of a storage account") // the cause may quote it
		}
		client, err = container.NewClientWithSharedKeyCredential(address, who, options)
		if err != nil {
			return nil, err
		}
	}
	return azureblob.OpenBucket(context.Background(), client, nil)
}

func openGoogle(name string, with With, way http.RoundTripper) (*blob.Bucket, error) {
	const mayWrite = "https://www.googleapis.com/auth/devstorage.read_write"
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: way})
	var who *google.Credentials
	var err error
	if with.Key.Empty() {
		who, err = google.FindDefaultCredentials(ctx, mayWrite)
	} else if who, err = google.CredentialsFromJSONWithType(ctx, []byte(with.Key.Reveal()), google.ServiceAccount, mayWrite); err != nil {
		err = errors.New("the key is no service account's JSON") // the cause may quote it
	}
	if err != nil {
		return nil, err
	}
	client, err := gcp.NewHTTPClient(way, gcp.CredentialsTokenSource(who))
	if err != nil {
		return nil, err
	}
	return gcsblob.OpenBucket(ctx, client, name, nil)
}

func (c *cloud) look(ctx context.Context, name string) (string, error) {
	b, err := c.at()
	if err != nil {
		return "", err
	}
	a, err := b.Attributes(ctx, name)
	if err != nil {
		return "", c.judge("look at object", err)
	}
	return a.Metadata[metaMark], nil
}

func (c *cloud) put(ctx context.Context, name string, b content, fresh bool) error {
	there, err := c.at()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before Close it discards what was written
	w, err := there.NewWriter(ctx, name, &blob.WriterOptions{
		ContentType: b.typ, DisableContentTypeDetection: true, MaxConcurrency: 1, IfNotExist: fresh,
		Metadata: map[string]string{metaDigest: b.sha256, metaMark: b.mark},
	})
	if err != nil {
		return c.judge(putObject, err)
	}
	if _, err := io.Copy(w, reader{ctx, b.body}); err != nil {
		cancel()
		_ = w.Close()
		return c.judge(putObject, err)
	}
	return c.judge(putObject, w.Close())
}

func (c *cloud) remove(ctx context.Context, name string) error {
	b, err := c.at()
	if err != nil {
		return err
	}
	return c.judge("remove object", b.Delete(ctx, name))
}

func (c *cloud) Close() error {
	defer c.close()
	if !c.used.Load() {
		return nil
	}
	b, err := c.open()
	if err != nil {
		return nil //nolint:nilerr // what never opened needs no closing
	}
	return b.Close()
}

func (c *cloud) judge(op string, err error) error {
	if err == nil {
		return nil
	}
	e := fault.New(fault.Temporary, op, "%w", err)
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		e.Kind = fault.NotFound
		if op == putObject { // what is not found is the bucket
			e.Kind = fault.NeedsAdmin
			return e.WithHint("make the bucket, or correct its name")
		}
	case gcerrors.AlreadyExists, gcerrors.FailedPrecondition:
		e.Kind = fault.Conflict
	case gcerrors.PermissionDenied:
		e.Kind = fault.NeedsAdmin
		return e.WithHint("give the key of an identity that may read and write objects there")
	case gcerrors.ResourceExhausted:
		e.Kind = fault.Throttled
	case gcerrors.InvalidArgument:
		e.Kind = fault.Permanent
	case gcerrors.Unknown:
		if errors.Is(err, syscall.ENOSPC) {
			return e.WithHint("make room in the store; the mail stays in the mailbox and is handed over then")
		}
		return c.lost(op, err)
	}
	return e
}
