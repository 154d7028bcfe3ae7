package app

import (
	"context"

	"postern/internal/vault"
)

// alert passes on what a person must hear: for now to the log, where it stands once.
func (a *App) alert(ctx context.Context, what vault.Alert) {
	a.counters.alerts.WithLabelValues(what.Kind).Inc()
	a.log.WarnContext(ctx, "alert", "kind", what.Kind, "subject", what.Subject, "text", what.Text, "next", what.Next)
}
