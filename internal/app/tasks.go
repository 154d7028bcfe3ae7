package app

import (
	"context"

	"postern/internal/fetch"
	"postern/internal/secret"
	"postern/internal/vault"
)

// taskRoom is what the pages do with tasks.
type taskRoom struct {
	fetch.Operator
	vault *vault.Vault
}

// Delete forgets a task and the key of its target.
func (t taskRoom) Delete(ctx context.Context, who, task string) error {
	if err := t.Operator.Delete(ctx, who, task); err != nil {
		return err
	}
	return t.vault.KeepSecret(ctx, fetch.KeyName(task), secret.Text{})
}
