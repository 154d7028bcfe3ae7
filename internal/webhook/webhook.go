// Package webhook hands a body to somebody's HTTP server, signed as the Standard
// Webhooks specification says (standardwebhooks.com), so that receivers need write
// nothing of their own to check it:
//
//	webhook-id: the same on each try of one body
//	webhook-timestamp: seconds since 1970 when this try was made
//	webhook-signature: v1,BASE64 of HMAC-SHA256(secret, "id.timestamp.body")
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
	"encoding/base64"
	"fmt"
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
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// secretPrefix says that a secret is octets in base64, and not the text it looks like.
const secretPrefix = "whsec_"

// maxAnswer is how much of an answer is read.
const maxAnswer = 4 << 10

// NewSecret makes a secret that every library takes.
func NewSecret() secret.Text {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return secret.New(secretPrefix + base64.StdEncoding.EncodeToString(b[:]))
}

// CheckSecret refuses one that anybody could guess, or that cannot be read.
func CheckSecret(s secret.Text) error {
	key, err := keyOf(s)
	if err != nil {
		return err
	}
	if len(key) < 16 {
		return fault.New(fault.Invalid, "check the webhook secret", "it has %d octets; at least 16 are needed", len(key))
	}
	return nil
}

func keyOf(s secret.Text) ([]byte, error) {
	text, encoded := strings.CutPrefix(s.Reveal(), secretPrefix)
	if !encoded {
		return []byte(text), nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "check the webhook secret", "what follows %s is not base64", secretPrefix)
	}
	return key, nil
}

// Sign is the value of the signature header.
func Sign(s secret.Text, id string, at time.Time, body []byte) (string, error) {
	key, err := keyOf(s)
	if err != nil {
		return "", err
	}
	sum := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(sum, "%s.%d.", id, at.Unix())
	_, _ = sum.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil)), nil
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
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Postern")
	req.Header.Set(HeaderID, c.ID)
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(c.At.Unix(), 10))
	if !c.Secret.Empty() {
		signature, err := Sign(c.Secret, c.ID, c.At, c.Body)
		if err != nil {
			return "", err
		}
		req.Header.Set(HeaderSignature, signature)
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
