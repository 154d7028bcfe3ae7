package handover

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"postern/internal/fault"
)

// s3 is a bucket of Amazon's S3 or of a store that speaks like it.
type s3 struct {
	client *minio.Client
	lost   func(op string, err error) error
	close  func()
	bucket string
}

// partSize is how much is sent at a time; larger files go in several requests, straight
// from the disk.
const partSize = 16 << 20

func openS3(name string, spec Object, with With) (bucket, error) {
	endpoint := spec.Endpoint
	if endpoint == "" {
		endpoint = "https://s3.amazonaws.com"
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fault.New(fault.Invalid, openStore, "%q is no endpoint", endpoint).WithHint("write https://HOST or https://HOST:PORT")
	}
	way, err := with.Network.Transport(spec.CA)
	if err != nil {
		return nil, err
	}
	// Without a key: what the environment says, or the role of the machine.
	who := credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.IAM{}})
	if spec.KeyID != "" { // without its secret the store refuses, which is said well enough
		who = credentials.NewStaticV4(spec.KeyID, with.Key.Reveal(), "")
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: who, Secure: u.Scheme == "https", Region: spec.Region, Transport: way,
		TrailingHeaders: u.Scheme == "https", // checksums on the way; MD5 and the signed digest otherwise
		MaxRetries:      1,                   // the ledger tries again
	})
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, openStore, err)
	}
	return &s3{client: client, lost: with.Network.Unreachable, close: way.CloseIdleConnections, bucket: name}, nil
}

func (s *s3) look(ctx context.Context, name string) (string, error) {
	info, err := s.client.StatObject(ctx, s.bucket, name, minio.StatObjectOptions{})
	if err != nil {
		return "", s.judge("look at object", err)
	}
	return info.Metadata.Get("X-Amz-Meta-" + metaMark), nil
}

func (s *s3) put(ctx context.Context, name string, c content, fresh bool) error {
	opts := minio.PutObjectOptions{
		ContentType: c.typ, PartSize: partSize, NumThreads: 1,
		UserMetadata: map[string]string{metaDigest: c.sha256, metaMark: c.mark},
	}
	if fresh {
		opts.SetMatchETagExcept("*")
	}
	_, err := s.client.PutObject(ctx, s.bucket, name, c.body, c.size, opts)
	return s.judge(putObject, err)
}

func (s *s3) remove(ctx context.Context, name string) error {
	return s.judge("remove object", s.client.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{}))
}

func (s *s3) Close() error {
	s.close()
	return nil
}

// judge classifies what the store answered, by its status and its code.
func (s *s3) judge(op string, err error) error {
	if err == nil {
		return nil
	}
	var said minio.ErrorResponse
	if !errors.As(err, &said) || said.StatusCode == 0 {
		return s.lost(op, err)
	}
	e := &fault.Error{Kind: fault.Temporary, Op: op, Reply: &fault.Reply{Protocol: "s3", Stage: op, Code: said.Code, Text: bounded(said.Message)}}
	switch {
	case said.Code == minio.NoSuchBucket:
		e.Kind = fault.NeedsAdmin
		return e.WithHint("make the bucket %s, or correct its name", s.bucket)
	case said.StatusCode == http.StatusNotFound:
		e.Kind = fault.NotFound
	case said.StatusCode == http.StatusPreconditionFailed, said.StatusCode == http.StatusConflict:
		e.Kind = fault.Conflict
	case said.StatusCode == http.StatusUnauthorized, said.StatusCode == http.StatusForbidden:
		e.Kind = fault.NeedsAdmin
		return e.WithHint("give the key of an identity that may s3:PutObject, s3:GetObject and s3:ListBucket in %s; and look at this machine's clock", s.bucket)
	case said.StatusCode == http.StatusInsufficientStorage:
		return e.WithHint("make room in the store; the mail stays in the mailbox and is handed over then")
	case said.StatusCode == http.StatusMovedPermanently, said.StatusCode == http.StatusBadRequest && said.Region != "":
		e.Kind = fault.NeedsAdmin
		return e.WithHint("the bucket is in another region: set region (%s)", said.Region)
	case said.StatusCode == http.StatusTooManyRequests, said.StatusCode == http.StatusServiceUnavailable:
		e.Kind = fault.Throttled
	case said.StatusCode == http.StatusRequestEntityTooLarge, said.Code == "EntityTooLarge", said.Code == "KeyTooLongError":
		e.Kind = fault.Permanent
	}
	return e
}
