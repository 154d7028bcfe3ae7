// Package webhook hands a small body to somebody's HTTP server, signed in the same way
// as files that are handed over, so that a receiver checks both alike:
//
//	Postern-Signature: t=SECONDS,v1=HEX of HMAC-SHA256(secret, "SECONDS.body")
//	Idempotency-Key: the same on each try of one body
//
// It makes one try. It keeps no secret, follows no redirect, and decides nothing about
// a second try beyond the kind of its error.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"postern/internal/fault"
	"postern/internal/secret"
)

// The headers.
const (
	HeaderSignature = "Postern-Signature"
	HeaderID        = "Idempotency-Key"
)

// leastSecret is how many octets nobody guesses.
const leastSecret = 16

// maxAnswer is how much of an answer is read.
const maxAnswer = 4 << 10

// NewSecret makes a secret.
func NewSecret() secret.Text { return secret.New(rand.Text() + rand.Text()) }

// CheckSecret refuses one that anybody could guess.
func CheckSecret(s secret.Text) error {
	if n := len(s.Reveal()); n < leastSecret {
		return fault.New(fault.Invalid, "check the webhook secret", "it has %d octets; at least %d are needed", n, leastSecret)
	}
	return nil
}

// Signer signs a request whose body is written to it: HMAC-SHA256 over the time in
// seconds, a dot and the body.
type Signer struct {
	at  string
	mac hash.Hash
}

// NewSigner begins a signature.
func NewSigner(key secret.Text, at time.Time) Signer {
	s := Signer{at: strconv.FormatInt(at.Unix(), 10), mac: hmac.New(sha256.New, []byte(key.Reveal()))}
	_, _ = s.mac.Write([]byte(s.at + "."))
	return s
}

// Write takes the body.
func (s Signer) Write(p []byte) (int, error) { return s.mac.Write(p) }

// Header is the value of the signature header.
func (s Signer) Header() string { return "t=" + s.at + ",v1=" + hex.EncodeToString(s.mac.Sum(nil)) }

// Sign is the value of the signature header for a body at hand.
func Sign(key secret.Text, at time.Time, body []byte) string {
	s := NewSigner(key, at)
	_, _ = s.Write(body) // never fails
	return s.Header()
}

// Call is one try.
type Call struct {
	Address string
	Secret  secret.Text // empty: it is not signed
	ID      string
	Body    []byte // JSON
	At      time.Time
}

// Post makes the call and returns the receiver's words. 2xx is the only success; 410
// (gone) and an address that cannot be are fault.Permanent, all else may pass.
func Post(ctx context.Context, by http.RoundTripper, c Call) (answer string, err error) {
	const op = "call the webhook"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Address, bytes.NewReader(c.Body))
	if err != nil {
		return "", fault.Wrap(fault.Permanent, op, err)
	}
	if err := CheckHost(req.URL.Hostname()); err != nil { // a proxy would not ask us
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Postern")
	req.Header.Set(HeaderID, c.ID)
	if !c.Secret.Empty() {
		req.Header.Set(HeaderSignature, Sign(c.Secret, c.At, c.Body))
	}
	res, err := by.RoundTrip(req)
	if err != nil {
		return "", fault.Wrap(fault.Temporary, op, err)
	}
	defer res.Body.Close()
	answer = words(res)
	switch {
	case res.StatusCode/100 == 2:
		return answer, nil
	case res.StatusCode == http.StatusGone:
		return answer, fault.New(fault.Permanent, op, "it answered %s", answer).WithHint("the receiver wants no more: delete the route, or change its address")
	case res.StatusCode/100 == 3:
		return answer, fault.New(fault.Temporary, op, "it answered %s, and redirects are not followed", answer).WithHint("give the address that it leads to: %s", res.Header.Get("Location"))
	}
	e := fault.New(fault.Temporary, op, "it answered %s", answer)
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		e = e.WithHint("compare the secret on both sides, and their clocks")
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return answer, e
}

// words are an answer on one line.
func words(res *http.Response) string {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		b = nil // the status says enough
	}
	text := []rune(strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(b), "\uFFFD"), func(r rune) bool { return unicode.IsControl(r) || r == ' ' }), " "))
	if len(text) > 200 {
		text = append(text[:199], '…')
	}
	return strings.TrimSpace(res.Status + " " + string(text))
}
