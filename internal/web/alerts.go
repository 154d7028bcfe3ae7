package web

import (
	"context"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/secret"
)

// Alerts are the routes by which people hear of trouble.
type Alerts interface {
	Routes(ctx context.Context) ([]alert.Route, error)
	AlertRoute(ctx context.Context, name string) (alert.Route, error)
	DeleteAlertRoute(ctx context.Context, who, name string) error
	AlertHistory(ctx context.Context, f alert.Filter) ([]alert.Alert, error)
	// TestAlert really sends one message the way a route says, saved or not.
	TestAlert(ctx context.Context, saved string, given alert.Route, signWith secret.Text) (check.Report, error)
}
