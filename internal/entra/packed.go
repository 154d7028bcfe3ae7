package entra

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// Packed is what a CrushFTP user name holds (product A12).
type Packed struct {
	Mailbox  string // "" when the form has none
	ClientID string
	Secret   secret.Text // empty when Unusable
	Tenant   string      // "common" when the form leaves it blank
	Unusable bool        // the secret is CrushFTP's own encryption of it: ask for it again
}

// packed finds the client id from the left and the tenant from the right; what is
// between them is the secret, "~" and all.
var packed = regexp.MustCompile(`(?s)^(?:([^@]+@[^@~]+)~)??\s*(` + strings.Trim(guid.String(), "^$") + `)\s*~(.*)~([^~]*)$`)

// ParsePacked reads client_id~secret~tenant and email~client_id~secret~tenant. It
// splits from both ends, because secrets may hold "~". What is wrong is said without
// quoting: without its last part the text ends in a piece of the secret.
func ParsePacked(text secret.Text) (Packed, error) {
	const op = "read the packed name"
	m := packed.FindStringSubmatch(strings.TrimSpace(text.Reveal()))
	if m == nil {
		return Packed{}, fault.New(fault.Invalid, op, "it is neither client_id~secret~tenant nor email~client_id~secret~tenant").
			WithHint("copy the whole user name; the client id is a GUID, and the last ~ stays even when the tenant is blank")
	}
	p := Packed{Mailbox: strings.TrimSpace(m[1]), ClientID: m[2], Secret: secret.New(strings.TrimSpace(m[3])), Tenant: strings.TrimSpace(m[4])}
	if p.Tenant == "" {
		p.Tenant = "common"
	}
	if ValidateTenant(p.Tenant) != nil {
		return Packed{}, fault.New(fault.Invalid, op, "what follows the last ~ is no tenant").
			WithHint("it must be a GUID, a verified domain, organizations, common, consumers, or nothing (for common)")
	}
	if p.Mailbox != "" {
		if _, err := mail.ParseAddress(p.Mailbox); err != nil {
			return Packed{}, fault.New(fault.Invalid, op, "what stands before the client id is no mail address").
				WithHint("it must be the mailbox, or nothing")
		}
	}
	if err := ValidateSecret(p.Secret); err != nil {
		return Packed{}, err
	}
	if encrypted(p.Secret.Reveal()) {
		p.Secret, p.Unusable = secret.Text{}, true
	}
	return p, nil
}

var (
	secretValue  = regexp.MustCompile(`^[0-9A-Za-z~._-]*$`)
	secretMarked = regexp.MustCompile(`^[0-9A-Za-z~._-]{2,6}Q~`)
)

// cipherBlock is the smallest block of a cipher, in octets.
const cipherBlock = 8

// encrypted reports whether a packed secret is CrushFTP's encryption of one. Nobody
// documents how that looks, so the question is whether Entra can have made it: its
// secrets are of A-Z a-z 0-9 ~ . _ - and have, for years now, "Q~" near their start.
// Anything of other characters is not one, and neither is a text without that mark
// that decodes to whole cipher blocks. To be wrong here costs one more question for
// the secret; to be wrong the other way, a refusal by Entra that nobody understands.
func encrypted(s string) bool {
	if !secretValue.MatchString(s) {
		return true
	}
	if s == "" || secretMarked.MatchString(s) {
		return false
	}
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if b, err := decode(s); err == nil && len(b)%cipherBlock == 0 {
			return true
		}
	}
	return false
}
