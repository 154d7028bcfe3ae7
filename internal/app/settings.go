package app

import (
	"context"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/mail"
	"postern/internal/vault"
	"postern/internal/web"
)

// settingsRoom is what the settings page needs.
type settingsRoom struct{ *App }

// Settings is the configuration as it is in effect.
func (r settingsRoom) Settings() []web.Setting {
	all := r.Config.Settings()
	out := make([]web.Setting, len(all))
	for i, s := range all {
		out[i] = web.Setting{Name: s.Name, Value: s.Value, From: s.From, Help: s.Help}
	}
	return out
}

// TestMail checks sending by an account that is not saved, and sends a message.
func (r settingsRoom) TestMail(ctx context.Context, doc declare.Document, account string, to mail.Address) (check.Report, error) {
	return r.CheckUnsaved(ctx, doc, account, CheckWish{Purpose: vault.Send, TestTo: to}, nil)
}
