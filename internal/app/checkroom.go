package app

import (
	"context"

	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/guide"
	"postern/internal/vault"
	"postern/internal/web"
)

// checkRoom is what the pages need of checks and guides.
type checkRoom struct{ *App }

// TryConnection is part of [web.Checks].
func (c checkRoom) TryConnection(ctx context.Context, w web.CheckWish, onStage func(check.Stage)) (check.Report, error) {
	wish := CheckWish{Purpose: w.Purpose, TestTo: w.TestTo, Await: true}
	if w.Unsaved != nil {
		return c.CheckUnsaved(ctx, *w.Unsaved, w.Account, wish, onStage)
	}
	acct, err := c.Vault.Account(ctx, w.Account)
	if err != nil {
		return check.Report{}, err
	}
	return c.Check(ctx, acct, wish, onStage)
}

// KnownChecks is part of [web.Checks].
func (c checkRoom) KnownChecks(ctx context.Context, account string) ([]check.Report, error) {
	known, err := c.LastChecks(ctx, account)
	reports := make([]check.Report, 0, len(known))
	for _, k := range known {
		reports = append(reports, k.Report)
	}
	return reports, err
}

// Guides is part of [web.Checks].
func (c checkRoom) Guides() ([]guide.Road, error) {
	g, err := guide.Load()
	if err != nil {
		return nil, err
	}
	return g.Roads(), nil
}

// RoadsFor is part of [web.Checks].
func (c checkRoom) RoadsFor(acct vault.Account) ([]guide.Road, error) {
	g, err := guide.Load()
	if err != nil {
		return nil, err
	}
	return roadsFor(g, acct), nil
}

// RoadOf is part of [web.Checks].
func (c checkRoom) RoadOf(ctx context.Context, road, account string) (guide.Road, error) {
	switch {
	case road == "":
		return guide.Road{}, fault.New(fault.NotFound, "read a guide", "which guide?")
	case account == "":
		return GuideFor(c.Config, road)
	}
	return c.Guide(ctx, road, account)
}
