package app

import (
	"context"
	"net/http"
	"slices"

	"postern/internal/alert"
	"postern/internal/api"
	"postern/internal/check"
	"postern/internal/door"
	"postern/internal/people"
	"postern/internal/secret"
)

// Intake takes messages that do not come through the SMTP door.
func (a *App) Intake() api.Intake {
	return api.Intake{Relay: a.Relay, Account: a.accountOf, Recent: a.Store.Messages, MaxSize: int64(a.Config.MaxMessage), Now: a.Store.Now, TurnedAway: a.turnAway}
}

// withAPI puts the API beside the pages.
func (a *App) withAPI(pages http.Handler) http.Handler {
	programs := api.New(api.Config{
		Intake: a.Intake(), Tokens: a.Store, Queue: a.Store, Operator: a.Operator(),
		Identities: a, Tasks: a.Store, Fetch: a.FetchOperator(),
		TestAlert: func(ctx context.Context, saved string, given alert.Route, signWith secret.Text) (check.Report, error) {
			return a.TestAlert(ctx, saved, given, signWith, nil)
		},
		Audits: a.Store.Audits, People: a.People.Users, Metrics: a.metrics(),
		Explain: a.SayWhy, Version: a.version, Now: a.Store.Now, Log: a.log.With("room", "api"),
	})
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.Handle(api.Prefix, programs)
	mux.Handle(api.MetricsPath, programs)
	return mux
}

// NewToken makes a token of the API and returns the text that proves it, this once.
func (a *App) NewToken(ctx context.Context, who, name, device string, scopes []door.Scope) (secret.Text, error) {
	t, text, err := door.NewToken(name, device, scopes, a.Store.Now())
	if err == nil {
		err = a.Store.PutToken(ctx, t)
	}
	if err != nil {
		return secret.Text{}, err
	}
	return text, a.Record(ctx, people.Deed{Who: who, What: "create token", Subject: name, After: tokenWords(t)})
}

// RevokeToken makes a token good for nothing, at once and on every node.
func (a *App) RevokeToken(ctx context.Context, who, name string) error {
	all, err := a.Store.Tokens(ctx)
	if err == nil {
		err = a.Store.DeleteToken(ctx, name)
	}
	if err != nil {
		return err
	}
	d := people.Deed{Who: who, What: "revoke token", Subject: name}
	if i := slices.IndexFunc(all, func(t door.Token) bool { return t.Name == name }); i >= 0 {
		d.Before = tokenWords(all[i])
	}
	return a.Record(ctx, d)
}

// tokenWords are a token without what proves it.
func tokenWords(t door.Token) map[string]any {
	return map[string]any{"device": t.Device, "scopes": t.Scopes, "created": t.Created}
}
