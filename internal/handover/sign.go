package handover

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"time"

	"postern/internal/secret"
)

// The headers of a webhook's requests.
const (
	headerSignature = "Postern-Signature" // t=UNIX SECONDS,v1=HEX
	headerDelivery  = "Postern-Delivery"
	headerKey       = "Idempotency-Key" // the same on every try
)

// signer signs a request: HMAC-SHA256 over the time in seconds, a dot and the body.
type signer struct {
	at  string
	mac hash.Hash
}

func newSigner(key secret.Text, now time.Time) signer {
	s := signer{at: strconv.FormatInt(now.Unix(), 10), mac: hmac.New(sha256.New, []byte(key.Reveal()))}
	_, _ = s.mac.Write([]byte(s.at + "."))
	return s
}

// Write takes the body.
func (s signer) Write(p []byte) (int, error) { return s.mac.Write(p) }

func (s signer) header() string { return "t=" + s.at + ",v1=" + hex.EncodeToString(s.mac.Sum(nil)) }
