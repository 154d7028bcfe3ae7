package vault

import (
	"context"
	"time"

	"postern/internal/fault"
)

// Expiry is something that will end (product A13).
type Expiry struct {
	Kind    string // client_secret, certificate, grant, app_password
	Subject string // the app's or the account's name
	At      time.Time
	Stage   Stage
	Text    string // one sentence
	Next    string // what to do about it
	Source  string // of a date that is Microsoft's: where it was published, and when; "" else
}

// Stage is how near an end is.
type Stage string

// The stages; each is alerted once.
const (
	Far  Stage = "far"
	In30 Stage = "30_days"
	In14 Stage = "14_days"
	In3  Stage = "3_days"
	Over Stage = "over"
)

// Radar lists what will end, the nearest first.
func (v *Vault) Radar(ctx context.Context) ([]Expiry, error) {
	return nil, fault.New(fault.Unknown, "look for what expires", "not built yet: %v", ctx)
}

// Alert is something a person must hear of once.
type Alert struct {
	Kind    string // account_paused, account_works, expiring
	Subject string // the account or app
	Text    string // what happened, the peer's words included
	Next    string // what to do
	At      time.Time
}
