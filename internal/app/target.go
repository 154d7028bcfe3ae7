package app

import (
	"context"

	"postern/internal/extract"
	"postern/internal/fetch"
	"postern/internal/handover"
)

// target makes what a task hands its files to.
func (a *App) target(ctx context.Context, t fetch.Task) (handover.Target, error) {
	key, err := a.Vault.KeptSecret(ctx, fetch.KeyName(t.Name))
	if err != nil {
		return nil, err
	}
	network, err := a.network()
	if err != nil {
		return nil, err
	}
	return handover.New(t.Handover.Spec, handover.With{Key: key, Network: network, Name: extract.SafeName})
}
