package entra

import (
	"postern/internal/fault"
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

// ParsePacked reads client_id~secret~tenant and email~client_id~secret~tenant. It
// splits from both ends, because secrets may hold "~".
func ParsePacked(text secret.Text) (Packed, error) {
	return Packed{}, fault.New(fault.Unknown, "read the packed name", "not built yet: %s", text)
}
